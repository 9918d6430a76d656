"""Saving beside the training: one at a time, through outages, never too often."""

import threading
from datetime import UTC, datetime

import pytest
import torch

from argus_contract.layout import StepId
from argus_contract.ledger import StepManifest, TensorFile
from argus_trainer.errors import StorageDenied, StorageUnavailable
from argus_trainer.training.pace import Pace
from argus_trainer.training.saver import LONG_SECONDS, Saver
from argus_trainer.training.state import Snapshot, TrainingState

TOLERANCE = 60.0


def snapshot(step: int) -> Snapshot:
    state = TrainingState(step=step, learning_rate=0.01)
    return Snapshot(state=state, tensors={"model.w": torch.tensor([float(step)])})


def manifest(snapshot: Snapshot) -> StepManifest:
    step_id = StepId(claim=1, step=snapshot.state.step)
    return StepManifest(
        id=step_id,
        saved_at=datetime(2026, 1, 31, tzinfo=UTC),
        save_seconds=0.1,
        tensors=TensorFile(key=step_id.tensors, size=1, sha256="0"),
        plan_digest="",
        statistics_digest="",
        configuration_digest="",
        state=snapshot.state.to_wire(),
        versions={},
    )


class Bucket:
    """Takes snapshots one after another, when it is open and in order."""

    def __init__(self):
        self.error = None
        self.open = threading.Event()
        self.open.set()
        self.asked = threading.Event()
        self.saved, self.at_once, self.most_at_once = [], 0, 0

    def save(self, snapshot):
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.asked.set()
        self.open.wait()
        self.at_once -= 1
        if self.error:
            raise self.error
        self.saved.append(snapshot.state.step)
        return manifest(snapshot)


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def bucket():
    return Bucket()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def saver(bucket, clock):
    saver = Saver(bucket.save, durable=None, tolerance_seconds=TOLERANCE, clock=clock)
    yield saver
    bucket.open.set()
    saver.close()


def upload(saver: Saver, step: int) -> StepManifest | None:
    """Uploads in the background and waits for the end."""
    saver.start(snapshot(step))
    assert saver._upload is not None
    saver._upload.exception()
    return saver.collect()


def test_a_stop_while_a_save_is_in_flight_waits_for_it_and_then_saves_the_newest(saver, bucket):
    bucket.open.clear()
    saver.start(snapshot(1))
    bucket.asked.wait()
    assert saver.is_busy
    assert saver.collect() is None
    bucket.asked.clear()
    done = threading.Thread(target=saver.save_now, args=(snapshot(2),))
    done.start()
    assert not bucket.asked.wait(0.2), "the second save has begun beside the first"
    bucket.open.set()
    done.join()
    assert bucket.saved == [1, 2]
    assert bucket.most_at_once == 1
    assert saver.durable is not None
    assert saver.durable.id.step == 2


def test_the_newest_snapshot_is_saved_by_whoever_finds_the_training_stuck(saver, bucket):
    upload(saver, 1)
    saver.keep(snapshot(4))
    saver.save_kept()
    saver.save_kept()
    assert bucket.saved == [1, 4]


def test_an_outage_is_waited_out_while_newer_states_are_offered(saver, bucket, clock):
    assert upload(saver, 1) is not None
    bucket.error = StorageUnavailable("the disk is full")
    assert upload(saver, 2) is None
    assert saver.is_failing
    clock.now += 30
    trouble = saver.trouble()
    assert trouble is not None
    assert "for 30 s (the disk is full)" in trouble
    assert "exit 74 after 60 s" in trouble
    assert "step 1" in trouble
    bucket.error = None
    assert upload(saver, 3) is not None
    assert bucket.saved == [1, 3]
    assert saver.trouble() is None
    assert not saver.is_failing


def test_an_outage_longer_than_is_tolerated_ends_the_training(saver, bucket, clock):
    bucket.error = StorageUnavailable("gone")
    assert upload(saver, 1) is None
    clock.now += TOLERANCE - 1
    assert upload(saver, 2) is None
    clock.now += 1
    with pytest.raises(StorageUnavailable, match="no state could be saved for 60 s: gone"):
        upload(saver, 3)


def test_what_no_retry_can_mend_ends_the_training_at_once(saver, bucket):
    bucket.error = StorageDenied("no")
    with pytest.raises(StorageDenied):
        upload(saver, 1)


def test_a_store_that_holds_an_upload_back_is_told(saver, bucket, clock):
    bucket.open.clear()
    saver.start(snapshot(1))
    assert saver.trouble() is None
    clock.now += LONG_SECONDS + 1
    trouble = saver.trouble()
    assert trouble is not None
    assert "has not taken a state for 16 s" in trouble


def test_the_last_state_waits_for_the_store_as_long_as_is_tolerated(saver, bucket, clock):
    bucket.error = StorageUnavailable("gone")

    def wait():
        clock.now += 20
        if clock.now >= 140:
            bucket.error = None

    assert saver.save_last(snapshot(9), wait).id.step == 9
    bucket.error = StorageUnavailable("gone for good")

    def wait_in_vain():
        clock.now += 20

    with pytest.raises(StorageUnavailable, match="for good"):
        saver.save_last(snapshot(10), wait_in_vain)
    assert clock.now == 140 + TOLERANCE


@pytest.mark.parametrize(
    ("chunks", "seconds", "cost", "due"),
    [
        (4, 59, 0.1, False),
        (5, 10, 0.1, True),  # chunks came first
        (0, 60, 0.1, True),  # the period came first
        (5, 10, 0.11, False),  # 1 % of ten seconds is less than it cost
        (0, 60, 0.61, False),
        (0, 61, 0.61, True),
    ],
)
def test_a_save_is_due_by_chunks_or_time_but_never_at_more_than_a_hundredth(
    chunks, seconds, cost, due
):
    pace = Pace(every_chunks=5, period_seconds=60)
    pace.begin(7, 1000.0)
    assert not pace.is_due(7, 1000.0)
    pace.saved(7, 1000.0, cost / 2)
    pace.uploaded(cost / 2)
    assert pace.is_due(7 + chunks, 1000.0 + seconds) is due


def test_a_save_that_failed_is_due_again_soon_but_no_sooner_than_it_may_cost():
    pace = Pace(every_chunks=5, period_seconds=60)
    pace.saved(7, 1000.0, 0.07)
    assert not pace.is_due(7, 1006.0, failing=True)
    assert pace.is_due(7, 1007.0, failing=True)
    assert not pace.is_due(7, 1007.0)
