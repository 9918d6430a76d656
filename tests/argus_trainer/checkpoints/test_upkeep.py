"""`argus checkpoints` and `argus gc`: what they see, what they remove, and in which order."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from argus_contract import layout
from argus_contract.layout import StepId
from argus_contract.status import EndReason
from argus_trainer.errors import ConfigurationError, DataError
from argus_trainer.upkeep.cleaning import clean
from argus_trainer.upkeep.models import Models
from argus_trainer.upkeep.removal import removal_order
from argus_trainer.upkeep.survey import survey, survey_run
from argus_trainer.upkeep.verdicts import condition_of

START = datetime(2026, 1, 31, 10, tzinfo=UTC)
"""The clock of the toy run."""


def run_of(tools, store_at, *, verify: bool = True):
    store = store_at(f"checkpoints/{tools.run_key}")
    return survey_run(store, tools.run_key, models=Models(store_at("models")), verify=verify)


def cleaned(tools, store_at, *, days: float, knows_models: bool = True, **options):
    fields = {"statistics": False, "delete": True, "older_than": timedelta(days=30)} | options
    return clean(
        store_at("checkpoints"),
        lambda key: store_at(f"checkpoints/{key}"),
        only=None,
        models=Models(store_at("models")) if knows_models else None,
        now=START + timedelta(days=days),
        **fields,
    )


def keys_of(store_at, prefix: str = "checkpoints") -> list[str]:
    return [entry.key for entry in store_at(prefix).list_objects()]


def test_a_survey_tells_attempts_states_and_what_a_resume_takes(tools, store_at):
    tools.trainer(store_at).live(9, until=2)
    tools.trainer(store_at).live(9, until=4)
    run = run_of(tools, store_at)
    assert [(c.claim.number, c.end and c.end.reason) for c in run.claims] == [
        (1, "Lost"),
        (2, None),
    ]
    assert [(s.id.claim, s.id.step) for s in run.states] == [(1, 2), (2, 3), (2, 4)]
    assert all(s.is_checked and s.fault is None for s in run.states)
    assert condition_of(run) == "A resume takes step 4 of claim 2."
    assert run.size_bytes == sum(e.size for e in store_at("checkpoints").list_objects())


def test_a_damaged_state_is_found_only_by_reading_it(tools, store_at):
    trainer = tools.trainer(store_at)
    trainer.live(9, until=3)
    newest = StepId(claim=1, step=3)
    data = bytearray(trainer.store.get(newest.tensors))
    data[-1] ^= 1
    trainer.store.put(newest.tensors, bytes(data))
    run = run_of(tools, store_at)
    assert "is damaged" in run.states[-1].fault
    assert condition_of(run) == "A resume takes step 2 of claim 1 (1 newer cannot be used)."
    assert tools.trainer(store_at).begin().id == run.resumable.id
    unread = run_of(tools, store_at, verify=False)
    assert condition_of(unread).endswith("if its digest holds (not checked).")


def test_a_state_of_another_plan_or_without_tensors_is_named(tools, store_at):
    trainer = tools.trainer(store_at)
    trainer.live(9, until=2)
    trainer.store.delete([StepId(claim=1, step=2).tensors])
    trainer.store.put(layout.PLAN, trainer.store.get(layout.PLAN) + b" ")
    first, second = run_of(tools, store_at).states
    assert "belongs to another run: its plan_digest" in first.fault
    assert "plan_digest" in second.fault
    assert condition_of(run_of(tools, store_at)).startswith("A further attempt ends with 78: ")
    with pytest.raises(ConfigurationError, match="belongs to another run"):
        tools.trainer(store_at).begin()
    trainer.store.put(layout.PLAN, trainer.store.get(layout.PLAN)[:-1])
    first, second = run_of(tools, store_at).states
    assert first.fault is None
    assert "no such object" in second.fault
    assert condition_of(run_of(tools, store_at)).startswith("A resume takes step 1")


@pytest.mark.parametrize(
    ("until", "said"),
    [
        ("planned", "No state was saved: a resume begins anew with the same plan."),
        ("final", "Training is over; its final state is step 2 of claim 1."),
        ("published", "Published as tft_model_20260131_100000:"),
    ],
)
def test_each_stage_of_a_run_has_its_sentence(tools, store_at, until, said):
    trainer = tools.trainer(store_at)
    if until == "planned":
        trainer.begin()
    elif until == "final":
        trainer.live(2, until=2)
        trainer.finalize(2)
    else:
        trainer.live(2)
    assert condition_of(run_of(tools, store_at)).startswith(said)


@pytest.mark.parametrize("is_over", [False, True])
@pytest.mark.parametrize(
    ("key", "damage", "code", "error"),
    [
        (layout.PLAN, None, 78, ConfigurationError),
        (layout.PLAN, b"torn", 65, DataError),
        (layout.PLAN, b'{"contractVersion": 99}', 78, ConfigurationError),
        (layout.STATISTICS, b"torn", 65, DataError),
    ],
)
def test_a_run_that_cannot_go_on_is_told_as_the_trainer_finds_it(
    tools, store_at, is_over, key, damage, code, error
):
    trainer = tools.trainer(store_at)
    trainer.live(2, until=2)
    if is_over:
        trainer.finalize(2)
    trainer.store.delete([key])
    if damage:
        trainer.store.put(key, damage)
    run = run_of(tools, store_at)
    assert condition_of(run).startswith(f"A further attempt ends with {code}: ")
    assert key in condition_of(run)
    assert run.is_damaged
    before = keys_of(store_at)
    with pytest.raises(error) as refused:
        tools.trainer(store_at).begin()
    assert condition_of(run).endswith(str(refused.value))
    assert keys_of(store_at) == before, "nothing is made beside what was lost"


def test_statistics_that_are_gone_are_made_again_and_the_state_is_taken(tools, store_at):
    trainer = tools.trainer(store_at)
    trainer.live(2, until=2)
    trainer.store.delete([layout.STATISTICS])
    run = run_of(tools, store_at)
    assert condition_of(run) == (
        "statistics.json is gone: a further attempt makes it again from the pinned objects and "
        "ends with 78 if it comes out another. If not: A resume takes step 2 of claim 1."
    )
    assert tools.trainer(store_at).begin().id == run.resumable.id


@pytest.mark.parametrize("lost", ["manifest", "tensors"])
def test_a_final_state_that_is_gone_ends_every_attempt(tools, store_at, lost):
    trainer = tools.trainer(store_at)
    trainer.live(2, until=2)
    final = trainer.finalize(2)
    trainer.store.delete([getattr(final.id, lost)])
    said = condition_of(run_of(tools, store_at))
    assert said.startswith("A further attempt ends with 65: ")
    assert final.id.manifest.removesuffix(".json") in said


def test_other_objects_are_counted_and_never_taken_for_runs(tools, store_at):
    tools.trainer(store_at).live(2)
    place = store_at("checkpoints")
    for key in ("stats/00/x.json", "fresh/0123/000001", "notes.txt", "0123456789/plan.json"):
        place.put_new(key, b"12345")
    report = survey(
        place, lambda key: store_at(f"checkpoints/{key}"), only=None, models=None, verify=True
    )
    assert [run.run_key for run in report.runs] == [tools.run_key]
    assert (report.num_statistics, report.statistics_bytes, report.num_unknown) == (1, 5, 3)
    cleaned(tools, store_at, days=400)
    assert len(keys_of(store_at)) == 4
    cleaned(tools, store_at, days=400, statistics=True)
    assert len(keys_of(store_at)) == 3


# --- gc: what is removed ------------------------------------------------------------------


def test_a_published_run_is_removed_at_once_and_still_found_published(tools, store_at):
    tools.trainer(store_at).live(2)
    before = store_at("checkpoints").list_objects()
    cleaning = cleaned(tools, store_at, days=0)
    assert keys_of(store_at) == []
    assert cleaning.freed_bytes == sum(entry.size for entry in before)
    assert cleaning.num_removed_objects == len(before)
    assert cleaning.runs[0].why == "published as tft_model_20260131_100000"
    assert tools.trainer(store_at).live(2) is None


def damage_the_bundle(store_at) -> None:
    models = store_at("models")
    key = next(e.key for e in models.list_objects("tft_model_") if "manifest" not in e.key)
    models.put(key, b"torn")


def test_a_damaged_bundle_is_told_and_the_state_that_it_is_made_of_again_is_left_alone(
    tools, store_at
):
    trainer = tools.trainer(store_at)
    trainer.live(2, until=2)
    states = {e.key: trainer.store.get(e.key) for e in trainer.store.list_objects(layout.STEPS)}
    trainer.live_on(2)
    # As when the store was away just after publication.
    for key, data in states.items():
        trainer.store.put_new(key, data)
    damage_the_bundle(store_at)
    run = run_of(tools, store_at)
    assert run.is_damaged
    assert condition_of(run) == (
        "Published as tft_model_20260131_100000, which is damaged: a further attempt writes it "
        "again from step 2 of claim 1."
    )
    assert not run_of(tools, store_at, verify=False).is_damaged
    for delete in (False, True):
        kept = cleaned(tools, store_at, days=400, delete=delete).runs[0]
        assert not kept.remove
        assert kept.why.startswith("its bundle is damaged: ")


def test_a_damaged_bundle_whose_state_is_gone_has_no_way_back(tools, store_at):
    tools.trainer(store_at).live(2)
    damage_the_bundle(store_at)
    said = condition_of(run_of(tools, store_at))
    assert "the state that it was made of is gone: a further attempt ends with 65" in said


def test_a_published_record_that_cannot_be_read_may_be_that_of_any_run(tools, store_at):
    tools.trainer(store_at).live(2)
    store_at("models").put(layout.published(1), b"torn")
    run = cleaned(tools, store_at, days=400).runs[0]
    assert not run.remove
    assert "a published record may be its own and cannot be read" in run.why
    place = store_at("checkpoints")
    report = survey(
        place,
        lambda key: store_at(f"checkpoints/{key}"),
        only=None,
        models=Models(store_at("models")),
        verify=True,
    )
    (fault,) = report.unreadable_publications
    assert layout.published(1) in fault


def test_a_dry_run_says_the_same_and_changes_nothing(tools, store_at):
    tools.trainer(store_at).live(2)
    before = keys_of(store_at)
    dry = cleaned(tools, store_at, days=0, delete=False)
    assert keys_of(store_at) == before
    assert not dry.is_done
    assert cleaned(tools, store_at, days=0).runs == dry.runs


@pytest.mark.parametrize(
    ("days", "removed", "why"),
    [
        (29.9, False, "claim 1 of pod is open, last sign of life 29 days ago"),
        (30.1, True, "not published, and dead: last sign of life 30 days ago"),
    ],
)
def test_a_run_that_says_nothing_is_dead_after_the_stated_time(tools, store_at, days, removed, why):
    tools.trainer(store_at).live(9, until=2)
    cleaning = cleaned(tools, store_at, days=days)
    assert [(run.remove, run.why) for run in cleaning.runs] == [(removed, why)]
    assert (keys_of(store_at) == []) is removed


def test_a_run_that_was_preempted_waits_for_its_next_pod_and_is_no_rubbish(tools, store_at):
    trainer = tools.trainer(store_at)
    trainer.live(9, until=2)
    trainer.end(EndReason.PREEMPTED)
    run = cleaned(tools, store_at, days=29).runs[0]
    assert (run.remove, run.why) == (False, "not published, last sign of life 29 days ago")
    assert tools.trainer(store_at).begin().id == StepId(claim=1, step=2)


def test_a_state_is_a_sign_of_life(tools, store_at):
    trainer = tools.trainer(store_at)
    trainer.live(9, until=1)
    trainer.minute = 60 * 24 * 20
    trainer.save(2, 9)
    assert not cleaned(tools, store_at, days=45).runs[0].remove
    assert cleaned(tools, store_at, days=51).runs[0].remove


def test_a_published_run_whose_trainer_is_still_at_work_is_left_alone(tools, store_at):
    trainer = tools.trainer(store_at)
    trainer.end = lambda reason: None
    trainer.live(2)
    run = cleaned(tools, store_at, days=1).runs[0]
    assert (run.remove, run.why) == (
        False,
        "claim 1 of pod is open, last sign of life 24 h ago",
    )
    assert cleaned(tools, store_at, days=31).runs[0].remove


def test_a_run_that_came_to_its_end_is_left_alone_when_nobody_knows_of_its_model(tools, store_at):
    tools.trainer(store_at).live(2)
    run = cleaned(tools, store_at, days=400, knows_models=False).runs[0]
    assert not run.remove
    assert "--models" in run.why


def test_a_run_whose_record_cannot_be_read_is_left_alone(tools, store_at):
    trainer = tools.trainer(store_at)
    trainer.live(2)
    trainer.store.put(layout.claim_end(1), b'{"contractVersion": 2}')
    run = cleaned(tools, store_at, days=400).runs[0]
    assert not run.remove
    assert "contractVersion 2" in run.why


def test_a_run_that_starts_between_the_look_and_the_removal_is_left_alone(tools, store_at):
    trainer = tools.trainer(store_at)
    trainer.live(9, until=2)
    looks = []

    def opened(key: str):
        looks.append(key)
        if len(looks) == 2:
            late = tools.trainer(store_at)
            late.minute = 60 * 24 * 99
            late.begin()
        return store_at(f"checkpoints/{key}")

    cleaning = clean(
        store_at("checkpoints"),
        opened,
        only=None,
        models=Models(store_at("models")),
        now=START + timedelta(days=100),
        older_than=timedelta(days=30),
        statistics=False,
        delete=True,
    )
    assert not cleaning.runs[0].remove
    assert tools.trainer(store_at).begin().id == StepId(claim=1, step=2)


# --- gc: a crash half-way -----------------------------------------------------------------


def test_a_crash_at_any_deletion_leaves_a_run_that_goes_on_and_can_be_removed(tools, folder_at):
    trainer = tools.trainer(tools.places(folder_at, "whole"))
    trainer.live(3, until=3)
    trainer.finalize(3)
    trainer.store.put_new(layout.repin(1), b"{}")
    whole = folder_at("whole")
    groups = list(removal_order(run_of(tools, tools.places(folder_at, "whole"))))
    order = [key for group in groups for key in group]
    assert sorted(order) == [
        entry.key for entry in folder_at(f"whole/checkpoints/{tools.run_key}").list_objects()
    ]
    newest = StepId(claim=1, step=3)
    for number in range(len(order) + 1):
        place = tools.places(folder_at, f"after-{number}")
        for entry in whole.list_objects():
            folder_at(f"after-{number}").put_new(entry.key, whole.get(entry.key))
        run = place(f"checkpoints/{tools.run_key}")
        run.delete(order[:number])
        left = {entry.key for entry in run.list_objects()}

        # Whatever stands is true for what else stands.
        assert layout.FINAL not in left or newest.manifest in left
        assert layout.PLAN in left or left <= {layout.claim(1)}
        # Someone applies the run again: it ends well, from its newest state if that is left.
        later = tools.trainer(place)
        if layout.repin(1) in left:
            run.delete([layout.repin(1)])
        loaded = later.begin()
        if newest.manifest in left and layout.FINAL not in left:
            assert loaded.id == newest
        assert later.live_on(3).id.step == 3
        # And nobody does: it is found dead and removed whole.
        again = run_of(tools, place)
        for group in removal_order(again):
            run.delete(group)
        assert run.list_objects() == []


def test_the_order_of_removal_holds_the_fence_to_the_end(tools, store_at):
    tools.trainer(store_at).live(9, until=2)
    tools.trainer(store_at).live(9, until=3)
    groups = list(removal_order(run_of(tools, store_at)))
    order = [key for group in groups for key in group]
    assert order[-1] == layout.claim(2)
    assert order.index(layout.claim_end(1)) < order.index(layout.claim(1))
    assert order.index(layout.STATISTICS) < order.index(layout.PLAN)
    manifests = [key for key in order if StepId.from_manifest(key)]
    assert manifests == sorted(manifests)


# --- the commands -------------------------------------------------------------------------


def argus(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "argus_trainer", *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_commands_answer_people_and_programs_and_need_no_torch(tools, folder_at, tmp_path):
    tools.trainer(folder_at).live(2, until=2)
    prefix, models = f"{tmp_path}/store/checkpoints", f"{tmp_path}/store/models"
    shown = argus("checkpoints", prefix)
    assert shown.returncode == 0
    assert "A resume takes step 2 of claim 1." in shown.stdout
    assert "valid, taken by a resume" in shown.stdout
    told = json.loads(argus("checkpoints", f"{prefix}/{tools.run_key}", "--output", "json").stdout)
    assert told["runs"][0]["states"][-1]["id"] == {"claim": 1, "step": 2}
    assert "objects" not in told["runs"][0]

    dry = argus("gc", prefix, "--models", models, "--older-than", "12h")
    assert (dry.returncode, dry.stderr) == (0, "")
    assert "would remove" in dry.stdout
    assert keys_of(folder_at)
    done = json.loads(
        argus("gc", prefix, "--models", models, "--delete", "--output", "json").stdout
    )
    assert done["isDone"]
    assert done["runs"][0]["remove"]
    assert keys_of(folder_at) == []

    code = (
        "import sys, argus_trainer.upkeep.command, argus_trainer.upkeep.cleaning, "
        "argus_trainer.upkeep.tell; sys.exit('torch' in sys.modules)"
    )
    environment = {"PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 0


def test_an_address_where_nothing_is_is_named_and_nothing_is_removed(tools, folder_at, tmp_path):
    tools.trainer(folder_at).live(2, until=2)
    prefix = f"{tmp_path}/store/checkpoints"
    for command in ("checkpoints", "gc"):
        lost = argus(command, f"{tmp_path}/store/checkpoint")
        assert lost.returncode == 65
        assert "no run has checkpoints there: name the prefix of checkpoints" in lost.stderr
    slip = argus("gc", prefix, "--models", f"{tmp_path}/store/model", "--delete")
    assert slip.returncode == 65
    assert "no run has taken a name there" in slip.stderr
    assert keys_of(folder_at)


def test_damage_is_an_exit_code_and_a_wrong_time_a_line(tools, folder_at, tmp_path):
    trainer = tools.trainer(folder_at)
    trainer.live(2, until=2)
    trainer.store.put(StepId(claim=1, step=1).tensors, b"damaged")
    prefix = f"{tmp_path}/store/checkpoints"
    assert argus("checkpoints", prefix).returncode == 65
    assert argus("checkpoints", prefix, "--no-verify").returncode == 0
    refused = argus("gc", f"{prefix}/{tools.run_key}", "--statistics")
    assert refused.returncode == 64
    assert f"name {prefix} as URI" in refused.stderr
    refused = argus("gc", prefix, "--older-than", "0d")
    assert refused.returncode == 64
    assert refused.stderr == (
        "argus: --older-than 0d: write days or whole hours above 0, like 30d or 12h\n"
    )
