"""Two trainers of one run at once, and one that wakes up when it is long replaced."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import torch

from argus_contract.layout import StepId
from argus_trainer.errors import SupersededError

# Hundreds of lives in a test: on a machine that is shared they take minutes.
pytestmark = [pytest.mark.kills, pytest.mark.timeout(600)]

NUM_RACES = 100


def test_of_two_writers_that_race_a_hundred_times_the_higher_claim_is_taken(tools, bucket_at):
    """Both claim and save at the same instant, each with a step of its own."""
    with ThreadPoolExecutor(2) as threads:
        for race in range(NUM_RACES):
            place = tools.places(bucket_at, str(race))
            first = tools.trainer(place)
            first.live(9, until=1)
            racers = [tools.trainer(place, keep_last=1) for _ in range(2)]
            for racer in racers:
                racer.begin_without_claim()
            line = Barrier(2)

            def claim_and_save(racer, line=line) -> bool:
                line.wait()
                racer.resume()
                step = racer.claim.number * 10
                try:
                    racer.save(step, 99)
                except SupersededError:
                    return False
                return True

            saved = list(threads.map(claim_and_save, racers))
            numbers = sorted(racer.claim.number for racer in racers)
            assert numbers == [2, 3]
            highest = max(racers, key=lambda racer: racer.claim.number)
            assert saved[racers.index(highest)]
            newest = first.opened.newest(first.said.append)
            assert newest.id == StepId(claim=3, step=30)
            assert torch.equal(newest.tensors["model.w"], tools.tensors_at(30)["model.w"])
            assert first.said == []


@pytest.mark.parametrize("asleep_before", ["list claims/", "put_new steps/", "delete steps/"])
def test_a_zombie_that_wakes_up_hurts_nothing(tools, store_at, asleep_before):
    """It falls asleep at a request of its save, and its successor lives in the meantime."""
    successor = tools.trainer(store_at, keep_last=1)
    zombie = tools.trainer(store_at, keep_last=1)
    zombie.live(20, until=10)

    before = zombie.fate.before
    has_slept = []

    def sleep(request: str) -> None:
        if request.startswith(asleep_before) and not has_slept:
            has_slept.append(request)
            successor.begin()
            for step in (11, 12):
                successor.save(step, 20)
        before(request)

    zombie.fate.before = sleep
    if asleep_before == "list claims/":
        with pytest.raises(SupersededError):
            zombie.save(19, 20)
    else:
        zombie.save(19, 20)
    assert has_slept

    third = tools.trainer(store_at)
    newest = third.begin()
    assert newest.id == StepId(claim=2, step=12)
    assert torch.equal(newest.tensors["model.w"], tools.tensors_at(12)["model.w"])
    assert third.live_on(20).id == StepId(claim=3, step=20)


def test_a_zombie_removes_nothing_behind_a_state_that_it_did_not_prove(tools, store_at):
    """Its successor's newest state is damaged: the zombie's own is the best that there is."""
    successor = tools.trainer(store_at, keep_last=9)
    zombie = tools.trainer(store_at, keep_last=1)
    zombie.live(20, until=10)
    before = zombie.fate.before

    def sleep(request: str) -> None:
        if request == "list steps/" and not successor.claim:
            successor.begin()
            successor.save(11, 20)
            successor.store.put(StepId(claim=2, step=11).tensors, b"damaged")
        before(request)

    zombie.fate.before = sleep
    zombie.save(19, 20)
    assert successor.claim
    reader = tools.trainer(store_at)
    assert reader.begin().id == StepId(claim=1, step=19)
    assert "is damaged" in reader.said[0]
