"""Real processes, killed at the points of the matrix: the injected kills tell the truth."""

import pytest

from argus_contract.exit_codes import ExitCode
from argus_contract.status import EndReason

pytestmark = [
    pytest.mark.kills,
    pytest.mark.timeout(900),
    pytest.mark.parametrize("fleet", ["generated"], indirect=True),
]

LOCAL_STORE = "argus_trainer.storage.local:LocalStore"
# Each is met by the first save of a life, or before: how many more there are depends on how busy
# the machine is, and a life that meets its end first proves nothing.
PLACES = (
    {"name": f"{LOCAL_STORE}.put_new", "key": ".safetensors"},
    {"name": f"{LOCAL_STORE}.put_new", "key": ".safetensors", "after": True},
    {"name": f"{LOCAL_STORE}.put_new", "key": "steps/", "nth": 2, "after": True},
    {"name": f"{LOCAL_STORE}.delete", "after": True},
    # Inside a write: the temporary file stands and is no object yet.
    {"name": "os:link", "nth": 3},
    {"name": "argus_trainer.process.narrator:Narrator.step_done", "after": True},
)


@pytest.mark.parametrize(("number", "code"), [(15, ExitCode.PREEMPTED), (9, -9)])
def test_processes_that_are_killed_come_to_the_model_of_the_injected_lives(
    new_run, processes, calm, number, code
):
    run = new_run("killed")
    for place in PLACES:
        assert processes.exit_code(run, at={**place, "signal": number}) == code
    assert processes.exit_code(run) == ExitCode.OK
    found = run.published()
    assert found == {name: calm[name] for name in found}
    reason = EndReason.PREEMPTED if number == 15 else EndReason.LOST
    reasons = [end.reason for end in run.ends()]
    assert reasons == [*[reason] * len(PLACES), EndReason.COMPLETED]
