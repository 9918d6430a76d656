"""What is left of a process in the bucket: its log and its curves; and what ends a stuck one."""

import itertools
import re
import threading
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import structlog
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from argus_contract import layout
from argus_contract.status import Attempt
from argus_trainer.checkpoints.signs import last_stamp
from argus_trainer.errors import StorageUnavailable
from argus_trainer.process import traces as traces_module
from argus_trainer.process.curves import POINT_SECONDS, Curves
from argus_trainer.process.log import MOST_BYTES, Log
from argus_trainer.process.traces import Traces, with_traces
from argus_trainer.process.watchdog import AFTER_OUTAGE_SECONDS, deadline_of
from argus_trainer.storage.local import LocalStore
from argus_trainer.training.events import EpochDone, StepDone
from argus_trainer.training.state import TrainingState

NOW = datetime(2026, 1, 31, 10, 0, tzinfo=UTC)


@pytest.fixture
def said():
    return []


@pytest.fixture
def log(said):
    return Log(said.append, lambda: NOW)


@pytest.fixture
def store(tmp_path):
    return LocalStore(tmp_path / "run")


def text_of(store, number=3):
    return store.get(layout.claim_log(number)).decode()


def test_the_log_keeps_each_line_with_its_time_and_still_says_it(log, said):
    log.say("one")
    log.say("two")
    assert said == ["one", "two"]
    assert log.newest() == b"".join(
        b"2026-01-31T10:00:00Z %b\n" % line for line in (b"one", b"two", b"(up to here)")
    )


def test_the_log_keeps_the_newest_mebibyte(log):
    for number in range(2 * MOST_BYTES // 1000):
        log.say(f"{number:06d} " + "x" * 1000)
    kept = log.newest()
    assert MOST_BYTES - 2000 < len(kept) <= MOST_BYTES + 100
    assert kept.splitlines()[-2].endswith(b"x")
    numbers = [int(n) for n in re.findall(rb"Z (\d{6}) ", kept)]
    assert numbers == list(range(numbers[0], 2 * MOST_BYTES // 1000))


def test_warnings_of_libraries_are_in_the_log(log, said):
    with log.hears_libraries():
        structlog.get_logger("storage").warning("storage waits", call="put x")
    structlog.get_logger("storage").warning("after the run")
    assert len(said) == 1
    assert "storage waits" in said[0]
    assert "call='put x'" in said[0]
    assert b"warning" in log.newest()


def test_the_log_of_a_claim_ends_with_the_time_of_its_upload(store, said):
    now = [NOW]
    log = Log(said.append, lambda: now[0])
    traces = Traces(store, log)
    log.say("one")
    traces.upload(3)
    now[0] += timedelta(minutes=1)
    traces.upload(3)
    assert text_of(store) == "2026-01-31T10:00:00Z one\n2026-01-31T10:01:00Z (up to here)\n"
    assert last_stamp(store.get(layout.claim_log(3))) == NOW + timedelta(minutes=1)


def test_what_is_no_log_has_no_last_time():
    assert [last_stamp(data) for data in (b"", b"\x00\xff", b"2026 torn\n")] == [None] * 3


def test_the_log_is_uploaded_on_and_on_whatever_the_training_does(store, log, monkeypatch):
    monkeypatch.setattr(traces_module, "BEAT_SECONDS", 0.0)
    uploads, enough = itertools.count(1), threading.Event()
    put = store.put

    def counted(key, data):
        put(key, data)
        if next(uploads) == 3:
            enough.set()

    monkeypatch.setattr(store, "put", counted)
    traces = Traces(store, log)
    traces.keep(3)
    assert enough.wait(20)
    traces.close()


def test_a_store_that_takes_no_log_ends_no_run(store, log, said, monkeypatch):
    def refuse(key, data):
        raise StorageUnavailable("gone")

    monkeypatch.setattr(store, "put", refuse)
    log.say("one")
    Traces(store, log).upload(3)
    assert said[-1] == "[RUN] Log and curves are not uploaded: gone"


def step(number, *, loss, seconds):
    return StepDone(
        state=TrainingState(step=number, learning_rate=0.01),
        loss=loss,
        window_ids=np.arange(8),
        seconds=seconds,
        wait_seconds=0.0,
    )


def test_curves_stand_in_the_bucket_as_tensorboard_reads_them(store, log, tmp_path):
    traces = Traces(store, log)
    curves = traces.curves = Curves()
    state = TrainingState(step=0, learning_rate=0.01, untrained_val_loss=9.0)
    curves.untrained(state)
    curves.step_done(step(1, loss=4.0, seconds=POINT_SECONDS / 2))
    curves.step_done(step(2, loss=2.0, seconds=POINT_SECONDS / 2))
    traces.upload(3)
    curves.step_done(step(3, loss=1.0, seconds=1.0))
    curves.epoch_done(
        EpochDone(
            epoch=0,
            state=TrainingState(step=3, learning_rate=0.01, val_loss=0.5),
            seconds=12.0,
            validation_seconds=1.0,
            is_best=True,
            learning_rate=0.01,
        )
    )
    traces.upload(3)
    traces.close()

    (entry,) = store.list_objects(layout.TENSORBOARD)
    copy = tmp_path / entry.key.rpartition("/")[2]
    copy.write_bytes(store.get(entry.key))
    events = EventAccumulator(str(copy))
    events.Reload()
    found = {
        tag: [(event.step, round(event.value, 4)) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }
    assert found == {
        "loss/training": [(2, 3.0), (3, 1.0)],
        "samples_per_second": [(2, 1.6), (3, 8.0)],
        "loss/validation": [(0, 9.0), (3, 0.5)],
        "learning_rate": [(3, 0.01)],
    }


def test_attempts_name_what_they_left_and_nothing_else(store):
    store.put(layout.claim_log(2), b"")
    store.put(f"{layout.claim_tensorboard(2)}events", b"")
    attempts = tuple(Attempt(number=n, pod="p", start=NOW) for n in (1, 2))
    first, second = with_traces(attempts, store)
    assert (first.log_uri, first.tensorboard_uri) == (None, None)
    assert second.log_uri == f"{store.uri}/claims/000002.log"
    assert second.tensorboard_uri == f"{store.uri}/tensorboard/000002/"


def test_the_watchdog_leaves_an_outage_its_time():
    assert deadline_of(1800, 600) == 1800
    assert deadline_of(600, 600) == 600 + AFTER_OUTAGE_SECONDS
    assert deadline_of(601, 600) == 600 + AFTER_OUTAGE_SECONDS
