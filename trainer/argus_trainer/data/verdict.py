"""Is this data what the run wants it to be, and does it fit where the run will train?

Pure: from plan and statistics alone, so that a second look at stored ones says the same.
"""

from collections.abc import Iterator

from argus_contract.data_spec import ValidationSpec
from argus_contract.plan import Plan, Statistics
from argus_contract.progress import MAX_PROBLEMS, Validation
from argus_contract.spec import TrainingMode, TrainingSpec
from argus_trainer.data.counts import Counts
from argus_trainer.data.memory import Memory, asked_budget, mebibytes
from argus_trainer.data.reasons import some
from argus_trainer.errors import ConfigurationError


def judged(
    plan: Plan, statistics: Statistics, counts: Counts, limits: ValidationSpec
) -> Validation:
    """Returns what was found, and each limit that it does not keep."""
    return Validation(
        summary=(
            f"{counts.rows} rows of {counts.servers} servers in the training part, "
            f"{_percent(counts.coverage)} of their steps, data to {plan.window.end:%Y-%m-%dT%H:%MZ}"
        ),
        problems=tuple(_problems(plan, statistics, counts, limits))[:MAX_PROBLEMS],
    )


def _problems(
    plan: Plan, statistics: Statistics, counts: Counts, limits: ValidationSpec
) -> Iterator[str]:
    if limits.min_rows and counts.rows < limits.min_rows:
        yield _limit("minRows", limits.min_rows, f"there are {counts.rows} rows")
    if limits.min_servers and counts.servers < limits.min_servers:
        yield _limit("minServers", limits.min_servers, f"there are {counts.servers} servers")
    least = limits.min_coverage_percent
    if least and 100 * counts.coverage < least:
        found = f"{_percent(counts.coverage)} of the servers' steps have a row"
        yield _limit("minCoveragePercent", least, found)
    most = limits.max_missing_percent
    if most is not None and (lacking := _lacking(statistics, most)):
        yield _limit("maxMissingPercent", most, f"rows without a value: {some(lacking)}")
    oldest = limits.max_staleness_seconds
    age = int((plan.created_at - plan.window.end).total_seconds())
    if oldest and age > oldest:
        found = f"the data ended {age} s before the run was planned"
        yield _limit("maxStalenessSeconds", oldest, found)


def refuse_without_memory(memory: Memory, training: TrainingSpec, limit: int | None) -> None:
    """Refuses a training that its container (`limit` in bytes, None: none) could not hold.

    Raises ConfigurationError.
    """
    if training.mode is TrainingMode.STANDARD:
        least, way_out = memory.needed + memory.blocks, ", or use training.mode Streaming"
    else:
        least, way_out = memory.least, ", or use fewer servers (data.servers)"
        asked = asked_budget(training)
        if asked is not None:
            memory.shares(asked)
        elif limit is not None:
            # Half of the limit is what the training will take for its data.
            least *= 2
    if limit is not None and least > limit:
        raise ConfigurationError(
            f"resourcesPerNode.limits.memory is {mebibytes(limit)}, and training on this data "
            f"needs {mebibytes(least)}: set at least that, and more for the libraries{way_out}"
        )


def _lacking(statistics: Statistics, most_percent: int) -> list[str]:
    """Returns the metrics that too many rows lack, the worst first."""
    lacking = [
        entry for entry in statistics.absent if 100 * entry.absent > most_percent * entry.rows
    ]
    lacking.sort(key=lambda entry: (-entry.absent / entry.rows, entry.name))
    return [f"{entry.name} in {_percent(entry.absent / entry.rows)}" for entry in lacking]


def _limit(field: str, value: int, found: str) -> str:
    return f"data.validation.{field} is {value}, and {found}"


def _percent(share: float) -> str:
    """Returns a share that is rounded to nothing or all only when it is that."""
    if 0 < share < 0.001:
        return "under 0.1 %"
    if 0.999 < share < 1:
        return "over 99.9 %"
    return f"{100 * share:.1f} %"
