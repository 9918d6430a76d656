"""Tables for people. JSON is the reports themselves."""

from rich.console import Console
from rich.table import Table

from argus_trainer.upkeep.cleaning import Cleaning
from argus_trainer.upkeep.reports import PrefixReport, RunReport, StateReport
from argus_trainer.upkeep.verdicts import condition_of
from argus_trainer.wording import counted

UNITS = ("B", "kB", "MB", "GB", "TB")
NUM_CHARACTERS = 160
"""Of a line that no terminal shows."""


def a_console() -> Console:
    """Returns a console that takes text as it is: a message may hold brackets."""
    console = Console(soft_wrap=True, highlight=False, markup=False)
    if not console.is_terminal:
        console.width = NUM_CHARACTERS
    return console


def tell_prefix(report: PrefixReport, console: Console) -> None:
    """Prints what stands below a prefix, run by run."""
    for run in report.runs:
        _tell_run(run, console)
    for fault in report.unreadable_publications:
        console.print(f"A published record cannot be read: {fault}")
    console.print(
        f"{counted(len(report.runs), 'run')}, {size(sum(run.size_bytes for run in report.runs))}; "
        f"stats/ {counted(report.num_statistics, 'object')}, {size(report.statistics_bytes)}"
        + (f"; {counted(report.num_unknown, 'other object')}" if report.num_unknown else "")
        + f": {report.uri}"
    )


def tell_cleaning(cleaning: Cleaning, console: Console) -> None:
    """Prints what is removed and what is not, each with its reason."""
    table = Table(box=None, pad_edge=False)
    for heading in ("RUN", "", "OBJECTS", "SIZE", "WHY"):
        table.add_column(heading, overflow="fold")
    verb = "removed" if cleaning.is_done else "would remove"
    for run in cleaning.runs:
        word = verb if run.remove else "kept"
        table.add_row(run.run_key, word, str(run.num_objects), size(run.size_bytes), run.why)
    console.print(table)
    console.print(
        f"{verb} {counted(cleaning.num_removed_objects, 'object')}, {size(cleaning.freed_bytes)}: "
        f"{cleaning.uri}" + ("" if cleaning.is_done else "; nothing is changed, --delete acts")
    )


def size(num_bytes: int) -> str:
    """Returns `12.3 MB`."""
    amount, unit = float(num_bytes), 0
    while amount >= 1000 and unit < len(UNITS) - 1:
        amount, unit = amount / 1000, unit + 1
    return f"{amount:.1f} {UNITS[unit]}" if unit else f"{num_bytes} B"


def _tell_run(run: RunReport, console: Console) -> None:
    console.print(f"Run {run.run_key}  {run.bundle_name or ''}  {size(run.size_bytes)}")
    console.print(f"  {condition_of(run)}")
    if run.published and run.published.damage:
        console.print(f"  Damaged: {run.published.damage}")
    for fault in run.faults:
        console.print(f"  Cannot be read: {fault.message}")
    if run.claims:
        console.print(_claims_of(run))
    if run.states:
        console.print(_states_of(run))
    console.print()


def _claims_of(run: RunReport) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("  CLAIM", "POD", "START", "RESUMED", "END", "HOW", "EXIT", "LOST"):
        table.add_column(heading)
    for report in run.claims:
        claim, end = report.claim, report.end
        code = end.exit_code if end else None
        table.add_row(
            f"  {claim.number}",
            claim.pod,
            f"{claim.time:%Y-%m-%d %H:%M:%S}",
            f"step {claim.resumed.step}" if claim.resumed else "-",
            f"{end.time:%Y-%m-%d %H:%M:%S}" if end else "open",
            end.reason.value if end else "-",
            "-" if code is None else str(code),
            f"{end.lost_seconds} s" if end else "-",
        )
    return table


def _states_of(run: RunReport) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("  CLAIM", "STEP", "SAVED", "SIZE", "STATE"):
        table.add_column(heading, overflow="fold")
    next_one = None if run.published or run.final else run.resumable
    for state in reversed(run.states):
        table.add_row(
            f"  {state.id.claim}",
            str(state.id.step),
            f"{state.saved_at:%Y-%m-%d %H:%M:%S}" if state.saved_at else "-",
            size(state.size_bytes),
            _word_on(state, is_next=state == next_one),
        )
    return table


def _word_on(state: StateReport, *, is_next: bool) -> str:
    if state.fault:
        return f"cannot be used: {state.fault}"
    word = "valid" if state.is_checked else "not checked"
    return f"{word}, taken by a resume" if is_next else word
