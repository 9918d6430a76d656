"""Stores for the trainer's tests: a folder and a real S3 server, behind one fixture.

The server is SeaweedFS from a wheel. It starts once per session, and only for a session that
asks for it, on ports of its own, and dies with the session.
"""

import ctypes
import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from argus_contract.launch import LaunchStorage
from argus_trainer.storage.open import open_store
from argus_trainer.storage.store import Store

BUCKET = "argus-tests"
KEY_PAIRS = (("first-key", "first-secret"), ("second-key", "second-secret"))
NUM_START_SECONDS = 60
NUM_STARTS = 3
PR_SET_PDEATHSIG = 1

StoreAt = Callable[[str], Store]


@dataclass(frozen=True, kw_only=True)
class S3:
    """A running server."""

    endpoint: str
    folder: Path
    """Of the whole session; each use makes folders of its own below it."""

    def credentials(self, pair: int = 0) -> Path:
        """Returns a new folder with keys that the server knows, as a mounted Secret has them."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        self.write_keys(folder, *KEY_PAIRS[pair])
        return folder

    @staticmethod
    def write_keys(folder: Path, access_key: str, secret_key: str) -> None:
        (folder / "AWS_ACCESS_KEY_ID").write_text(access_key + "\n")
        (folder / "AWS_SECRET_ACCESS_KEY").write_text(secret_key + "\n")

    def options(self, **changes: Any) -> LaunchStorage:
        """Returns options that work, but for `changes`."""
        fields = {
            "endpoint": self.endpoint,
            "region": "us-east-1",
            "path_style": True,
            "outage_tolerance_seconds": 20,
        } | changes
        if "credentials_directory" not in fields:
            fields["credentials_directory"] = str(self.credentials())
        return LaunchStorage(**fields)

    def new_uri(self) -> str:
        """Returns an address that nobody else uses."""
        return f"s3://{BUCKET}/{uuid.uuid4().hex}"


@pytest.fixture(scope="session")
def s3() -> Iterator[S3]:
    """A real S3 server with keys and one bucket."""
    with ExitStack() as stack:
        yield started(stack)


@pytest.fixture(params=["local", "s3"])
def store_at(request: pytest.FixtureRequest, tmp_path: Path) -> StoreAt:
    """Opens stores below a fresh place, in a folder and on S3: `store_at("prefix")`."""
    if request.param == "local":
        return lambda prefix: open_store(str(tmp_path / "store" / prefix), LaunchStorage())
    server: S3 = request.getfixturevalue("s3")
    uri, options = server.new_uri(), server.options()
    return lambda prefix: open_store(f"{uri}/{prefix}", options)


def started(stack: ExitStack) -> S3:
    """Starts a server that lives as long as `stack`; for benchmarks too."""
    for _ in range(NUM_STARTS):
        folder = Path(tempfile.mkdtemp(prefix="argus-s3-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        ports = _free_ports(8)
        process = _launch(folder, ports)
        stack.callback(process.wait)
        stack.callback(process.kill)
        server = S3(endpoint=f"http://127.0.0.1:{ports[0]}", folder=folder)
        if _bucket_made(server, process):
            return server
    pytest.fail(f"SeaweedFS did not start: {(folder / 'log').read_text()[-2000:]}")


def _launch(folder: Path, ports: list[int]) -> "subprocess.Popen[bytes]":
    keys = [{"accessKey": access, "secretKey": secret} for access, secret in KEY_PAIRS]
    identity = {"name": "tests", "credentials": keys, "actions": ["Admin"]}
    # Google's interface is S3's own but for the signatures: it is spoken without any.
    anonymous = {"name": "anonymous", "actions": [f"Read:{BUCKET}", f"List:{BUCKET}"]}
    (folder / "s3.json").write_text(json.dumps({"identities": [identity, anonymous]}))
    (folder / "data").mkdir()
    s3_port, s3_grpc, master, master_grpc, volume, volume_grpc, filer, filer_grpc = ports
    arguments = {
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        "dir": folder / "data",
        "s3": "true",
        "s3.config": folder / "s3.json",
        "s3.port": s3_port,
        "s3.port.grpc": s3_grpc,
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "s3.autoCreateBucket": "false",
        "s3.localSocket": folder / "s3.sock",
        "master.port": master,
        "master.port.grpc": master_grpc,
        "master.volumeSizeLimitMB": 64,
        "master.telemetry": "false",
        "volume.port": volume,
        "volume.port.grpc": volume_grpc,
        "volume.max": 0,
        "filer.port": filer,
        "filer.port.grpc": filer_grpc,
        "filer.localSocket": folder / "filer.sock",
    }
    # The server must not outlive a session that is killed.
    prctl = ctypes.CDLL(None).prctl
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            [
                str(Path(sys.executable).with_name("weed")),
                "server",
                *(f"-{name}={value}" for name, value in arguments.items()),
            ],
            stdout=log,
            stderr=log,
            cwd=folder,
            preexec_fn=lambda: prctl(PR_SET_PDEATHSIG, signal.SIGKILL),
        )


def _bucket_made(server: S3, process: "subprocess.Popen[bytes]") -> bool:
    """Asks until the server has made the bucket; False if it died or stays silent."""
    import s3fs
    from botocore.exceptions import BotoCoreError

    access, secret = KEY_PAIRS[0]
    filesystem = s3fs.S3FileSystem(
        key=access,
        secret=secret,
        endpoint_url=server.endpoint,
        client_kwargs={"region_name": "us-east-1"},
        config_kwargs={"connect_timeout": 1, "read_timeout": 5, "retries": {"max_attempts": 0}},
        skip_instance_cache=True,
    )
    filesystem.retries = 1
    end = time.monotonic() + NUM_START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            filesystem.call_s3("create_bucket", Bucket=BUCKET)
            filesystem.call_s3("put_object", Bucket=BUCKET, Key="ready", Body=b"")
        except (OSError, BotoCoreError):
            time.sleep(0.2)
        else:
            return True
    return False


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@pytest.fixture(scope="session")
def toy_fleet() -> "ToyFleet":
    """Three servers with two targets, as pytorch-forecasting's own dataset makes batches."""
    return ToyFleet()


class ToyFleet:
    """A source of batches for the loop, at 24 past and 6 future steps.

    The order of windows is a permutation of (epoch), reachable at any step.
    """

    ENCODER, DECODER, BATCH = 24, 6, 8
    NUM_SERVERS, NUM_TIMES = 3, 60

    def __init__(self) -> None:
        # torch and pandas take seconds to import: only tests that need them pay.
        import numpy as np
        import pandas as pd
        from pytorch_forecasting import GroupNormalizer, MultiNormalizer, TimeSeriesDataSet

        rng = np.random.default_rng(0)
        time_idx = np.arange(self.NUM_TIMES)
        rows = [
            pd.DataFrame(
                {
                    "time_idx": time_idx,
                    "server_name": f"web{n}",
                    "hour": np.sin(time_idx / 12 * np.pi),
                    "cpu_pct": 30
                    + 10 * n
                    + 8 * np.sin(time_idx / 6 + n)
                    + rng.normal(size=len(time_idx)),
                    "load": 2 + n + np.cos(time_idx / 9) + 0.1 * rng.normal(size=len(time_idx)),
                }
            )
            for n in range(self.NUM_SERVERS)
        ]
        self.reference = TimeSeriesDataSet(
            pd.concat(rows, ignore_index=True),
            time_idx="time_idx",
            target=["cpu_pct", "load"],
            group_ids=["server_name"],
            static_categoricals=["server_name"],
            time_varying_known_reals=["hour"],
            time_varying_unknown_reals=["cpu_pct", "load"],
            min_encoder_length=self.ENCODER,
            max_encoder_length=self.ENCODER,
            min_prediction_length=self.DECODER,
            max_prediction_length=self.DECODER,
            target_normalizer=MultiNormalizer(
                [
                    GroupNormalizer(groups=["server_name"], transformation="softplus")
                    for _ in range(2)
                ]
            ),
        )
        self.num_windows = len(self.reference)
        self.validation = list(range(self.num_windows - 2 * self.BATCH, self.num_windows))
        self.training = list(range(self.num_windows - 2 * self.BATCH))
        self.steps_per_epoch = len(self.training) // self.BATCH

    def batch(self, windows: "list[int]") -> Any:
        import numpy as np
        import torch

        from argus_trainer.data.batch import Batch

        x, (y, _) = self.reference._collate_fn([self.reference[n] for n in windows])
        return Batch(
            x=x,
            y=list(y),
            spread=torch.full((len(y), len(windows)), 2.0),
            weight=torch.ones(len(windows), self.DECODER),
            window_ids=np.array(windows, dtype=np.int64),
        )

    def training_batches(self, epoch: int, first_step: int = 0) -> Iterator[Any]:
        import numpy as np

        order = np.random.default_rng([7, epoch]).permutation(self.training)
        for step in range(first_step, self.steps_per_epoch):
            yield self.batch([int(n) for n in order[step * self.BATCH :][: self.BATCH]])

    def validation_batches(self) -> Iterator[Any]:
        for first in range(0, len(self.validation), self.BATCH):
            yield self.batch(self.validation[first : first + self.BATCH])
