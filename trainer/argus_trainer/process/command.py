"""`argus run` and `argus train`: one engine, started by a pod or by a person."""

import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from argus_contract import names
from argus_contract.launch import Launch
from argus_trainer.errors import UsageError
from argus_trainer.process.stop import Stop
from argus_trainer.wording import problems_of

DEFAULT_DATASET = "./training/"


def run() -> None:
    """Run what the operator asked for: the entry point of a trainer pod."""
    stop = Stop()
    stop.listen()
    launch = _launch_of(os.environ)
    from argus_trainer.process.run import run as run_launch
    from argus_trainer.process.surroundings import Surroundings

    # The kubelet mounts a file there; outside a pod nobody reads last words.
    termination_path = Path(names.TERMINATION_PATH)
    raise typer.Exit(
        run_launch(
            launch,
            Surroundings(
                pod=os.environ.get(names.ENV_POD_NAME) or platform.node(),
                node=os.environ.get(names.ENV_NODE_NAME),
                stop=stop,
                progress_address=("0.0.0.0", names.PROGRESS_PORT),
                termination_path=termination_path if termination_path.exists() else None,
            ),
        )
    )


def train(
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
    epochs: Annotated[int, typer.Option(help="Passes over the training windows.")] = 20,
    streaming: Annotated[
        bool,
        typer.Option(
            "--streaming",
            help="Keep only the blocks that are needed next in memory, for data of any size. "
            "The model is the same to the bit.",
        ),
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Train anew: ignore saved state and earlier models.")
    ] = False,
    encoder_length: Annotated[int, typer.Option(help="Past steps that the model sees.")] = 288,
    prediction_length: Annotated[int, typer.Option(help="Future steps to predict.")] = 96,
    hidden_size: Annotated[int, typer.Option(help="Width of the network.")] = 128,
    attention_heads: Annotated[int, typer.Option(help="Heads of the attention.")] = 8,
    hidden_continuous_size: Annotated[
        int, typer.Option(help="Width of the processing of one variable.")
    ] = 64,
    dropout: Annotated[str, typer.Option(help="Dropout probability.")] = "0.2",
    target: Annotated[list[str] | None, typer.Option(help="Metric to predict; repeatable.")] = None,
    batch_size: Annotated[int, typer.Option(help="Windows in one step.")] = 128,
    learning_rate: Annotated[str, typer.Option(help="Initial learning rate.")] = "0.01",
    max_steps: Annotated[
        int | None, typer.Option(help="End after so many steps, even inside an epoch.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same model.")] = 42,
    every_chunks: Annotated[
        int, typer.Option(min=1, help="Save each time so many chunks are done.")
    ] = 5,
    period_seconds: Annotated[int, typer.Option(min=1, help="Save at least so often.")] = 60,
    gpus: Annotated[
        int | None, typer.Option(min=0, help="GPUs to use, 0 or 1. Default: 1 where there is one.")
    ] = None,
) -> None:
    """Train a model on recorded metrics. Started again, it goes on where it was."""
    stop = Stop()
    stop.listen()
    from argus_trainer.process.local import Request, launch_of
    from argus_trainer.process.options import in_options
    from argus_trainer.process.run import run as run_launch
    from argus_trainer.process.surroundings import Surroundings
    from argus_trainer.storage.environment import storage_from_environment

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
    request = Request(
        dataset=_dataset_of(dataset_argument, dataset),
        output=output,
        model=model,
        training={
            "epochs": epochs,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "max_steps": max_steps,
            "seed": seed,
        },
        every_chunks=every_chunks,
        period_seconds=period_seconds,
        gpus=gpus,
        fresh=fresh,
        storage=storage_from_environment(),
    )
    raise typer.Exit(
        run_launch(
            launch_of(request),
            Surroundings(
                pod=platform.node(),
                stop=stop,
                keep_all_blocks=not streaming,
                wording=in_options,
            ),
        )
    )


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
