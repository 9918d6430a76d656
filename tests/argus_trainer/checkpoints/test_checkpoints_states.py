"""Claims and saved states: who may write, what counts, what survives."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import torch

from argus_contract import layout
from argus_contract.layout import StepId
from argus_contract.ledger import Claim
from argus_contract.status import EndReason
from argus_trainer.checkpoints.claims import Claims
from argus_trainer.checkpoints.signs import STAMP
from argus_trainer.checkpoints.state import LoadedState, Maker, SnapshotToSave
from argus_trainer.checkpoints.steps import Steps
from argus_trainer.checkpoints.verification import Digests
from argus_trainer.errors import (
    ConfigurationError,
    DataError,
    ObjectExists,
    ObjectNotFound,
    SupersededError,
)
from argus_trainer.storage.store import Store

START = datetime(2026, 1, 31, 10, tzinfo=UTC)
DIGESTS = Digests(plan_digest="p", statistics_digest="s", configuration_digest="c")


class Run:
    """A run as one trainer process sees it; `minute` is its clock."""

    def __init__(self, store: Store, digests: Digests = DIGESTS, keep_last: int = 3) -> None:
        self.store = store
        self.minute = 0.0
        self.claims = Claims(store)
        self.passed_over: list[str] = []
        self.steps = Steps(
            store,
            self.claims,
            digests,
            maker=Maker(versions={"torch": "2.15.0"}, inexact_reason=lambda: None),
            keep_last=keep_last,
            clock=self.now,
        )

    def now(self) -> datetime:
        return START + timedelta(minutes=self.minute)

    def claim(self, pod: str = "pod", resumed: StepId | None = None) -> Claim:
        return self.claims.claim(pod=pod, node="node", now=self.now(), resumed=resumed)

    def end(self, claim: Claim, reason: EndReason, lost_seconds: int = 0) -> None:
        self.claims.end(
            claim,
            reason=reason,
            exit_code=75,
            now=self.now(),
            last_durable=None,
            lost_seconds=lost_seconds,
        )

    def newest(self) -> LoadedState | None:
        self.passed_over.clear()
        return self.steps.newest(self.passed_over.append)

    def keys(self, prefix: str = "") -> list[str]:
        return [entry.key for entry in self.store.list_objects(prefix)]

    def saved(self) -> list[tuple[int, int]]:
        """(claim, step) of all manifests, each with its tensors."""
        ids = [StepId.from_manifest(key) for key in self.keys("steps/") if key.endswith("json")]
        found = [i for i in ids if i]
        assert self.keys("steps/") == sorted(k for i in found for k in (i.manifest, i.tensors))
        return [(i.claim, i.step) for i in found]


@pytest.fixture
def process(store_at: Callable[[str], Store]) -> Callable[[], Run]:
    """Starts further trainer processes of the same run."""
    store = store_at("run")
    return lambda: Run(store)


def snapshot(step: int, *, ends_training: bool = False) -> SnapshotToSave:
    tensors = {"model.w": torch.full((3,), float(step)), "best.w": torch.zeros(2, 2)}
    state: dict[str, object] = {"epoch": 1, "s": step}
    return SnapshotToSave(step=step, tensors=tensors, state=state, ends_training=ends_training)


def test_a_state_comes_back_to_the_bit(process):
    run = process()
    tensors = {
        "model.w": torch.randn(4, 5, generator=torch.Generator().manual_seed(1)),
        "optimizer.step": torch.tensor(7.0),
        "count": torch.tensor([2**40], dtype=torch.int64),
        "empty": torch.zeros(0, 3),
    }
    state: dict[str, object] = {"cursor": {"epoch": 2, "step": 9}, "best": 0.1 + 0.2}
    run.steps.save(run.claim(), SnapshotToSave(step=9, tensors=tensors, state=state))
    loaded = process().newest()
    assert loaded is not None
    assert (loaded.id, loaded.state) == (StepId(claim=1, step=9), state)
    assert loaded.tensors.keys() == tensors.keys()
    assert all(torch.equal(loaded.tensors[name], tensors[name]) for name in tensors)
    loaded.tensors["model.w"].add_(1)  # a loaded tensor is the caller's own


def test_a_run_that_never_saved_has_no_state(process):
    assert process().newest() is None


def test_the_highest_claim_counts_before_the_highest_step(process):
    run = process()
    run.steps.save(run.claim(), snapshot(100))
    successor = process()
    successor.steps.save(successor.claim(), snapshot(90))
    assert process().newest().id == StepId(claim=2, step=90)


def test_tensors_without_a_manifest_are_invisible(process):
    run = process()
    claim = run.claim()
    run.steps.save(claim, snapshot(10))
    run.store.put_new(StepId(claim=1, step=20).tensors, b"torn")
    assert process().newest().id.step == 10


def test_a_damaged_state_is_passed_over_with_its_reason(process):
    run = process()
    claim = run.claim()
    for step in (10, 20, 30):
        run.steps.save(claim, snapshot(step))
    tensors = bytearray(run.store.get(StepId(claim=1, step=30).tensors))
    tensors[-1] ^= 1
    run.store.put(StepId(claim=1, step=30).tensors, bytes(tensors))
    run.store.delete([StepId(claim=1, step=20).tensors])
    reader = process()
    assert reader.newest().id.step == 10
    damaged, missing = reader.passed_over
    assert "000000000030.safetensors is damaged" in damaged
    assert "000000000020.safetensors" in missing


@pytest.mark.parametrize("changed", ["plan_digest", "statistics_digest", "configuration_digest"])
def test_a_state_of_another_run_is_refused(process, changed):
    run = process()
    run.steps.save(run.claim(), snapshot(10))
    other = Run(run.store, replace(DIGESTS, **{changed: "other"}))
    with pytest.raises(ConfigurationError, match=rf"{changed} is .* runToken"):
        other.newest()


def test_a_state_of_another_contract_version_is_refused_and_not_passed_over(process):
    run = process()
    run.steps.save(run.claim(), snapshot(10))
    run.store.put_new(StepId(claim=1, step=20).manifest, b'{"contractVersion": 2}')
    with pytest.raises(ConfigurationError, match="contractVersion 2"):
        process().newest()


def test_a_zombie_stops_without_writing(process):
    zombie = process()
    old = zombie.claim("old")
    zombie.steps.save(old, snapshot(10))
    process().claim("new")
    before = zombie.keys()
    with pytest.raises(SupersededError):
        zombie.steps.save(old, snapshot(20))
    with pytest.raises(SupersededError):
        zombie.steps.finalize(
            old, StepId(claim=1, step=10), run_key="k", bundle_name="b", windows_digest="d"
        )
    zombie.end(old, EndReason.SUPERSEDED)
    assert zombie.keys() == before


def test_the_newest_three_states_are_kept(process):
    run = process()
    claim = run.claim()
    for step in (10, 20, 30, 40, 50, 60):
        run.steps.save(claim, snapshot(step))
    assert run.saved() == [(1, 40), (1, 50), (1, 60)]
    successor = process()
    claim = successor.claim()
    successor.store.put_new(StepId(claim=1, step=70).tensors, b"torn by the kill")
    for step in (70, 80):
        successor.steps.save(claim, snapshot(step))
    assert run.saved() == [(1, 60), (2, 70), (2, 80)]


@pytest.mark.parametrize("keep_last", [1, 5])
def test_as_many_states_are_kept_as_was_asked_for(process, keep_last):
    run = Run(process().store, keep_last=keep_last)
    claim = run.claim()
    for step in range(1, 8):
        run.steps.save(claim, snapshot(step))
        assert run.saved() == [(1, s) for s in range(max(1, step - keep_last + 1), step + 1)]


def test_a_state_that_ends_training_is_kept_for_whoever_is_about_to_name_it(process):
    """A zombie sleeps between its last save and `final.json` while its successor saves on."""
    zombie = process()
    old = zombie.claim()
    zombie.steps.save(old, snapshot(50, ends_training=True))
    successor = Run(zombie.store, keep_last=1)
    claim = successor.claim()
    for step in (20, 30, 40):
        successor.steps.save(claim, snapshot(step))
    assert successor.saved() == [(1, 50), (2, 40)]
    zombie.claims.superseded = lambda claim: False  # it looked before its successor came
    final = zombie.steps.finalize(
        old, StepId(claim=1, step=50), run_key="k", bundle_name="b", windows_digest="d"
    )
    assert process().steps.load_final(final).id == StepId(claim=1, step=50)


def test_a_reader_that_a_predecessor_overtakes_looks_again(process, monkeypatch):
    """The predecessor saves on and removes all states that the reader has listed."""
    writer = Run(process().store, keep_last=1)
    claim = writer.claim()
    writer.steps.save(claim, snapshot(10))
    reader = process()
    get, overtaken = reader.store.get, iter([20, 30])

    def slowly(key: str, *, etag: str | None = None) -> bytes:
        if reader_is_reading and key.endswith(".json"):
            for step in overtaken:
                reader_is_reading.clear()
                writer.steps.save(claim, snapshot(step))
                reader_is_reading.append(True)
                break
        return get(key, etag=etag)

    reader_is_reading = [True]
    monkeypatch.setattr(reader.store, "get", slowly)
    assert reader.newest().id.step == 30
    assert reader.passed_over == []


def test_nothing_is_removed_behind_a_state_that_cannot_be_read(process, monkeypatch):
    run = process()
    claim = run.claim()
    for step in (10, 20, 30):
        run.steps.save(claim, snapshot(step))
    put_new = run.store.put_new
    monkeypatch.setattr(
        run.store,
        "put_new",
        lambda key, data: put_new(key, data[:-1] if key.endswith("safetensors") else data),
    )
    run.steps.save(claim, snapshot(40))
    assert run.saved() == [(1, 10), (1, 20), (1, 30), (1, 40)]
    assert process().newest().id.step == 30


def test_the_final_state_is_never_pruned(process):
    run = process()
    claim = run.claim()
    run.steps.save(claim, snapshot(10))
    final = run.steps.finalize(
        claim, StepId(claim=1, step=10), run_key="k", bundle_name="b", windows_digest="d"
    )
    for step in (20, 30, 40, 50):
        run.steps.save(claim, snapshot(step))
    assert run.saved() == [(1, 10), (1, 30), (1, 40), (1, 50)]
    assert process().steps.load_final(final).id.step == 10


def test_the_first_final_state_is_the_final_state(process):
    run = process()
    claim = run.claim()
    for step in (10, 20):
        run.steps.save(claim, snapshot(step))
    assert run.steps.final() is None

    def finalize(step: int) -> StepId:
        named = StepId(claim=1, step=step)
        return run.steps.finalize(claim, named, run_key="k", bundle_name="b", windows_digest="d").id

    assert finalize(20).step == 20
    assert finalize(10).step == 20
    assert process().steps.final().id.step == 20


def test_a_final_state_whose_manifest_changed_is_refused(process):
    run = process()
    claim = run.claim()
    run.steps.save(claim, snapshot(10))
    named = StepId(claim=1, step=10)
    final = run.steps.finalize(claim, named, run_key="k", bundle_name="b", windows_digest="d")
    run.store.put(named.manifest, run.store.get(named.manifest) + b" ")
    with pytest.raises(DataError, match=r"final\.json"):
        run.steps.load_final(final)


def test_after_publication_states_go_and_the_ledger_stays(process):
    run = process()
    claim = run.claim()
    run.steps.save(claim, snapshot(10))
    final = run.steps.finalize(
        claim, StepId(claim=1, step=10), run_key="k", bundle_name="b", windows_digest="d"
    )
    run.steps.remove_all()
    assert run.keys() == ["claims/000001.json", "final.json"]
    with pytest.raises(ObjectNotFound):
        run.steps.load_final(final)


def test_the_same_step_saved_again_is_the_same_state_or_an_error(process):
    run = process()
    claim = run.claim()
    first = run.steps.save(claim, snapshot(10))
    run.minute = 5
    assert run.steps.save(claim, snapshot(10)).saved_at == first.saved_at
    with pytest.raises(ObjectExists):
        run.steps.save(claim, replace(snapshot(10), state={"epoch": 2}))


def test_eight_trainers_that_start_at_once_get_eight_claims(process):
    runs = [process() for _ in range(8)]
    with ThreadPoolExecutor(8) as threads:
        claims = list(threads.map(lambda run: run.claim(), runs))
    assert sorted(claim.number for claim in claims) == list(range(1, 9))
    owners = [c for c in claims if not runs[0].claims.superseded(c)]
    assert [claim.number for claim in owners] == [8]


def test_states_of_claims_whose_records_were_lost_still_lie_below_the_next_claim(process):
    run = process()
    for _ in range(2):
        run.claim()
    run.steps.save(run.claim(), snapshot(10))
    run.store.delete(run.keys("claims/"))
    successor = process()
    claim = successor.claim()
    assert claim.number == 4
    successor.steps.save(claim, snapshot(5))
    assert process().newest().id == StepId(claim=4, step=5)


@pytest.mark.parametrize("damage", [b"", b'{"contractVersion": 1}', b"\x00torn"])
@pytest.mark.parametrize("key", ["claims/000001.json", "claims/000001-end.json"])
def test_a_damaged_record_of_an_earlier_attempt_stops_no_run(process, key, damage):
    run = process()
    run.end(run.claim("first"), EndReason.PREEMPTED, lost_seconds=2)
    run.end(run.claim("second"), EndReason.PREEMPTED, lost_seconds=3)
    run.store.put(key, damage)
    after = process()
    claim = after.claim("third")
    assert claim.number == 3
    attempts = after.claims.attempts()
    assert [attempt.pod for attempt in attempts][-2:] == ["second", "third"]
    whole = key.endswith("000001.json")
    assert after.claims.disruptions(1).lost_seconds == (5 if whole else 3)


def test_a_store_that_lets_two_writers_win_is_refused(process, monkeypatch):
    run = process()
    monkeypatch.setattr(run.store, "put_new", run.store.put)
    with pytest.raises(ConfigurationError, match="If-None-Match"):
        run.claim()


def test_the_ledger_tells_how_each_attempt_ended(process):
    run = process()
    first = run.claim("first")
    run.minute = 3
    run.end(first, EndReason.PREEMPTED, lost_seconds=2)
    run.claim("second", resumed=StepId(claim=1, step=40))
    attempts = process().claims.attempts()
    assert [a.pod for a in attempts] == ["first", "second"]
    assert (attempts[0].end_reason, attempts[0].exit_code) == (EndReason.PREEMPTED, 75)
    assert (attempts[1].end, attempts[1].start_step) == (None, 40)
    assert [a.pod for a in run.claims.attempts(last=1)] == ["second"]
    disruptions = process().claims.disruptions(gpus=4)
    assert (disruptions.count, disruptions.lost_seconds) == (1, 2)
    assert (disruptions.lost_gpu_seconds, disruptions.last_reason) == (8, "Preempted")


def test_a_crash_is_no_disruption(process):
    run = process()
    run.end(run.claim(), EndReason.CRASHED, lost_seconds=9)
    disruptions = run.claims.disruptions(gpus=1)
    assert (disruptions.count, disruptions.lost_seconds) == (0, 0)


def leave_log(run, claim, minute):
    """Leaves the log that a process uploads every minute."""
    line = f"{START + timedelta(minutes=minute):{STAMP}} (up to here)\n"
    run.store.put(layout.claim_log(claim.number), line.encode())


def test_a_successor_closes_what_a_killed_trainer_left_open(process):
    killed = process()
    claim = killed.claim("killed")
    killed.minute = 2
    killed.steps.save(claim, snapshot(10))
    successor = process()
    successor.minute = 120  # it waited two hours for a node
    successor.claim("successor", resumed=StepId(claim=1, step=10))
    lost, running = successor.claims.attempts()
    assert (lost.end_reason, lost.exit_code, lost.end_step) == (EndReason.LOST, None, 10)
    assert lost.lost_seconds == 60  # its log would have told that it lived longer
    assert lost.end == START + timedelta(minutes=3)
    assert running.end is None
    assert killed.claims.disruptions(gpus=0).count == 1


@pytest.mark.parametrize(
    ("log_until", "next_start", "lost_seconds"),
    [
        (11, 120, 10 * 60),  # a long validation, or an outage that was waited out
        (11, 11.5, 9 * 60 + 30),  # it cannot have lived on beside its successor
        (1, 120, 60),  # a log that is older than the newest state says nothing
    ],
)
def test_what_a_killed_trainer_lost_is_known_from_its_last_sign_of_life(
    process, log_until, next_start, lost_seconds
):
    killed = process()
    claim = killed.claim("killed")
    killed.minute = 2
    killed.steps.save(claim, snapshot(10))
    leave_log(killed, claim, log_until)
    successor = process()
    successor.minute = next_start
    successor.claim()
    assert successor.claims.attempts()[0].lost_seconds == lost_seconds


@pytest.mark.parametrize("log", [b"", b"\x00 torn"])
def test_a_log_that_cannot_be_read_is_no_sign_of_life(process, log):
    killed = process()
    killed.store.put(layout.claim_log(killed.claim().number), log)
    successor = process()
    successor.minute = 0.5
    successor.claim()
    assert successor.claims.attempts()[0].lost_seconds == 30


def test_a_killed_trainer_that_never_saved_lost_at_most_its_lifetime(process):
    killed = process()
    killed.claim()
    successor = process()
    successor.minute = 0.5
    successor.claim()
    (lost,) = successor.claims.attempts()[:1]
    assert (lost.lost_seconds, lost.end_step) == (30, None)


def test_the_first_word_about_an_end_stands(process):
    run = process()
    claim = run.claim()
    process().claim()
    run.end(claim, EndReason.PREEMPTED)
    assert process().claims.attempts()[0].end_reason is EndReason.LOST
