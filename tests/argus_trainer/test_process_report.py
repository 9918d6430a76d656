"""What a trainer tells: the log's lines, /progress, the last words, the exit code."""

import json
import socket
import urllib.error
import urllib.request
from datetime import UTC, datetime

import pytest

from argus_contract.exit_codes import ExitCode
from argus_contract.names import PROGRESS_PATH
from argus_contract.progress import ProgressReport, TrainerPhase
from argus_contract.status import EndReason, Progress
from argus_trainer import errors
from argus_trainer.errors import ConfigurationError
from argus_trainer.process import banner
from argus_trainer.process.ends import CRASH_EXIT_CODE, end_of
from argus_trainer.process.report import Report
from argus_trainer.process.server import ProgressServer

NOW = datetime(2026, 1, 31, 10, 0, tzinfo=UTC)


def test_the_epoch_banner_has_the_shape_of_the_guide():
    assert banner.epoch_started(1, 20) == "[EPOCH 1/20] Starting epoch..."
    lines = banner.epoch_completed(
        epoch=1,
        epochs=20,
        seconds=45.21,
        train_loss=0.02341,
        val_loss=0.01979,
        is_best=True,
        learning_rate=0.001,
        eta_seconds=906,
    )
    assert "\n".join(lines) == (
        "============================================================\n"
        "[EPOCH 1/20] Completed in 45.2s\n"
        "  Train Loss: 0.0234\n"
        "  Val Loss: 0.0198 (BEST)\n"
        "  LR: 0.001\n"
        "  ETA: 15.1 minutes remaining\n"
        "============================================================"
    )


def test_the_resume_lines_have_the_shape_of_the_guide():
    saved_at = datetime(2025, 1, 15, 10, 30, tzinfo=UTC)
    lines = banner.resumed(saved_at=saved_at, epoch=2, chunk=45, best_loss=0.0198)
    assert "\n".join(lines) == (
        "[CHECKPOINT] Found checkpoint from 2025-01-15T10:30:00\n"
        "[CHECKPOINT] Epoch 2, Chunk 45\n"
        "[CHECKPOINT] Best loss so far: 0.0198\n"
        "[STREAMING] Resuming from epoch 2, chunk 45..."
    )


@pytest.mark.parametrize(
    ("value", "text"), [(0.01, "0.01"), (2.5e-05, "0.000025"), (1234567.8, "1234570"), (0.0, "0")]
)
def test_a_decimal_has_no_exponent(value, text):
    assert banner.decimal(value) == text


def test_every_error_of_the_tree_has_its_word_and_its_code():
    ends = {
        errors.UsageError: (64, EndReason.CONFIGURATION),
        errors.DataError: (65, EndReason.DATA),
        errors.ObjectChanged: (65, EndReason.DATA),
        errors.ObjectNotFound: (65, EndReason.DATA),
        errors.DivergedError: (70, EndReason.DIVERGED),
        errors.StuckError: (71, EndReason.STUCK),
        errors.StorageUnavailable: (74, EndReason.STORAGE_UNAVAILABLE),
        errors.Preempted: (75, EndReason.PREEMPTED),
        errors.SupersededError: (75, EndReason.SUPERSEDED),
        errors.StorageDenied: (77, EndReason.STORAGE_DENIED),
        errors.ConfigurationError: (78, EndReason.CONFIGURATION),
        errors.GpuOutOfMemory: (78, EndReason.GPU_OUT_OF_MEMORY),
        ValueError: (CRASH_EXIT_CODE, EndReason.CRASHED),
    }
    for kind, (exit_code, reason) in ends.items():
        end = end_of(kind("what\nand why"))
        assert (end.exit_code, end.reason) == (exit_code, reason)
        assert end.message is not None
        assert "what and why" in end.message


def test_progress_is_served_as_json_and_nothing_else_is():
    report = Report("key", lambda: NOW)
    server = ProgressServer(lambda: report.newest, host="127.0.0.1", port=0)
    try:
        report.phase(TrainerPhase.TRAINING)
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{PROGRESS_PATH}") as reply:
            document = json.load(reply)
        assert ProgressReport.model_validate(document) == report.newest
        assert document["phase"] == "Training"
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"http://127.0.0.1:{server.port}/")
        assert refused.value.code == 404
        refused.value.close()
        with pytest.raises(ConfigurationError, match="cannot be opened"):
            ProgressServer(lambda: report.newest, host="127.0.0.1", port=server.port)
    finally:
        server.close()


def test_the_last_words_keep_what_was_reported_and_say_why_it_ended(tmp_path):
    report = Report("key", lambda: NOW)
    report.progress(
        Progress(
            percentage=50,
            epoch=1,
            max_epochs=2,
            chunk=1,
            chunks=4,
            step=10,
            max_steps=20,
            summary="50% epoch 1/2",
        ),
        (),
    )
    report.ended(EndReason.DIVERGED, "loss nan: " + "x" * 2000)
    report.write_last_words(tmp_path / "log")

    words = ProgressReport.model_validate_json((tmp_path / "log").read_text())
    assert (words.phase, words.end_reason) == (TrainerPhase.ENDED, EndReason.DIVERGED)
    assert words.progress is not None
    assert words.progress.step == 10
    assert words.message is not None
    assert words.message.startswith("loss nan")
    assert ExitCode.DIVERGED == 70


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as found:
            found.bind(("::1", 0))
    except OSError:
        return False
    return True


def test_progress_is_served_at_every_address_of_the_pod():
    report = Report("key", lambda: NOW)
    server = ProgressServer(lambda: report.newest, host="", port=0)
    try:
        for host in ["127.0.0.1", *(["[::1]"] if has_ipv6() else [])]:
            with urllib.request.urlopen(f"http://{host}:{server.port}{PROGRESS_PATH}") as reply:
                assert reply.status == 200
    finally:
        server.close()
