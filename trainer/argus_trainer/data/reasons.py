"""Why data gives nothing to learn from: the field at fault, its value, and the way out.

What is missing when there is no window is found by counting again under other rules: a field
is named only when another value of it would give windows.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from argus_contract.data_spec import ServersSpec
from argus_trainer.data.windows import WindowRules
from argus_trainer.errors import DataError
from argus_trainer.wording import counted

WITHOUT = "without "
"""Before a target's name: the oddity that counts the rows which lack it."""
_DAY = 86_400
MOST_NAMES, LONGEST_NAME = 3, 63
"""Names that a message tells, and characters of a name."""


@dataclass(frozen=True, kw_only=True)
class Slower:
    """Servers that are recorded less often than the grid has steps."""

    cadence_seconds: int
    """Their own."""
    names: Sequence[str]
    first_key: str
    """Object in which it shows first."""

    def told(self, step_seconds: int, *, without_window: int | None = None) -> str:
        """Returns what it means for a grid of such steps; `without_window`: in training."""
        has_none = f", and {without_window} of them have no window in training"
        return (
            f"{counted(len(self.names), 'server')} recorded every {self.cadence_seconds} s, less "
            f"often than a step of {step_seconds} s ({some(self.names)}; first in "
            f"{self.first_key}): the steps between are not observed"
            f"{has_none if without_window else ''}; set data.cadenceSeconds to {self._enough} to "
            "gather all onto one grid"
        )

    @property
    def _enough(self) -> int:
        """Returns the finest step that a day is divided into and that their rows fill."""
        return next(step for step in range(self.cadence_seconds, _DAY + 1) if _DAY % step == 0)


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of a run's data as far as it was read."""

    name: str
    """`training` or `validation`."""
    uri: str
    cadence_seconds: int
    servers: int
    """That have a row which counts."""
    rows: int
    oddities: Mapping[str, int]
    targets: Sequence[str]
    chosen: ServersSpec
    others: Sequence[str]
    """Names of some servers that `chosen` leaves out."""
    slower: Sequence[Slower]
    """Those of its servers."""


def no_window(part: Part, rules: WindowRules, count: Callable[[WindowRules], int]) -> DataError:
    """Returns the error for a part without one window; `count` counts them under other rules."""
    slower = "; ".join(found.told(part.cadence_seconds) for found in part.slower)
    if part.servers and sum(len(found.names) for found in part.slower) >= part.servers:
        why = slower
    elif part.servers:
        why = _of_rules(part, rules, count) + (f"; besides, {slower}" if slower else "")
    elif part.oddities.get("not_chosen"):
        why = nobody_chosen(part.chosen, part.others)
    elif part.oddities.get("without_target"):
        why = _no_target(part)
    else:
        why = "no row of it counts: check data.window and the clocks of the rows"
    return DataError(
        f"data.uri {part.uri}: the {part.name} part holds no window of "
        f"{rules.encoder}+{rules.decoder} steps of {part.cadence_seconds} s: {why}"
    )


def nobody_chosen(chosen: ServersSpec, others: Sequence[str]) -> str:
    """Returns the words for patterns that fit none of the servers."""
    names = ", ".join(name[:LONGEST_NAME] for name in others[:MOST_NAMES])
    seen = f" (there are others, as {names})" if others else ""
    include = f"data.servers.include {_listed(chosen.include)}"
    exclude = f"data.servers.exclude {_listed(chosen.exclude)}"
    if not chosen.include:
        return f"{exclude} leaves out every server{seen}: correct the patterns"
    only = f" that {exclude} lets pass" if chosen.exclude else ""
    return f"{include} fits no server{only}{seen}: correct the patterns"


def some(names: Sequence[str]) -> str:
    """Returns the first names, and how many more there are."""
    shown = ", ".join(_visible(name[:LONGEST_NAME]) for name in names[:MOST_NAMES])
    return f"{shown} and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else shown


def _visible(name: str) -> str:
    """Returns a name that cannot pass for a line of the log of its own."""
    return "".join(letter if letter.isprintable() else "?" for letter in name)


def _no_target(part: Part) -> str:
    rows = part.oddities["without_target"]
    empty = [name for name in part.targets if part.oddities.get(f"{WITHOUT}{name}", 0) >= rows]
    if empty:
        return (
            f"model.targets {', '.join(empty)} has no value in any of {rows} rows: record it, or "
            "name other targets"
        )
    return (
        f"none of {rows} rows has a value of each of model.targets {', '.join(part.targets)}: name "
        "targets that are recorded together"
    )


def _of_rules(part: Part, rules: WindowRules, count: Callable[[WindowRules], int]) -> str:
    """Returns what keeps servers that were observed from having a window."""
    every_gap, any_share = rules.window, 1
    seen = f"{part.servers} servers with {part.rows} rows"
    if rules.stride > 1 and count(replace(rules, stride=1)):
        return f"none of them ends at a multiple of training.windowStride {rules.stride}: lower it"
    rules = replace(rules, stride=1)
    if not count(replace(rules, max_gap_steps=every_gap, min_observed_percent=any_share)):
        length = timedelta(seconds=rules.window * part.cadence_seconds)
        return (
            f"{seen}, none of them observed at both ends of {length}: record longer, or lower "
            "model.encoderLength and model.predictionLength"
        )
    said, fields = [], []
    gap = _least(
        rules.max_gap_steps,
        every_gap,
        lambda steps: count(replace(rules, max_gap_steps=steps, min_observed_percent=any_share)),
    )
    if gap > rules.max_gap_steps:
        said.append(f"each has a gap over data.gaps.maxGapSteps {rules.max_gap_steps}")
        fields.append(f"raise data.gaps.maxGapSteps to at least {gap}")
    rules = replace(rules, max_gap_steps=gap)
    missing = _least(
        100 - rules.min_observed_percent,
        99,
        lambda percent: count(replace(rules, min_observed_percent=100 - percent)),
    )
    if 100 - missing < rules.min_observed_percent:
        said.append(
            "none has the steps observed that data.gaps.minObservedPercent "
            f"{rules.min_observed_percent} asks for"
        )
        fields.append(f"lower data.gaps.minObservedPercent to at most {100 - missing}")
    return f"{seen}; {' and '.join(said)}: record without gaps, or {' and '.join(fields)}"


def _least(low: int, high: int, holds: Callable[[int], object]) -> int:
    """Returns the least number of [low, high] for which `holds`, as it does for `high`."""
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low


def _listed(patterns: Sequence[str]) -> str:
    return ", ".join(patterns)
