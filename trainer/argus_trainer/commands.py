"""The commands of `argus`: generate, import, plan and train, on one machine; checkpoints and gc,
for what is in a bucket; run, in a pod.

Nothing heavy is imported here: `argus --help` answers at once.
"""

import typer

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
