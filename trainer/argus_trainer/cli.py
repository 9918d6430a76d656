"""The entry point of `argus`: from a command line to an exit code.

Errors are one line on stderr, and the exit codes are those of the contract. Signals are cared for
before anything slow is imported: those that a run takes itself wait until it listens, and any
other command ends at Ctrl-C with 130, as shells expect.
"""

import sys

from argus_contract.exit_codes import ExitCode
from argus_trainer.process.stop import FORCED_EXIT_CODE, block_signals

RUNS = frozenset({"run", "train"})
"""Commands that save their state when they are stopped."""


def main() -> None:
    """Entry point of the console script."""
    if RUNS.intersection(sys.argv[1:2]):
        block_signals()
    try:
        code = _code()
    except KeyboardInterrupt:
        code = FORCED_EXIT_CODE
    if code == FORCED_EXIT_CODE:
        print("argus: stopped by Ctrl-C", file=sys.stderr)
    sys.exit(code)


def _code() -> int | None:
    """Runs the command. Raises KeyboardInterrupt outside of it; typer returns 130 inside."""
    from typer.exceptions import TyperException

    from argus_trainer.commands import app
    from argus_trainer.errors import ArgusError

    try:
        # Otherwise typer prints a box of several lines and ends with 2, which a Job would retry.
        code: int | None = app(standalone_mode=False)
    except ArgusError as error:
        print(f"argus: {error}", file=sys.stderr)
        return int(error.exit_code)
    except TyperException as error:
        # Without typer's box: the message, which names the option and the value.
        describe = getattr(error, "format_message", None)
        sentence = str(describe() if describe else error) or "a command is missing"
        print(f"argus: {sentence} (see --help)", file=sys.stderr)
        return int(ExitCode.USAGE)
    return code
