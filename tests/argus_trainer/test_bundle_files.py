"""A bundle predicts without Argus what the trainer predicted, and is the same bytes each time."""

import copy
import json
import pickle
import pickletools
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
import torch

from argus_contract.layout import StepId
from argus_contract.ledger import Final, StepManifest, TensorFile
from argus_contract.plan import (
    FeatureStatistics,
    PinnedObject,
    Plan,
    Scaler,
    Split,
    Statistics,
    TargetStatistics,
    TimeWindow,
)
from argus_contract.spec import ModelSpec, TargetSpec, TrainingSpec
from argus_trainer.bundle.content import BundleContent, Outcome
from argus_trainer.bundle.files import files_of, server_code, server_mapping
from argus_trainer.bundle.write import write_bundle
from argus_trainer.errors import ObjectExists

START = datetime(2026, 1, 1, tzinfo=UTC)
NAME = "tft_model_20260131_100000"
SERVERS = ("db01", "web01")
STATES = ("healthy", "idle")
TARGETS = ("cpu_user_pct", "load_average")
MODEL = ModelSpec(
    encoder_length=8,
    prediction_length=4,
    hidden_size=8,
    attention_heads=2,
    hidden_continuous_size=4,
    dropout="0.1",
    targets=tuple(TargetSpec(name=name) for name in TARGETS),
)

CONSUMER = """
import hashlib, io, json, pickle, sys
import numpy, pandas, torch
from pytorch_forecasting import TemporalFusionTransformer, TimeSeriesDataSet
from safetensors.torch import load_file

folder = sys.argv[1]
with open(folder + "/dataset_parameters.pkl", "rb") as file:
    parameters = pickle.load(file)
frame = pandas.read_pickle(folder + "/frame.pkl")
dataset = TimeSeriesDataSet.from_parameters(parameters, frame)
with open(folder + "/config.json") as file:
    network = TemporalFusionTransformer.from_dataset(dataset, **json.load(file))
network.load_state_dict(load_file(folder + "/model.safetensors"))
network.eval()
x, _ = next(iter(dataset.to_dataloader(train=False, batch_size=64, num_workers=0)))
with torch.no_grad():
    prediction = network(x)["prediction"]
numpy.savez(folder + "/prediction.npz", *[part.numpy() for part in prediction])
again = io.BytesIO()
pickler = pickle.Pickler(again, protocol=4)
pickler.fast = True
pickler.dump(parameters)
with open(folder + "/again.pkl", "wb") as file:
    file.write(again.getvalue())
assert not [name for name in sys.modules if name.startswith("argus")]
"""


def frame() -> pd.DataFrame:
    """Two servers, twenty steps: every column of a tiny dataset."""
    draw = np.random.default_rng(7)
    rows = [
        {
            "time_idx": step,
            "server_name": server,
            "profile": profile,
            "status": STATES[step % 3 % 2],
            "hour": float(step % 24),
            "day_of_week": 5.0,
            "is_weekend": 1.0,
            "mem_used_pct": float(draw.uniform(10, 90)),
            "cpu_user_pct": float(draw.uniform(5, 60)),
            "load_average": float(draw.uniform(0.1, 8)),
        }
        for server, profile in zip(SERVERS, ("database", "generic"), strict=True)
        for step in range(20)
    ]
    return pd.DataFrame(rows)


def statistics() -> Statistics:
    """As a pass over the training part would leave them."""
    features = ("hour", "day_of_week", "is_weekend", "mem_used_pct")
    return Statistics(
        plan_digest="p",
        cadence_seconds=300,
        rows=40,
        servers=SERVERS,
        states=STATES,
        profiles=("database", "generic"),
        features=tuple(
            FeatureStatistics(name=name, scaler=Scaler(center=3, scale=2)) for name in features
        ),
        targets=tuple(
            TargetStatistics(
                name=name,
                fleet=Scaler(center=2, scale=1.5),
                servers=(Scaler(center=1, scale=1.1), Scaler(center=4, scale=2.5)),
                fleet_spread=1.5,
                spreads=(1.0, 2.0),
            )
            for name in TARGETS
        ),
        training_blocks=(),
        validation_blocks=(),
        steps_per_epoch=10,
    )


@pytest.fixture(scope="module")
def network_and_reference():
    from argus_trainer.data.reference import fitted_dataset
    from argus_trainer.model.network import build_network

    reference = fitted_dataset(statistics(), MODEL, frame())
    return build_network(reference, MODEL, seed=3).eval(), reference


@pytest.fixture(scope="module")
def content(network_and_reference) -> BundleContent:
    from argus_trainer.model.network import QUANTILES, network_arguments

    network, reference = network_and_reference
    final_id = StepId(claim=3, step=400)
    objects = tuple(
        PinnedObject(
            key=f"chunk_{hour:02d}.parquet",
            size=1000,
            etag="e",
            start=START + timedelta(hours=hour),
            end=START + timedelta(hours=hour + 2),
        )
        for hour in range(0, 20, 2)
    )
    return BundleContent(
        plan=Plan(
            run_key="key",
            created_at=START,
            data_uri="s3://metrics/edge",
            window=TimeWindow(start=objects[0].start, end=objects[-1].end),
            objects=objects,
            manifest_digest="m",
            split=Split(train_end=7, validation_end=9),
            image="argus:1",
            seed=3,
            block_chunks=1,
            mix_width=2,
            bundle_name=NAME,
            configuration_digest="c",
        ),
        statistics=statistics(),
        model=MODEL,
        training=TrainingSpec(epochs=20),
        final=Final(
            run_key="key",
            id=final_id,
            manifest_sha256="0",
            bundle_name=NAME,
            windows_digest="w",
        ),
        manifest=StepManifest(
            id=final_id,
            saved_at=START,
            save_seconds=0.1,
            tensors=TensorFile(key=final_id.tensors, size=1, sha256="0"),
            plan_digest="p",
            statistics_digest="s",
            configuration_digest="c",
            state={},
            versions={"torch": "2"},
        ),
        outcome=Outcome(
            total_epochs_completed=12,
            steps=400,
            best_epoch=9,
            metrics={"val_loss": 0.1 + 0.2, "train_loss": 0.25},
        ),
        network=network_arguments(MODEL, len(TARGETS)),
        quantiles=QUANTILES,
        weights=network.state_dict(),
        reference=reference,
    )


def test_a_process_without_argus_predicts_what_the_trainer_predicts(
    tmp_path, content, network_and_reference
):
    network, reference = network_and_reference
    x, _ = next(iter(reference.to_dataloader(train=False, batch_size=64, num_workers=0)))
    with torch.no_grad():
        expected = network(x)["prediction"]
    for name, data in files_of(content).items():
        (tmp_path / name).write_bytes(data)
    frame().to_pickle(tmp_path / "frame.pkl")
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CONSUMER, str(tmp_path)],
        cwd=tmp_path,
        env={"PYTHONHASHSEED": "12345", "OMP_NUM_THREADS": "1"},
        check=True,
    )
    found = np.load(tmp_path / "prediction.npz")
    assert len(found) == len(expected) == len(TARGETS)
    for ours, theirs in zip(expected, found.values(), strict=True):
        scale = float(ours.abs().max())
        assert theirs.shape == tuple(ours.shape)
        assert np.abs(theirs - ours.numpy()).max() <= 1e-5 * scale
    # Another process with other hashes writes the same pickle.
    assert (tmp_path / "again.pkl").read_bytes() == (
        tmp_path / "dataset_parameters.pkl"
    ).read_bytes()


def test_a_retry_of_publishing_writes_the_same_bytes(store_at, content):
    output = store_at("models")
    first = write_bundle(output, content)
    before = {entry.key: output.get(entry.key) for entry in output.list_objects()}
    retried = replace(
        content,
        weights=dict(reversed(content.weights.items())),
        reference=copy.deepcopy(content.reference),
    )
    assert write_bundle(output, retried) == first
    assert {entry.key: output.get(entry.key) for entry in output.list_objects()} == before
    assert sorted(before) == [
        f"{NAME}/{name}"
        for name in (
            "MANIFEST.json",
            "config.json",
            "dataset_parameters.pkl",
            "model.safetensors",
            "server_mapping.json",
            "training_info.json",
        )
    ]


def test_another_model_under_the_same_name_is_refused(store_at, content):
    output = store_at("models")
    write_bundle(output, content)
    other = {name: tensor + 1 for name, tensor in content.weights.items()}
    with pytest.raises(ObjectExists):
        write_bundle(output, replace(content, weights=other))


def test_the_pickle_names_no_class_of_argus(content):
    data = files_of(content)["dataset_parameters.pkl"]
    packages = set()
    strings: list[str] = []
    for operation, argument, _ in pickletools.genops(data):
        if operation.name == "STACK_GLOBAL":
            packages.add(strings[-2].partition(".")[0])
        elif isinstance(argument, str):
            strings.append(argument)
    assert packages <= {
        "builtins",
        "collections",
        "copyreg",
        "datetime",
        "numpy",
        "pandas",
        "pytorch_forecasting",
        "sklearn",
        "torch",
        "_codecs",
        "functools",
        "pyarrow",  # holds the strings of pandas 3
    }
    assert "pytorch_forecasting" in packages
    assert pickle.loads(data)["max_encoder_length"] == 8


@pytest.mark.parametrize("reason", [None, "a.parquet changed after the plan was made"])
def test_training_info_says_whether_the_plan_alone_leads_to_the_model(content, reason):
    final = content.final.model_copy(update={"inexact_reason": reason})
    info = json.loads(files_of(replace(content, final=final))["training_info.json"])
    assert info["exact_resume"] is (reason is None)
    assert info["exact_resume_reason"] == reason


def test_training_info_says_what_a_consumer_of_the_guide_reads(content):
    info = json.loads(files_of(content)["training_info.json"])
    assert info["data_contract_version"] == "2.0.0"
    assert info["unique_states"] == ["healthy", "idle"]
    assert (info["epochs"], info["total_epochs_completed"]) == (20, 12)
    assert info["best_loss"] == 0.1 + 0.2
    assert info["targets"] == list(TARGETS)
    assert info["data"]["window_start"] == "2026-01-01T00:00:00Z"
    assert info["data"]["window_end"] == "2026-01-01T20:00:00Z"
    assert info["data"]["validation_files"] == 2


def test_server_codes_are_those_of_the_original_tool():
    # sha256("web01") begins with the digits that `sha256sum` prints.
    assert server_code("web01") == str(int("1f94fe44", 16) % 1_000_000)


def test_servers_of_one_code_are_both_in_the_mapping():
    by_code: dict[str, str] = {}
    for number in range(100_000):
        name = f"server{number}"
        twin = by_code.setdefault(server_code(name), name)
        if twin != name:
            break
    mapping = server_mapping((twin, name, "other"))
    assert mapping[twin] == mapping[name] != mapping["other"]
