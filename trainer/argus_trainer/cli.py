"""The command `argus`: generate, import, plan and train, on one machine; checkpoints and gc, for
what is in a bucket; run, in a pod.

Nothing heavy is imported here: `argus --help` answers at once. Errors are one line on
stderr, and the exit codes are those of the contract.
"""

import sys

import typer
from typer.exceptions import TyperException

from argus_contract.exit_codes import ExitCode
from argus_trainer.errors import ArgusError
from argus_trainer.ingest.command import import_
from argus_trainer.process.command import plan, run, train
from argus_trainer.simulate.command import generate
from argus_trainer.upkeep.command import checkpoints, gc

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Train models that predict server metrics.",
)
app.command("generate")(generate)
app.command("import")(import_)
app.command("plan")(plan)
app.command("train")(train)
app.command("checkpoints")(checkpoints)
app.command("gc")(gc)
app.command("run")(run)


def _sentence(error: TyperException) -> str:
    """Returns the message with the option and the value, without typer's box."""
    describe = getattr(error, "format_message", None)
    return str(describe() if describe else error) or "a command is missing"


def main() -> None:
    """Entry point of the console script."""
    try:
        # Otherwise typer prints a box of several lines and ends with 2, which a Job would retry.
        code = app(standalone_mode=False)
    except ArgusError as error:
        print(f"argus: {error}", file=sys.stderr)
        sys.exit(int(error.exit_code))
    except TyperException as error:
        print(f"argus: {_sentence(error)} (see --help)", file=sys.stderr)
        sys.exit(int(ExitCode.USAGE))
    sys.exit(code)


__all__ = ["app", "main"]
