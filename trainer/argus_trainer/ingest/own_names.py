"""Names that a user gives to columns: the guide's, or own ones, which only targets can use.

Any numeric column can be a target, so a name that the guide does not know is no mistake in
itself. A name that is one letter away from a known one nearly always is: it would be found
out only by a model that lacks the metric.
"""

from difflib import SequenceMatcher

from argus_trainer.data.inputs import RELATIVE_TIME
from argus_trainer.data.schema import CALENDAR, METRICS, SERVER, TIMESTAMP
from argus_trainer.errors import UsageError
from argus_trainer.ingest.read import LABELS

SLIP = 0.95
"""Likeness (2 * equal letters / all letters) of one letter in about twelve."""
LIKE = 0.8
"""Likeness at which a known name is worth naming."""


def check_name(own: str, name: str) -> None:
    """Raises UsageError for `--map own=name` that cannot be meant."""
    if name in (*CALENDAR, RELATIVE_TIME):
        raise UsageError(
            f"--map {own}={name}: Argus makes {name} from the clock: choose another name"
        )
    known, likeness = _nearest(name)
    # `load_average5` is a metric of its own, however much it looks like `load_average`.
    if not _is_known(name) and likeness >= SLIP and not name.startswith(known):
        raise UsageError(
            f"--map {own}={name}: write {known}, or choose a name that is less like it for a "
            "metric of your own"
        )


def note_on(name: str) -> str | None:
    """Returns what becomes of a metric that the guide does not know, None for a known one."""
    if _is_known(name):
        return None
    known, likeness = _nearest(name)
    hint = f" (did you mean {known}?)" if likeness >= LIKE else ""
    return (
        f"{name} is no metric of the guide{hint}: it is kept, and used only as a target: "
        f"--target {name}"
    )


def _is_known(name: str) -> bool:
    return name in (TIMESTAMP, SERVER, *LABELS, *METRICS)


def _nearest(name: str) -> tuple[str, float]:
    """Returns the guide's most similar metric and the likeness; case does not count."""
    likeness_of = {known: SequenceMatcher(None, name.lower(), known).ratio() for known in METRICS}
    known = max(likeness_of, key=likeness_of.__getitem__)
    return known, likeness_of[known]
