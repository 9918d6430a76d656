"""Values that cannot work are refused by Helm, before anything stands on a cluster."""

import pytest

from stage.control_plane import ControlPlane
from stage.kubectl import CommandFailed

pytestmark = pytest.mark.control_plane


def render(plane: ControlPlane, *settings: str) -> str:
    flags = [part for setting in settings for part in ("--set", setting)]
    return plane.call("helm", "template", "argus", "charts/argus", *flags)


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("kueue=null", "missing property 'kueue'"),
        ("planning.resources.limits.cpu=much", "/planning/resources/limits/cpu': 'much'"),
        ("planning.resources.limits.cpu=-1", "/planning/resources/limits/cpu': minimum"),
        ("defaults.resourcesPerNode.limits.memory=1GB", "memory': '1GB' does not match"),
        ("replicas=6", "/replicas': maximum"),
        ("replica=1", "'replica' not allowed"),
        ("defaults.queue=gpus", "defaults.queue gpus needs Kueue: set kueue.enabled=true"),
    ],
)
def test_a_value_that_cannot_work_is_refused_by_its_name(
    plane: ControlPlane, setting: str, named: str
) -> None:
    render(plane, "planning.resources.limits.memory=2Gi")
    with pytest.raises(CommandFailed) as refusal:
        render(plane, setting)
    assert named in str(refusal.value)


def test_notes_say_that_nothing_acts_without_a_replica(plane: ControlPlane) -> None:
    install = ("helm", "install", "argus", "charts/argus", "--dry-run=client")
    assert "nothing acts" in plane.call(*install, "--set", "replicas=0")
    assert "nothing acts" not in plane.call(*install)
