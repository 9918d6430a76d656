"""The lines of the log that people know from the training guide, in its very shape."""

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal

RULE = "=" * 60


def decimal(value: float) -> str:
    """Returns 6 significant digits without an exponent: 0.00025, never 2.5e-04."""
    return format(Decimal(f"{value:.6g}"), "f")


def epoch_started(epoch: int, epochs: int) -> str:
    """`epoch` counts from 1, as people do."""
    return f"[EPOCH {epoch}/{epochs}] Starting epoch..."


def epoch_completed(
    *,
    epoch: int,
    epochs: int,
    seconds: float,
    train_loss: float,
    val_loss: float,
    is_best: bool,
    learning_rate: float,
    eta_seconds: float,
) -> Iterator[str]:
    yield RULE
    yield f"[EPOCH {epoch}/{epochs}] Completed in {seconds:.1f}s"
    yield f"  Train Loss: {train_loss:.4f}"
    yield f"  Val Loss: {val_loss:.4f}" + (" (BEST)" if is_best else "")
    yield f"  LR: {decimal(learning_rate)}"
    yield f"  ETA: {eta_seconds / 60:.1f} minutes remaining"
    yield RULE


def resumed(
    *, saved_at: datetime, epoch: int, chunk: int, best_loss: float | None
) -> Iterator[str]:
    yield f"[CHECKPOINT] Found checkpoint from {saved_at.astimezone(UTC):%Y-%m-%dT%H:%M:%S}"
    yield f"[CHECKPOINT] Epoch {epoch}, Chunk {chunk}"
    best = "none yet" if best_loss is None else f"{best_loss:.4f}"
    yield f"[CHECKPOINT] Best loss so far: {best}"
    yield f"[STREAMING] Resuming from epoch {epoch}, chunk {chunk}..."
