"""`argus run` and `argus train`: one engine, started by a pod or by a person.

`argus plan` takes the same options as `argus train`, so that one word changes.
"""

import inspect
import os
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError
from typer.models import OptionInfo

from argus_contract import names
from argus_contract.data_spec import OnChange
from argus_contract.launch import Launch, LaunchPlanning
from argus_contract.spec import DEFAULT_KEEP_LAST, ResumePolicy, TrainingMode
from argus_trainer.errors import ArgusError, UsageError
from argus_trainer.process import reading
from argus_trainer.process.stop import Stop
from argus_trainer.wording import counted, problems_of

if TYPE_CHECKING:
    from argus_trainer.process.local import Request

DEFAULT_DATASET = "./training/"
TRAINING_PANEL, SAVING_PANEL = "Training", "Saving"


def _model(help_text: str) -> OptionInfo:
    option: OptionInfo = typer.Option(help=help_text, rich_help_panel="Model")
    return option


def _training(help_text: str) -> OptionInfo:
    option: OptionInfo = typer.Option(help=help_text, rich_help_panel=TRAINING_PANEL)
    return option


def run(
    plan_only: Annotated[
        bool, typer.Option(names.PLAN_ONLY, help="Plan, judge the data, and train nothing.")
    ] = False,
) -> None:
    """Run what the operator asked for: the entry point of a trainer pod."""
    stop = Stop()
    stop.listen()
    launch = _launch_of(os.environ)
    from argus_trainer.process.surroundings import Surroundings

    # The kubelet mounts a file there; outside a pod nobody reads last words.
    termination_path = Path(names.TERMINATION_PATH)
    surroundings = Surroundings(
        pod=os.environ.get(names.ENV_POD_NAME) or platform.node(),
        node=os.environ.get(names.ENV_NODE_NAME),
        stop=stop,
        progress_address=("", names.PROGRESS_PORT),
        termination_path=termination_path if termination_path.exists() else None,
    )
    if plan_only:
        from argus_trainer.process.preparing import prepare

        raise typer.Exit(prepare(launch, _planning_of(launch), surroundings))
    from argus_trainer.process.run import run as run_launch

    raise typer.Exit(run_launch(launch, surroundings))


def _request(
    dataset_argument: Annotated[
        str | None, typer.Argument(metavar="[DATASET]", help="Same as --dataset.")
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            help=f"Folder or s3://bucket/prefix with the training data. Default: {DEFAULT_DATASET}"
        ),
    ] = None,
    output: Annotated[str, typer.Option(help="Where models go.")] = "./models/",
    epochs: Annotated[int, typer.Option(help="Most passes over the training windows.")] = 20,
    streaming: Annotated[
        bool,
        typer.Option(
            "--streaming",
            help="Keep in memory what --memory-budget allows, for data of any size. The model is "
            "the same to the bit.",
        ),
    ] = False,
    memory_budget: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="With --streaming: memory for data, for example 4Gi. Default: half of what "
            "this process may use.",
        ),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Train anew: ignore saved state and earlier models.")
    ] = False,
    gpus: Annotated[
        int | None, typer.Option(min=0, help="GPUs to use, 0 or 1. Default: 1 where there is one.")
    ] = None,
    own_names: reading.Map = None,
    factor: reading.Factor = None,
    aggregate: reading.AggregateOption = None,
    servers: reading.Servers = None,
    exclude_servers: reading.ExcludeServers = None,
    start: reading.Start = None,
    end: reading.End = None,
    lookback_days: reading.LookbackDays = None,
    validation_percent: reading.ValidationPercent = 20,
    holdout_percent: reading.HoldoutPercent = 10,
    cadence: reading.Cadence = 0,
    time_zone: reading.TimeZone = "UTC",
    max_gap_steps: reading.MaxGapSteps = 3,
    min_observed_percent: reading.MinObservedPercent = 80,
    on_change: reading.OnChangeOption = OnChange.FAIL,
    encoder_length: Annotated[int, _model("Past steps that the model sees.")] = 288,
    prediction_length: Annotated[int, _model("Future steps to predict.")] = 96,
    hidden_size: Annotated[int, _model("Width of the network.")] = 128,
    attention_heads: Annotated[int, _model("Heads of the attention.")] = 8,
    hidden_continuous_size: Annotated[int, _model("Width of the processing of one variable.")] = 64,
    dropout: Annotated[str, _model("Dropout probability.")] = "0.2",
    target: Annotated[list[str] | None, _model("Metric to predict; repeatable.")] = None,
    batch_size: Annotated[int, _training("Windows in one step.")] = 128,
    learning_rate: Annotated[str, _training("Initial learning rate.")] = "0.01",
    max_steps: Annotated[
        int | None, _training("End after so many steps, even inside an epoch.")
    ] = None,
    window_stride: Annotated[int, _training("Use each n-th window of a server only.")] = 1,
    windows_per_epoch: Annotated[
        int | None, _training("End an epoch after so many windows; the next draws others.")
    ] = None,
    seed: Annotated[int, _training("The same seed gives the same model.")] = 42,
    deterministic: Annotated[
        bool,
        typer.Option(
            "--deterministic",
            help="The same bits each time on a GPU too, more slowly.",
            rich_help_panel=TRAINING_PANEL,
        ),
    ] = False,
    every_chunks: Annotated[
        int,
        typer.Option(
            min=1, help="Save each time so many chunks are done.", rich_help_panel=SAVING_PANEL
        ),
    ] = 5,
    period_seconds: Annotated[
        int, typer.Option(min=1, help="Save at least so often.", rich_help_panel=SAVING_PANEL)
    ] = 60,
    keep_last: Annotated[
        int,
        typer.Option(min=1, max=100, help="States to keep.", rich_help_panel=SAVING_PANEL),
    ] = DEFAULT_KEEP_LAST,
    resume_policy: Annotated[
        ResumePolicy,
        typer.Option(
            case_sensitive=False,
            help="Go on from the newest state if there is one, never, or not without one.",
            rich_help_panel=SAVING_PANEL,
        ),
    ] = ResumePolicy.AUTO,
    single_writer: Annotated[
        bool,
        typer.Option(
            "--single-writer",
            help="Nothing else writes there: then a store may lack conditional writes.",
            rich_help_panel=SAVING_PANEL,
        ),
    ] = False,
) -> "Request":
    """Returns what a person asked for; this signature is that of `argus train` and `argus plan`."""
    from argus_trainer.process.local import Request
    from argus_trainer.storage.environment import storage_from_environment

    if memory_budget is not None and not streaming:
        raise UsageError(
            f"--memory-budget {memory_budget} needs --streaming: without it everything is kept"
        )
    model: dict[str, object] = {
        "encoder_length": encoder_length,
        "prediction_length": prediction_length,
        "hidden_size": hidden_size,
        "attention_heads": attention_heads,
        "hidden_continuous_size": hidden_continuous_size,
        "dropout": dropout,
    }
    if target:
        model["targets"] = [{"name": name} for name in target]
    return Request(
        dataset=_dataset_of(dataset_argument, dataset),
        output=output,
        data={
            "window": reading.window_of(start, end, lookback_days),
            "split": {"validationPercent": validation_percent, "holdoutPercent": holdout_percent},
            "cadenceSeconds": cadence,
            "columns": reading.columns_of(own_names or [], factor or [], aggregate or []),
            "servers": {"include": servers or [], "exclude": exclude_servers or []},
            "timeZone": time_zone,
            "gaps": {"maxGapSteps": max_gap_steps, "minObservedPercent": min_observed_percent},
            "onChange": on_change,
        },
        model=model,
        training={
            "mode": TrainingMode.STREAMING if streaming else TrainingMode.STANDARD,
            "memory_budget": memory_budget,
            "window_stride": window_stride,
            "windows_per_epoch": windows_per_epoch,
            "deterministic": deterministic,
            "epochs": epochs,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "max_steps": max_steps,
            "seed": seed,
        },
        every_chunks=every_chunks,
        period_seconds=period_seconds,
        keep_last=keep_last,
        resume_policy=resume_policy,
        gpus=gpus,
        fresh=fresh,
        storage=storage_from_environment().model_copy(update={"single_writer": single_writer}),
    )


def _train(request: "Request") -> None:
    """Train a model on recorded metrics. Started again, it goes on where it was."""
    stop = Stop()
    stop.listen()
    from argus_trainer.process.local import start_of
    from argus_trainer.process.options import in_options
    from argus_trainer.process.run import run as run_launch
    from argus_trainer.process.surroundings import Surroundings

    start = start_of(request)
    surroundings = Surroundings(
        pod=platform.node(), stop=stop, wording=in_options, begin=start.begin
    )
    if others := start.others:
        surroundings.say(
            f"[RUN] A new run. {counted(others, 'run')} of other data or options stay in "
            f"{start.launch.checkpoint.uri}: the command that began one goes on with it"
        )
    raise typer.Exit(run_launch(start.launch, surroundings))


def _plan(request: "Request") -> None:
    """Show what `argus train` with the same options would do. Writes nothing, needs no GPU."""
    from argus_trainer.process.local import start_of
    from argus_trainer.process.options import in_options
    from argus_trainer.process.planning import show

    try:
        launch = start_of(request).launch
        show(launch, lambda line: typer.echo(in_options(line)), anew=request.fresh)
    except ArgusError as error:
        raise type(error)(in_options(str(error))) from error


def _with_options(act: Callable[["Request"], None]) -> Callable[..., None]:
    """Returns the command that does `act`, with the options of a run."""

    def command(**options: Any) -> None:
        act(_request(**options))

    command.__doc__ = act.__doc__
    # What typer reads the options from.
    signature = inspect.signature(_request)
    command.__dict__["__signature__"] = signature.replace(return_annotation=None)
    command.__annotations__ = {
        name: kind for name, kind in _request.__annotations__.items() if name != "return"
    }
    return command


train = _with_options(_train)
plan = _with_options(_plan)


def _dataset_of(argument: str | None, option: str | None) -> str:
    if argument is not None and option is not None and argument.rstrip("/") != option.rstrip("/"):
        raise UsageError(f"DATASET {argument} and --dataset {option} differ: name one of them")
    named = argument if argument is not None else option
    return DEFAULT_DATASET if named is None else named


def _launch_of(environment: Mapping[str, str]) -> Launch:
    text = environment.get(names.ENV_LAUNCH)
    if not text:
        raise UsageError(
            f"{names.ENV_LAUNCH} is not set: `argus run` is started by the operator; use "
            "`argus train` on a command line"
        )
    try:
        return Launch.model_validate_json(text)
    except ValidationError as error:
        raise UsageError(
            f"{names.ENV_LAUNCH} cannot be read: {problems_of(error)}: use the operator of this "
            "trainer's version"
        ) from error


def _planning_of(launch: Launch) -> LaunchPlanning:
    if launch.planning is None:
        raise UsageError(
            f"{names.PLAN_ONLY} needs planning in {names.ENV_LAUNCH}: the operator sets both"
        )
    return launch.planning
