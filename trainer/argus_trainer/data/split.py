"""Which chunks take part, and in which role: `data.window` and `data.split`, by time alone.

Both cut at borders of chunks, so that no object serves two parts and nothing has to be read
to know which part a row belongs to.
"""

import math
from collections.abc import Sequence
from datetime import datetime, timedelta

from argus_contract.data_spec import SplitSpec, WindowSpec
from argus_contract.plan import PinnedObject, Split
from argus_contract.spec import ModelSpec
from argus_trainer.data.spans import usual_seconds
from argus_trainer.errors import DataError


def in_window(
    objects: Sequence[PinnedObject], window: WindowSpec, *, created_at: datetime, uri: str
) -> tuple[PinnedObject, ...]:
    """Returns the chunks that lie wholly inside the window.

    A look-back ends with the newest chunk that was closed `endOffsetSeconds` (default: the
    usual length of a chunk) before `created_at`, and counts back from there. Raises DataError
    when no chunk is left, saying what there is.
    """
    start, end = window.start, window.end
    if window.lookback_seconds is not None:
        offset = window.end_offset_seconds
        late = timedelta(seconds=usual_seconds(objects) if offset is None else offset)
        closed = [entry.end for entry in objects if entry.end <= created_at - late]
        end = max(closed, default=created_at - late)
        start = end - timedelta(seconds=window.lookback_seconds)
    inside = tuple(
        entry
        for entry in objects
        if (start is None or entry.start >= start) and (end is None or entry.end <= end)
    )
    if not inside:
        raise DataError(
            f"data.window: no chunk of {uri} lies inside {_text(start)} to {_text(end)}; the "
            f"data reaches from {_text(objects[0].start)} to {_text(objects[-1].end)}: "
            "widen the window, or record more"
        )
    return inside


def split_of(
    objects: Sequence[PinnedObject],
    spec: SplitSpec,
    model: ModelSpec,
    *,
    cadence_seconds: int | None,
    uri: str,
) -> Split:
    """Returns training, validation and holdout, each with room for one window.

    Validation and holdout need room for a decoder, as encoders may reach back; without a known
    cadence one chunk has to do. Raises DataError when there are too few chunks.
    """
    starts = sorted({entry.start for entry in objects})
    decoder = _needs(objects, model.prediction_length, cadence_seconds)
    window = _needs(objects, model.encoder_length + model.prediction_length, cadence_seconds)
    parts = _parts(len(starts), spec, window, decoder)
    if parts is None:
        enough = len(starts) + 1
        while _parts(enough, spec, window, decoder) is None:
            enough += 1
        training = 100 - spec.validation_percent - spec.holdout_percent
        raise DataError(
            f"data.uri {uri} holds {len(starts)} chunks; windows of "
            f"{model.encoder_length}+{model.prediction_length} steps need at least {enough} "
            f"({training} % training, {spec.validation_percent} % validation, "
            f"{spec.holdout_percent} % holdout): record longer, widen data.window, or lower "
            "model.encoderLength and model.predictionLength"
        )
    num_training, num_validation = parts
    train_end = sum(entry.start < starts[num_training] for entry in objects)
    validation_end = num_training + num_validation
    if validation_end == len(starts):
        return Split(train_end=train_end, validation_end=len(objects))
    border = starts[validation_end]
    return Split(train_end=train_end, validation_end=sum(e.start < border for e in objects))


def _parts(chunks: int, spec: SplitSpec, window: int, decoder: int) -> tuple[int, int] | None:
    """Returns (training, validation) chunks, or None when there are too few."""
    before_holdout = round(chunks * (100 - spec.holdout_percent) / 100)
    holdout = max(chunks - before_holdout, decoder) if spec.holdout_percent else 0
    validation = max(round(chunks * spec.validation_percent / 100), decoder)
    training = chunks - validation - holdout
    return (training, validation) if training >= window else None


def _needs(objects: Sequence[PinnedObject], steps: int, cadence_seconds: int | None) -> int:
    """Returns the chunks that hold so many steps; 1 when the cadence is unknown."""
    if cadence_seconds is None:
        return 1
    return math.ceil(steps * cadence_seconds / usual_seconds(objects))


def _text(instant: datetime | None) -> str:
    return f"{instant:%Y-%m-%dT%H:%M:%SZ}" if instant else "any time"
