"""Whole runs that resume: by policy, on another machine, under another configuration."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from argus_contract import layout
from argus_contract.exit_codes import ExitCode
from argus_contract.launch import Launch, LaunchStorage
from argus_contract.ledger import Claim, Final, StepManifest
from argus_contract.progress import ProgressReport
from argus_contract.spec import ModelSpec, ResumePolicy, TrainingSpec
from argus_trainer.process.run import run
from argus_trainer.process.stop import Stop
from argus_trainer.process.surroundings import Surroundings
from argus_trainer.simulate.generate import generate
from argus_trainer.storage.open import open_store
from toy import toy_launch

# Several whole runs in a test: on a machine that is shared they take minutes.
pytestmark = pytest.mark.timeout(600)

STOP_AT = "[EPOCH 2/2] Starting epoch..."


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    generate(
        open_store(str(folder), LaunchStorage()),
        servers=2,
        hours=16,
        seed=1,
        cadence_seconds=300,
        start=datetime(2025, 12, 1, tzinfo=UTC),
    )
    return folder


@pytest.fixture
def launch(data, tmp_path) -> Launch:
    return toy_launch(str(data), str(tmp_path), checkpoint={"keep_last": 2})


class Ended:
    """A process that ran `launch` in this one, stopped when it said a line."""

    def __init__(self, launch: Launch, folder: Path, stop_at: str | None = None) -> None:
        self.lines: list[str] = []
        stop, words = Stop(), folder / "words"

        def say(line: str) -> None:
            self.lines.append(line)
            if stop_at and stop_at in line:
                stop.request()

        surroundings = Surroundings(pod="pod", stop=stop, say=say, termination_path=words)
        self.exit_code = run(launch, surroundings)
        self.report = ProgressReport.model_validate_json(words.read_text())


def folder_of(launch: Launch) -> Path:
    return Path(launch.checkpoint.uri) / launch.run_key


def states_of(launch: Launch) -> list[StepManifest]:
    paths = sorted((folder_of(launch) / "steps").glob("*.json"))
    return [StepManifest.model_validate_json(path.read_text()) for path in paths]


def with_policy(launch: Launch, policy: ResumePolicy) -> Launch:
    checkpoint = launch.checkpoint.model_copy(update={"resume_policy": policy})
    return launch.model_copy(update={"checkpoint": checkpoint})


def test_require_ends_with_78_before_anything_is_planned_or_written(launch, tmp_path):
    refused = Ended(with_policy(launch, ResumePolicy.REQUIRE), tmp_path)
    assert refused.exit_code == ExitCode.CONFIGURATION
    assert "checkpoint.resumePolicy is Require" in refused.report.message
    assert not folder_of(launch).exists()


def test_a_run_keeps_what_it_was_told_to_and_goes_on_by_its_policy(launch, tmp_path):
    stopped = Ended(launch, tmp_path, STOP_AT)
    assert stopped.exit_code == ExitCode.PREEMPTED
    states = states_of(launch)
    assert len(states) == 2

    anew = Ended(with_policy(launch, ResumePolicy.NEVER), tmp_path, "[EPOCH 1/2] Starting epoch...")
    assert anew.exit_code == ExitCode.PREEMPTED
    claim = Claim.model_validate_json((folder_of(launch) / layout.claim(2)).read_text())
    assert claim.resumed is None
    newest = states_of(launch)[-1]
    assert newest.id.claim == 2
    assert newest.id.step < states[-1].id.step

    ended = Ended(with_policy(launch, ResumePolicy.REQUIRE), tmp_path)
    assert ended.exit_code == ExitCode.OK
    claim = Claim.model_validate_json((folder_of(launch) / layout.claim(3)).read_text())
    assert claim.resumed == newest.id
    assert ended.report.lineage.exact_resume
    final = Final.model_validate_json((folder_of(launch) / layout.FINAL).read_text())
    assert final.inexact_reason is None


def test_a_run_that_goes_on_elsewhere_is_not_exact_and_stays_so(launch, tmp_path, monkeypatch):
    import torch

    assert Ended(launch, tmp_path, "[EPOCH 1/2] Starting epoch...").exit_code == ExitCode.PREEMPTED
    with monkeypatch.context() as patch:
        patch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "OTHER")
        elsewhere = Ended(launch, tmp_path, STOP_AT)
    assert elsewhere.exit_code == ExitCode.PREEMPTED
    assert not elsewhere.report.lineage.exact_resume
    reason = elsewhere.report.lineage.exact_resume_reason
    assert "is OTHER now" in reason
    assert f"[CHECKPOINT] This run is not exact: {reason}" in elsewhere.lines
    assert states_of(launch)[-1].inexact_reason == reason

    # Back on the first kind of machine: what was computed in between does not become exact.
    ended = Ended(launch, tmp_path)
    assert ended.exit_code == ExitCode.OK
    final = Final.model_validate_json((folder_of(launch) / layout.FINAL).read_text())
    assert final.inexact_reason == reason
    assert ended.report.lineage.exact_resume_reason == reason
    bundle = Path(launch.output.uri) / final.bundle_name
    info = json.loads((bundle / "training_info.json").read_text())
    assert (info["exact_resume"], info["exact_resume_reason"]) == (False, reason)
    again = Ended(launch, tmp_path)
    assert again.report.already_published
    assert again.report.lineage.exact_resume_reason == reason


@pytest.mark.parametrize(
    "changed",
    [
        {"training": TrainingSpec(epochs=3, batch_size=64)},
        {"model": ModelSpec(encoder_length=6, prediction_length=3)},
    ],
)
def test_another_configuration_under_the_same_key_is_refused(launch, tmp_path, changed):
    Ended(launch, tmp_path, "[EPOCH 1/2] Starting epoch...")
    refused = Ended(launch.model_copy(update=changed), tmp_path)
    assert refused.exit_code == ExitCode.CONFIGURATION
    assert "another data, model or training configuration" in refused.report.message
    assert "runToken" in refused.report.message


def test_a_plan_that_an_older_trainer_wrote_with_fewer_fields_is_the_same_plan(launch, tmp_path):
    """A later version reads it with a default more: the digest is that of the stored bytes."""
    Ended(launch, tmp_path, "for statistics")
    plan_path = folder_of(launch) / layout.PLAN
    document = json.loads(plan_path.read_text())
    del document["notes"]
    plan_path.write_text(json.dumps(document))
    assert Ended(launch, tmp_path, STOP_AT).exit_code == ExitCode.PREEMPTED
    assert Ended(launch, tmp_path).exit_code == ExitCode.OK
