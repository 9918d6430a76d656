"""Reads what a trainer says of itself: the only reader of reports.

Trainer pods run code of others, and one of them must hurt nothing but its own run. The contract's
schema knows types; here are the bounds within which the API server can store what is copied into
a status, and a person can read it. What lies beyond them is no report, whatever else it says.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from pydantic import ValidationError

from argus_contract.progress import ProgressReport
from argus_contract.status import EndReason

MAX_NUMBER = 2**53
"""Of either sign: what JSON readers of every language keep exact; sums of it fit an int64."""
MAX_TEXT = 2048
"""Characters of a text that neither the contract nor `MAX_TEXT_OF` bounds: of an address."""
MAX_TEXT_OF = {
    "progress.summary": 128,
    "attempts.pod": 253,
    "attempts.node": 253,
    "artifact.files": 253,
    "runKey": 64,
}
MAX_WHY = 200


class NoReport(Exception):
    """What was said cannot be taken for a report of this run; the message says why."""


def read_report(text: str | bytes, run_key: str | None) -> ProgressReport:
    """Returns the report of a pod that was made for this run key. Raises nothing but NoReport."""
    try:
        report = ProgressReport.model_validate_json(text)
    except ValidationError as error:
        raise NoReport(_first_of(error)) from None
    except (ArithmeticError, ValueError, RecursionError) as error:  # what pydantic hands on
        raise NoReport(f"{type(error).__name__}: {error}"[:MAX_WHY]) from None
    if report.run_key != run_key:
        raise NoReport(f"runKey is not that of its pod, {run_key}")
    if fault := next(_faults(report), None):
        raise NoReport(fault)
    return report


def believed(report: ProgressReport, pod: str, code: int) -> ProgressReport:
    """Returns last words without a success that the exit code of that pod denies.

    Honest ones may differ: of a process that was killed after its last words. Its successor finds
    the bundle, if there is one.
    """
    if code == 0:
        return report
    attempts = tuple(
        attempt.model_copy(update={"end_reason": None, "exit_code": None})
        if attempt.pod == pod and attempt.end_reason is EndReason.COMPLETED
        else attempt
        for attempt in report.attempts
    )
    reason = None if report.end_reason is EndReason.COMPLETED else report.end_reason
    artifact = report.artifact if report.already_published else None
    changes = {"attempts": attempts, "end_reason": reason, "artifact": artifact}
    return report.model_copy(update=changes)


def _first_of(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place}: {first['msg']}"[:MAX_WHY]


def _faults(report: ProgressReport) -> Iterator[str]:
    for place, value in _leaves("", report.model_dump(by_alias=True)):
        if isinstance(value, int) and abs(value) > MAX_NUMBER:
            yield f"{place} is beyond 2**53"
        elif isinstance(value, str) and len(value) > (most := MAX_TEXT_OF.get(place, MAX_TEXT)):
            yield f"{place} has more than {most} characters"
    names = [metric.name for metric in report.metrics]
    if len(set(names)) < len(names):
        yield "metrics: two have the same name"
    numbers = [attempt.number for attempt in report.attempts]
    if any(after <= before for before, after in pairwise(numbers)):
        yield "attempts: their numbers do not rise"


def _leaves(place: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yields each value that holds no others, with the names on the way to it."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _leaves(f"{place}.{name}".lstrip("."), inner)
    elif isinstance(value, tuple):
        for inner in value:
            yield from _leaves(place, inner)
    else:
        yield place, value
