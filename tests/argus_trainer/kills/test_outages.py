"""What stands in the way of a run and is no kill: a store that is away, a loss that explodes."""

from pathlib import Path

import pytest

from argus_contract import layout
from argus_contract.exit_codes import ExitCode
from argus_contract.ledger import ClaimEnd, Divergence
from argus_contract.progress import ProgressReport
from argus_contract.status import EndReason
from argus_trainer.data.dataset import Dataset
from argus_trainer.errors import StorageUnavailable
from argus_trainer.process import run as run_module
from argus_trainer.process.report import Report
from argus_trainer.process.stop import Stop
from argus_trainer.process.surroundings import Surroundings
from argus_trainer.storage.local import LocalStore
from argus_trainer.training import pace

pytestmark = [
    pytest.mark.kills,
    pytest.mark.timeout(600),
    pytest.mark.parametrize("fleet", ["generated"], indirect=True),
]


class FullStore(LocalStore):
    """Takes no states for a while."""

    refusals = 0
    """How many it still refuses."""

    def put_new(self, key: str, data: bytes) -> None:
        if key.startswith("steps/") and FullStore.refusals > 0:
            FullStore.refusals -= 1
            raise StorageUnavailable(f"storage: put_new {key}: the disk is full")
        super().put_new(key, data)


@pytest.fixture
def full_store(monkeypatch):
    # Put back after the test, whatever it sets.
    monkeypatch.setattr(FullStore, "refusals", 0)
    monkeypatch.setattr(run_module, "open_store", lambda uri, *_, **__: FullStore(Path(uri)))
    monkeypatch.setattr(pace, "MOST_SHARE_OF_TIME", 1e9)
    monkeypatch.setattr("argus_trainer.process.device.usable_cpus", lambda: 1)
    return FullStore


def run(small, said):
    words = Path(f"{small.place}-words")
    surroundings = Surroundings(pod="pod", stop=Stop(), say=said.append, termination_path=words)
    code = run_module.run(small.launch, surroundings)
    return code, ProgressReport.model_validate_json(words.read_text())


def test_training_goes_on_through_an_outage_and_says_so(new_run, full_store, monkeypatch):
    messages, said = [], []
    told = Report.message
    monkeypatch.setattr(
        Report, "message", lambda report, text: (messages.append(text), told(report, text))
    )
    small = new_run("short")
    storage = small.launch.storage.model_copy(update={"outage_tolerance_seconds": 600})
    small.launch = small.launch.model_copy(update={"storage": storage})
    full_store.refusals = 3
    code, last = run(small, said)
    assert (code, last.message) == (ExitCode.OK, None)
    assert any("the disk is full" in (text or "") for text in messages)
    assert messages[-1] is None, "it is over"
    assert any("[CHECKPOINT] No state could be saved" in line for line in said)
    assert last.disruptions.count == 0


def test_an_outage_that_is_not_tolerated_ends_with_74_and_what_it_cost(new_run, full_store):
    small = new_run("long")
    full_store.refusals = 10**6
    code, last = run(small, [])
    assert code == ExitCode.STORAGE_UNAVAILABLE
    assert last.end_reason is EndReason.STORAGE_UNAVAILABLE
    assert "the disk is full" in last.message
    (end,) = small.ends()
    assert (end.reason, end.last_durable) == (EndReason.STORAGE_UNAVAILABLE, None)
    assert last.disruptions.count == 1


def test_an_end_that_the_bucket_does_not_take_is_in_the_last_words(
    new_run, full_store, monkeypatch
):
    def refuse(self, key, data):
        if key.endswith("-end.json"):
            raise StorageUnavailable("gone")
        FullStore.put_new(self, key, data)

    class Mute(FullStore):
        put_new = refuse

    monkeypatch.setattr(run_module, "open_store", lambda uri, *_, **__: Mute(Path(uri)))
    monkeypatch.setattr(
        "argus_trainer.process.attempt.Attempt.unsaved_seconds", property(lambda self: 41.6)
    )
    small = new_run("mute")
    full_store.refusals = 10**6
    code, last = run(small, [])
    assert code == ExitCode.STORAGE_UNAVAILABLE
    assert small.ends() == []
    (attempt,) = last.attempts
    assert (attempt.end_reason, attempt.exit_code) == (EndReason.STORAGE_UNAVAILABLE, 74)
    assert attempt.lost_seconds == 42
    assert (last.disruptions.count, last.disruptions.lost_seconds) == (1, 42)
    assert attempt.log_uri is None, "not told by a ledger that cannot be read"


def test_a_loss_that_explodes_leaves_what_replays_it(new_run, full_store, monkeypatch):
    batches = Dataset.training_batches

    def broken(dataset, epoch, first_step=0):
        for step, batch in enumerate(batches(dataset, epoch, first_step), first_step):
            if step == 4:
                batch.x["encoder_cont"][0, 0, 0] = float("inf")
            yield batch

    monkeypatch.setattr(Dataset, "training_batches", broken)
    small = new_run("wild")
    said = []
    code, last = run(small, said)
    assert code == ExitCode.DIVERGED
    assert "learningRate" in last.message

    def dump(claim):
        return Divergence.model_validate_json((small.folder / layout.claim_dump(claim)).read_text())

    first = dump(1)
    assert first.state is not None
    assert first.state.step == first.step == 4
    assert len(first.window_ids) == small.launch.training.batch_size
    # Whoever starts the run again meets the very same batch at once.
    code, _ = run(small, said)
    assert code == ExitCode.DIVERGED
    second = dump(2)
    changing = {"number", "state"}
    assert second.model_dump(exclude=changing) == first.model_dump(exclude=changing)
    ends = [ClaimEnd.model_validate(end) for end in small.ends()]
    assert [end.last_durable for end in ends] == [first.state, first.state]


def test_the_attempts_name_their_log_and_their_curves(new_run, full_store):
    small = new_run("plain")
    _, last = run(small, [])
    (attempt,) = last.attempts
    log = Path(attempt.log_uri).read_text()
    assert "[EPOCH 2/2] Completed" in log
    assert Path(attempt.log_uri) == small.folder / layout.claim_log(1)
    assert [*Path(attempt.tensorboard_uri).iterdir()]
