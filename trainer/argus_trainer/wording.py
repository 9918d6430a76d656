"""How messages say things: counts that read well, and pydantic's findings in one line."""

from typing import TYPE_CHECKING

from pydantic import ValidationError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

NUM_PROBLEMS = 3
NUM_CHARACTERS = 60
"""Longest value that is shown whole."""


def counted(count: int, noun: str) -> str:
    """Returns `1 row` or `2 rows`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def one_line(text: object) -> str:
    """Returns `text` without line breaks: a log and a status show lines."""
    return " ".join(str(text).split())


def rule_of(problem: "ErrorDetails") -> str:
    """Returns what a value must be, without pydantic's own heading of a rule of ours."""
    return one_line(problem["msg"].removeprefix("Value error, "))


def problems_of(error: ValidationError) -> str:
    """Returns the first problems as `place value: rule`, and how many more there are."""
    found = error.errors(include_url=False, include_context=False)
    shown = [_problem(problem) for problem in found[:NUM_PROBLEMS]]
    more = [f"and {len(found) - NUM_PROBLEMS} more"] if len(found) > NUM_PROBLEMS else []
    return "; ".join(shown + more)


def _problem(problem: "ErrorDetails") -> str:
    place = ".".join(str(part) for part in problem["loc"])
    # For a missing field the value is all that stands around it; a rule of ours says its values.
    if problem["type"] not in ("missing", "value_error"):
        value = one_line(repr(problem["input"]))
        cut = value if len(value) <= NUM_CHARACTERS else f"{value[:NUM_CHARACTERS]}..."
        place = f"{place} {cut}".strip()
    return f"{place}: {rule_of(problem)}" if place else rule_of(problem)
