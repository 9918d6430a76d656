"""What does `kubectl get` print? Strings that need no second look."""

from argus_contract.status import ArgusTrainingJobStatus, Columns, Phase
from argus_operator.decision import Draft
from argus_operator.observed import Observed
from argus_operator.policies.waiting import current_pod

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def columns(observed: Observed, draft: Draft) -> Draft:
    status = draft.status
    pod = current_pod(observed, draft)
    attempt = status.attempts[-1] if status.attempts else None
    eta = status.progress.eta_seconds if status.progress else None
    disruptions, usage, artifact = status.disruptions, status.usage, status.artifact
    return draft.with_status(
        columns=Columns(
            eta=duration(eta) if eta is not None and status.phase is Phase.RUNNING else None,
            val_loss=_val_loss(status),
            node=(pod.node if pod else None) or (attempt.node if attempt else None),
            gpu_hours=f"{usage.gpu_seconds / _HOUR:.1f}" if usage else None,
            lost=duration(disruptions.lost_seconds) if disruptions else None,
            model=artifact.uri.rstrip("/").rpartition("/")[2] if artifact else None,
        )
    )


def duration(seconds: int) -> str:
    """Returns a time span as kubectl prints ages: two units at most, short ones exact."""
    if seconds < 2 * _MINUTE:
        return f"{seconds}s"
    if seconds < 10 * _MINUTE:
        return _two(seconds, _MINUTE, "m", 1, "s")
    if seconds < 3 * _HOUR:
        return f"{seconds // _MINUTE}m"
    if seconds < 8 * _HOUR:
        return _two(seconds, _HOUR, "h", _MINUTE, "m")
    if seconds < 2 * _DAY:
        return f"{seconds // _HOUR}h"
    return _two(seconds, _DAY, "d", _HOUR, "h")


def _two(seconds: int, large: int, large_unit: str, small: int, small_unit: str) -> str:
    rest = seconds % large // small
    return f"{seconds // large}{large_unit}" + (f"{rest}{small_unit}" if rest else "")


def _val_loss(status: ArgusTrainingJobStatus) -> str | None:
    metric = next((metric for metric in status.metrics if metric.name == "val_loss"), None)
    if metric is None:
        return None
    text = metric.best or metric.value
    try:
        value = float(text)
    except ValueError:
        return text
    # Few digits, whatever was said: neither a column nor the time to print it may grow with it.
    is_plain = 0.001 <= abs(value) < 1_000_000
    return f"{value:.4f}" if is_plain else f"{value:.3g}"
