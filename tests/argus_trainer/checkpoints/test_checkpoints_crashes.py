"""A process that dies at any request leaves a run that goes on to the same model.

The points are counted, not chosen: an undisturbed life is watched, and then one life dies after
each number of its requests (dying before a request is dying after the one before it).
"""

import pytest
import torch

from argus_contract import layout
from argus_contract.layout import StepId
from argus_contract.ledger import Final
from argus_contract.status import EndReason

# Hundreds of lives in a test: on a machine that is shared they take minutes.
pytestmark = [pytest.mark.kills, pytest.mark.timeout(600)]

NUM_STEPS = 3


def published_weights(tools, store_at) -> bytes:
    output = store_at("models")
    (bundle,) = {entry.key.partition("/")[0] for entry in output.list_objects("tft_model_")}
    return output.get(f"{bundle}/model.safetensors")


def survives(tools, store_at, *fates, num_steps: int, keep_last: int) -> None:
    """Kills processes by their fates, one after the other, and lets the next one finish."""
    manifests = []
    for fate in fates:
        with pytest.raises(tools.killed):
            tools.trainer(store_at, fate, keep_last=keep_last).live(num_steps)
        manifests += fate.manifests
    run_store = store_at(f"checkpoints/{tools.run_key}")
    has_published = bool(store_at("models").list_objects("published/"))
    named = run_store.list_objects(layout.FINAL)

    # No manifest ever stands without its tensors.
    standing = {entry.key for entry in run_store.list_objects(layout.STEPS)}
    assert all(i.tensors in standing for i in map(StepId.from_manifest, standing) if i)

    # What a reader takes now: the newest state that any of them made count, whole.
    reader = tools.trainer(store_at, keep_last=keep_last)
    successor = tools.trainer(store_at, keep_last=keep_last)
    if not has_published and run_store.list_objects(layout.STATISTICS):
        loaded = reader.begin()
        if not named:
            newest = max(manifests, key=lambda step_id: step_id.order(), default=None)
            assert (loaded.id if loaded else None) == newest
            if loaded:
                want = tools.tensors_at(loaded.id.step)
                assert all(torch.equal(loaded.tensors[n], want[n]) for n in want)
        assert reader.said == []

    successor.live(num_steps)
    weights = tools.tensors_at(num_steps)["model.w"].numpy().tobytes() * 50
    assert published_weights(tools, store_at) == weights
    assert len(store_at("models").list_objects("published/")) == 1
    if successor.claim:
        # Everything before it is closed, and closed once.
        attempts = tools.trainer(store_at).claims.attempts(last=100)
        assert [a.number for a in attempts] == list(range(1, len(attempts) + 1))
        assert all(a.end_reason for a in attempts)
        assert attempts[-1].end_reason is EndReason.COMPLETED
        final = Final.model_validate_json(run_store.get(layout.FINAL))
        assert final.id.step == num_steps


def number_of_requests(tools, store_at, num_steps: int, keep_last: int) -> int:
    fate = tools.fate()
    tools.trainer(store_at, fate, keep_last=keep_last).live(num_steps)
    return len(fate.made)


@pytest.mark.parametrize("keep_last", [1, 2])
def test_a_process_may_die_at_every_request_to_a_folder(tools, folder_at, keep_last):
    dies_everywhere(tools, folder_at, keep_last)


def test_a_process_may_die_at_every_request_to_a_server(tools, bucket_at):
    dies_everywhere(tools, bucket_at, keep_last=1)


def dies_everywhere(tools, store_at, keep_last: int) -> None:
    count = number_of_requests(tools, tools.places(store_at, "calm"), NUM_STEPS, keep_last)
    assert count > 50
    for number in range(count):
        fate = tools.fate(number)
        survives(
            tools,
            tools.places(store_at, f"after-{number}"),
            fate,
            num_steps=NUM_STEPS,
            keep_last=keep_last,
        )
        assert len(fate.made) == number


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_process_and_its_successor_may_die_at_every_pair_of_requests(tools, folder_at):
    count = number_of_requests(tools, tools.places(folder_at, "calm"), 2, 1)
    for first in range(count):
        for second in range(count + 20):
            place = tools.places(folder_at, f"after-{first}-{second}")
            dying = tools.fate(second)
            with pytest.raises(tools.killed):
                tools.trainer(place, tools.fate(first), keep_last=1).live(2)
            try:
                tools.trainer(place, dying, keep_last=1).live(2)
            except tools.killed:
                tools.trainer(place, keep_last=1).live(2)
            else:
                break
            weights = tools.tensors_at(2)["model.w"].numpy().tobytes() * 50
            assert published_weights(tools, place) == weights
