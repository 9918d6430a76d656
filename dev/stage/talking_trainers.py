"""What simulated pods would answer if a trainer ran in them, and where they are asked.

A simulated pod has an address of 127.0.0.0/8 of its own: one listener hears all of them, and the
address at which it was asked tells which one is meant.
"""

import socket
from datetime import UTC, datetime

from argus_contract.names import PROGRESS_PORT
from argus_contract.progress import ProgressReport, TrainerPhase
from argus_contract.status import Attempt, Checkpoint, Disruptions, Metric, Progress

MAX_STEPS = 100_000
BEGAN = datetime.now(UTC)


def report_at(step: int, run_key: str, pod: str) -> ProgressReport:
    """Returns what a trainer in the middle of its run says."""
    now = datetime.now(UTC)
    percentage = 100 * step // MAX_STEPS
    return ProgressReport(
        run_key=run_key,
        phase=TrainerPhase.TRAINING,
        time=now,
        claim=1,
        progress=Progress(
            percentage=percentage,
            epoch=3,
            max_epochs=20,
            chunk=step % 144,
            chunks=144,
            step=step,
            max_steps=MAX_STEPS,
            eta_seconds=MAX_STEPS - step,
            summary=f"{percentage}% epoch 3/20",
            samples_per_second=1200,
            data_wait_percent=2,
            last_update_time=now,
        ),
        metrics=(
            Metric(name="train_loss", value=f"0.{9000 - step % 1000}", step=step),
            Metric(name="val_loss", value="0.0912", best="0.0831", step=step),
        ),
        checkpoint=Checkpoint(
            uri=f"s3://bucket/checkpoints/{run_key}/steps/000001-{step:012d}.json",
            step=step,
            saved_at=now,
            size_bytes=3_000_000,
            save_seconds="0.21",
        ),
        attempts=(Attempt(number=1, pod=pod, node="sim-1", start=BEGAN),),
        disruptions=Disruptions(count=0, lost_seconds=0, lost_gpu_seconds=0),
    )


def to_wire(report: ProgressReport) -> str:
    """Returns the body of `/progress`."""
    return report.model_dump_json(by_alias=True, exclude_none=True)


def listener() -> socket.socket:
    """Returns a socket at every address of loopback, and of nothing else."""
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
    found.bind(("0.0.0.0", PROGRESS_PORT))
    return found
