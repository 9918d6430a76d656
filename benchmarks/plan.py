"""Planning 100,000 chunks: time and peak memory of a process that lists, plans and reads back.

The objects are real ones on a real S3 server (SeaweedFS), one byte each: a plan opens nothing
but the manifest. The process that is measured does what a trainer does until its statistics:
it lists the prefix, reads `chunk_manifest.json`, makes the plan, stores it under the run's
prefix and reads it back; then what every later attempt does, reading it, is timed alone.
"""

import asyncio
import json
import resource
import subprocess
import sys
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

from argus_contract.digests import digest_of
from argus_contract.launch import (
    Launch,
    LaunchCheckpoint,
    LaunchData,
    LaunchOutput,
    LaunchStorage,
)
from argus_contract.spec import ModelSpec, TrainingSpec
from argus_trainer.checkpoints.run import RunStore
from argus_trainer.data.chunk_files import FOLDER, MANIFEST, chunk_end, chunk_name
from argus_trainer.data.plan import make_plan
from argus_trainer.storage.open import open_store
from benchmarks.report import emit

NUM_CHUNKS = 100_000
FIRST = datetime(2003, 1, 1, tzinfo=UTC)
NUM_WRITERS = 64


def write_dataset(uri: str, storage: LaunchStorage) -> None:
    """Writes the objects, then a manifest that lists them."""
    names = []
    for index in range(NUM_CHUNKS):
        start = FIRST + timedelta(hours=2 * index)
        names.append((chunk_name(start), start))
    asyncio.run(_put(uri, storage, [name for name, _ in names]))
    manifest = {
        "version": 1,
        "cadence_seconds": 300,
        "columns": ["timestamp", "server_name", "cpu_user_pct"],
        "chunks": [
            {
                "file": name,
                "start": start.isoformat(),
                "end": chunk_end(start).isoformat(),
                "rows": 24_000,
                "bytes": 1,
            }
            for name, start in names
        ],
    }
    open_store(uri, storage).put_new(FOLDER + MANIFEST, json.dumps(manifest, indent=1).encode())


async def _put(uri: str, storage: LaunchStorage, names: list[str]) -> None:
    from obstore.store import S3Store

    keys = dict(_keys(storage))
    store = S3Store.from_url(
        uri,
        endpoint=storage.endpoint,
        region=storage.region,
        access_key_id=keys["AWS_ACCESS_KEY_ID"],
        secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
        client_options={"allow_http": True},
    )
    todo = iter(names)

    async def work() -> None:
        for name in todo:
            await store.put_async(FOLDER + name, b"x")

    await asyncio.gather(*(work() for _ in range(NUM_WRITERS)))


def _keys(storage: LaunchStorage) -> list[tuple[str, str]]:
    from pathlib import Path

    folder = Path(str(storage.credentials_directory))
    return [(file.name, file.read_text().strip()) for file in folder.iterdir()]


def measure(uri: str, storage: LaunchStorage) -> dict[str, float]:
    """Plans in this process and returns the figures."""
    launch = Launch(
        namespace="bench",
        name="plan",
        run_key="0" * 20,
        data=LaunchData(uri=uri),
        model=ModelSpec(),
        training=TrainingSpec(),
        storage=storage,
        checkpoint=LaunchCheckpoint(uri="unused", every_chunks=5, period_seconds=60),
        output=LaunchOutput(uri="unused"),
    )
    runs = RunStore(run_store := open_store(f"{uri}-run", storage))
    began = time.monotonic()
    plan = runs.plan_or(
        lambda: make_plan(
            open_store(uri, storage),
            launch,
            created_at=datetime.now(UTC),
            bundle_name="tft_model_20260101_000000",
        )
    )
    digest_of(plan)
    planned = time.monotonic()
    assert len(plan.objects) == NUM_CHUNKS
    del plan
    runs.plan_or(lambda: sys.exit("the plan is gone"))
    return {
        "plan_seconds": planned - began,
        "plan_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "plan_bytes": run_store.list_objects()[0].size,
        "read_seconds": time.monotonic() - planned,
    }


def main() -> None:
    from tests.argus_trainer.conftest import started

    with ExitStack() as stack:
        server = started(stack)
        uri, storage = server.new_uri(), server.options()
        began = time.monotonic()
        write_dataset(uri, storage)
        print(f"{NUM_CHUNKS} objects written in {time.monotonic() - began:.0f} s", flush=True)
        reply = subprocess.run(
            [sys.executable, "-m", "benchmarks.plan", uri, storage.model_dump_json()],
            stdout=subprocess.PIPE,
            check=True,
        )
    figures: dict[str, float] = json.loads(reply.stdout)
    limits = {"plan_seconds": 60.0, "plan_rss_mib": 500.0}
    print(f"{'figure':>14} {'value':>14} {'limit':>8}")
    for name, value in figures.items():
        print(f"{name:>14} {value:>14,.1f} {limits.get(name, ''):>8}")
    emit("plan", figures, ["pyarrow", "pydantic", "s3fs"])


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(json.dumps(measure(sys.argv[1], LaunchStorage.model_validate_json(sys.argv[2]))))
    else:
        main()
