"""What the trainers of each contract version left behind is still read, and gone on from.

`tests/golden/<version>/run.tar.xz` is made by `dev/golden.py`: data, a run that was stopped
half-way, and the bundle of the same run. A version that was released is never made anew.
"""

import hashlib
import json
import shutil
import tarfile
from pathlib import Path

import pytest

import golden
from argus_contract import layout, names
from argus_contract.ledger import BundleManifest, ClaimEnd, Final, PublishedRecord, StepManifest
from argus_contract.plan import Plan, Statistics
from argus_contract.status import EndReason
from argus_trainer.bundle.records import find_published
from argus_trainer.storage.local import LocalStore
from argus_trainer.storage.records import read
from argus_trainer.upkeep.survey import survey_run
from argus_trainer.upkeep.verdicts import condition_of

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
VERSIONS = sorted(path.name for path in GOLDEN.iterdir() if path.is_dir())
MOST_BYTES = 300_000


@pytest.fixture(params=VERSIONS)
def left(request, tmp_path, monkeypatch) -> Path:
    """The folder that a trainer of an earlier version worked in; also the current one."""
    with tarfile.open(GOLDEN / request.param / "run.tar.xz") as archive:
        # An argument since Python 3.11.4; Debian has 3.11.2.
        archive.extraction_filter = getattr(tarfile, "data_filter", None)
        archive.extractall(tmp_path)
    golden.age(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_this_contract_version_has_its_golden_files_and_they_are_small():
    assert f"{names.VERSION}-{names.CONTRACT_VERSION}" in VERSIONS
    assert sum(path.stat().st_size for path in GOLDEN.rglob("*")) < MOST_BYTES


def test_every_record_of_an_earlier_version_is_read(left):
    run = LocalStore(left / "checkpoints" / golden.RUN_KEY)
    models = LocalStore(left / "models")
    plan = read(run, layout.PLAN, Plan)
    read(run, layout.STATISTICS, Statistics)
    assert read(run, layout.claim_end(1), ClaimEnd).reason is EndReason.PREEMPTED
    published = read(models, layout.published(1), PublishedRecord)
    assert find_published(models, golden.RUN_KEY) == published
    assert published.bundle == plan.bundle_name
    found = survey_run(run, golden.RUN_KEY, models=None, verify=True)
    assert found.faults == ()
    assert condition_of(found).startswith("A resume takes step 4 of claim 1.")


def test_a_bundle_of_an_earlier_version_is_whole(left):
    models = LocalStore(left / "models")
    record = read(models, layout.published(1), PublishedRecord)
    manifest = read(models, f"{record.bundle}/{layout.BUNDLE_MANIFEST}", BundleManifest)
    for file in manifest.files:
        data = models.get(f"{record.bundle}/{file.name}")
        assert (len(data), hashlib.sha256(data).hexdigest()) == (file.size, file.sha256)


def test_a_run_of_an_earlier_version_goes_on_with_the_same_windows(left):
    models = left / "models"
    before = json.loads(next(models.glob("tft_model_*/training_info.json")).read_text())
    shutil.rmtree(models)
    run = LocalStore(left / "checkpoints" / golden.RUN_KEY)
    newest = StepManifest.model_validate_json(
        sorted((left / "checkpoints").rglob("steps/*.json"))[-1].read_text()
    )

    assert golden.start(None) == 0

    final = read(run, layout.FINAL, Final)
    assert final.id.claim == 2
    assert final.id.step > newest.id.step
    # The windows are the same everywhere; the weights, to the bit, on the same CPU only.
    assert final.windows_digest == before["state"]["windows_digest"]
    after = json.loads(next(models.glob("tft_model_*/training_info.json")).read_text())
    for name in ("run_key", "targets", "features", "steps", "epochs", "data"):
        assert after[name] == before[name]
    assert after["metrics"]["val_loss"] == pytest.approx(before["metrics"]["val_loss"], rel=1e-3)
