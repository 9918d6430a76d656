"""`checkpoint.resumePolicy`: what an attempt begins with, and what the next one then finds."""

import pytest

from argus_contract.layout import StepId
from argus_contract.spec import ResumePolicy
from argus_trainer.checkpoints.exactness import difference
from argus_trainer.checkpoints.resume import refuse_without_state
from argus_trainer.errors import ConfigurationError

NEVER, REQUIRE = ResumePolicy.NEVER, ResumePolicy.REQUIRE


def test_never_begins_anew_under_a_claim_whose_states_then_win(tools, store_at):
    tools.trainer(store_at).live(9, until=5)
    anew = tools.trainer(store_at, policy=NEVER)
    assert anew.begin() is None
    assert anew.claim.resumed is None
    assert "resumePolicy is Never" in anew.said[0]
    anew.save(1, 9)
    # The lower step of the higher claim is the state of the run.
    assert tools.trainer(store_at).begin().id == StepId(claim=2, step=1)


def test_never_before_its_first_save_takes_nothing_away(tools, store_at):
    tools.trainer(store_at).live(9, until=5)
    tools.trainer(store_at, policy=NEVER).begin()
    assert tools.trainer(store_at).begin().id == StepId(claim=1, step=5)


def test_never_publishes_a_training_that_is_over_and_trains_nothing(tools, store_at):
    ended = tools.trainer(store_at)
    ended.live(2, until=2)
    final = ended.finalize(2)
    assert tools.trainer(store_at, policy=NEVER).live(2) == final


def test_require_goes_on_from_a_state_and_is_refused_without_one(tools, store_at):
    first = tools.trainer(store_at)
    first.begin()
    with pytest.raises(ConfigurationError, match=r"resumePolicy is Require.*use .* Auto") as caught:
        refuse_without_state(first.store, REQUIRE)
    assert caught.value.exit_code == 78
    refuse_without_state(first.store, ResumePolicy.AUTO)
    first.save(1, 9)
    refuse_without_state(first.store, REQUIRE)
    assert tools.trainer(store_at, policy=REQUIRE).begin().id.step == 1


def test_require_is_refused_when_no_state_is_whole_and_says_what_is_wrong(tools, store_at):
    first = tools.trainer(store_at)
    first.live(9, until=1)
    first.store.put(StepId(claim=1, step=1).tensors, b"damaged")
    later = tools.trainer(store_at, policy=REQUIRE)
    with pytest.raises(ConfigurationError, match=r"no saved state is valid.*is damaged"):
        later.begin()
    assert later.claim is None


def test_auto_says_that_it_begins_anew_because_nothing_is_whole(tools, store_at):
    first = tools.trainer(store_at)
    first.live(9, until=1)
    first.store.put(StepId(claim=1, step=1).tensors, b"damaged")
    later = tools.trainer(store_at)
    assert later.begin() is None
    assert "is damaged" in later.said[0]
    assert "begins anew" in later.said[1]


def test_what_exactness_depends_on_is_compared_and_named():
    was = {"cpu": "AVX512", "threads": "4", "torch": "2.15.0"}
    step = StepId(claim=1, step=70)
    assert difference(was, dict(was), step) is None
    found = difference(was, was | {"cpu": "AVX2", "image": "trainer:2"}, step)
    assert found == (
        "the state of step 70 was resumed elsewhere: cpu AVX512 is AVX2 now, image unknown is "
        "trainer:2 now"
    )
