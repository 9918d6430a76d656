"""A whole run whose store goes away for longer than is tolerated ends with 74, wherever it is."""

from datetime import UTC, datetime

import pytest

from argus_contract.exit_codes import ExitCode
from argus_contract.progress import ProgressReport
from argus_contract.status import EndReason
from argus_trainer.process.run import run
from argus_trainer.process.stop import Stop
from argus_trainer.process.surroundings import Surroundings
from argus_trainer.simulate.generate import generate
from argus_trainer.storage.open import open_store
from toy import toy_launch


@pytest.mark.kills
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "goes_away_at",
    ["[DATA] Planning from", "for statistics", "[EPOCH 2/2] Starting epoch..."],
    ids=["while it plans", "while it reads", "before it saves"],
)
def test_an_outage_beyond_the_tolerance_ends_with_74_and_the_next_start_goes_on(
    s3, toxiproxy, tmp_path, goes_away_at
):
    uri, straight = s3.new_uri(), s3.options()
    generate(
        open_store(f"{uri}/data", straight),
        servers=2,
        hours=16,
        seed=1,
        cadence_seconds=300,
        start=datetime(2025, 12, 1, tzinfo=UTC),
    )
    options = s3.options(endpoint=toxiproxy.endpoint, outage_tolerance_seconds=1)
    launch = toy_launch(f"{uri}/data", uri, storage=options, checkpoint={"period_seconds": 60})
    words = tmp_path / "words"

    def say(line: str) -> None:
        if goes_away_at in line:
            toxiproxy.open_door(is_open=False)

    surroundings = Surroundings(pod="pod", stop=Stop(), say=say, termination_path=words)
    assert run(launch, surroundings) == ExitCode.STORAGE_UNAVAILABLE
    report = ProgressReport.model_validate_json(words.read_text())
    assert report.end_reason is EndReason.STORAGE_UNAVAILABLE
    assert "storage.outageToleranceSeconds" in report.message

    if not goes_away_at.startswith("[EPOCH"):
        return
    toxiproxy.heal()
    quiet = Surroundings(pod="pod", stop=Stop(), say=lambda line: None)
    assert run(launch, quiet) == ExitCode.OK
