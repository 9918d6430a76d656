"""Values that cannot work are refused by Helm, before anything stands on a cluster."""

import pytest
import yaml

from argus_operator.configuration import Configuration
from stage.control_plane import ControlPlane
from stage.kubectl import CommandFailed

pytestmark = pytest.mark.control_plane

CRD = "argustrainingjobs.argus.tachyon.dev"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
CLUSTER_ROLES = f"{RBAC}/clusterroles"
GPU = r"defaults.resourcesPerNode.limits.nvidia\.com/gpu"
TOLERATION = "defaults.tolerations[0]"


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
        (
            "defaults.storage.secretRef.name=keys,defaults.storage.serviceAccountName=trainer",
            "defaults.storage: secretRef and serviceAccountName exclude each other: keep one",
        ),
        ("defaults.storage=null", "missing property 'storage'"),
        ("defaults.storage.endpoint=http://a b", "endpoint': 'http://a b' does not match"),
        ("defaults.nodeSelector.pool=a b", "/nodeSelector/pool': 'a b' does not match"),
        ("defaults.imagePullSecrets[0].name=My_Registry", "/name': 'My_Registry' does not match"),
        (f"{GPU}=1k", "/nvidia.com~1gpu': '1k' does not match"),
        (
            f"{GPU}\\.shared=4",
            "defaults.resourcesPerNode asks for 4 GPUs: a run trains on one, ask for 1",
        ),
        (f"{GPU}=8", "defaults.resourcesPerNode asks for 8 GPUs: a run trains on one, ask for 1"),
        (
            f"{GPU}=1,defaults.resourcesPerNode.requests.nvidia\\.com/mig-1g\\.5gb=1",
            "defaults.resourcesPerNode asks for 2 GPUs",
        ),
        (
            f"{TOLERATION}.effect=NoSchedule",
            "defaults.tolerations[0] has no key, which needs operator Exists: set one of them",
        ),
        (
            f"{TOLERATION}.operator=Exists,{TOLERATION}.value=a",
            'defaults.tolerations[0].value: operator Exists takes no value, not "a": remove it',
        ),
        (
            f"{TOLERATION}.key=a,{TOLERATION}.tolerationSeconds=5",
            "defaults.tolerations[0].tolerationSeconds 5 needs effect NoExecute: set it",
        ),
    ],
)
def test_a_value_that_cannot_work_is_refused_by_its_name(
    plane: ControlPlane, setting: str, named: str
) -> None:
    render(plane, "planning.resources.limits.memory=2Gi", f"{GPU}=1", f"{TOLERATION}.key=a")
    with pytest.raises(CommandFailed) as refusal:
        render(plane, setting)
    assert named in str(refusal.value)


def test_notes_say_what_is_missing(plane: ControlPlane) -> None:
    install = ("helm", "install", "argus", "charts/argus", "--dry-run=client")
    assert "nothing acts" in plane.call(*install, "--set", "replicas=0")
    assert "nothing acts" not in plane.call(*install)
    assert 'clusterName is "default"' in plane.call(*install)
    assert 'clusterName is "default"' not in plane.call(*install, "--set", "clusterName=eu")


def test_names_of_digits_are_names(plane: ControlPlane) -> None:
    """As of previews and tenants: YAML takes a bare 123 for a number."""
    flags = ("--namespace", "456", "--set-json", 'watchNamespaces=["789"]', "--set", "replicas=2")
    rendered = plane.call("helm", "template", "123", "charts/argus", *flags)
    documents = [document for document in yaml.safe_load_all(rendered) if document]
    placed = {d["metadata"]["namespace"] for d in documents if "namespace" in d["metadata"]}
    assert placed == {"456", "789"}
    labels = [d["metadata"]["labels"] for d in documents if "labels" in d["metadata"]]
    assert {label["app.kubernetes.io/instance"] for label in labels} == {"123"}
    (file,) = (d["data"] for d in documents if d["kind"] == "ConfigMap")
    configuration = Configuration.model_validate(yaml.safe_load(next(iter(file.values()))))
    assert configuration.installation.namespace == "456"


def names_of(plane: ControlPlane, kind: str, release: str, namespace: str) -> set[str]:
    """Cluster-wide objects of this kind that Helm keeps for a release."""
    owner = {
        "meta.helm.sh/release-name": release,
        "meta.helm.sh/release-namespace": namespace,
    }
    found = plane.api().items(kind)
    marked = [(o["metadata"]["name"], o["metadata"].get("annotations", {})) for o in found]
    return {name for name, marks in marked if owner.items() <= marks.items()}


def test_two_installations_stand_in_one_cluster_and_the_first_has_the_definition(
    own_plane: ControlPlane,
) -> None:
    for namespace in ("one", "two", "team-one", "team-two"):
        own_plane.make_namespace(namespace)

    def install(release: str, namespace: str, served: str, *flags: str) -> None:
        place = ("--namespace", namespace, "--set-json", f"watchNamespaces={served}")
        # Nobody acts: which objects stand side by side is all that is asked here.
        command = ("helm", "install", release, "charts/argus", *place, "--set", "replicas=0")
        own_plane.call(*command, *flags)

    def cluster_roles(release: str, namespace: str) -> set[str]:
        return names_of(own_plane, CLUSTER_ROLES, release, namespace)

    install("argus", "one", '["team-one"]')
    with pytest.raises(CommandFailed) as refusal:
        install("argus", "two", '["team-two"]')
    assert f'"{CRD}"' in str(refusal.value)
    assert "exists and cannot be imported into the current release" in str(refusal.value)
    install("argus", "two", '["team-two"]', "--set", "crd.install=false")
    for namespace in ("one", "two"):
        own = {f"{namespace}:argus-operator-view", f"{namespace}:argus-operator-edit"}
        assert cluster_roles("argus", namespace) == own
        path = f"{RBAC}/namespaces/team-{namespace}/rolebindings/argus-operator"
        assert own_plane.api().get(path)["subjects"][0]["namespace"] == namespace
    # Its owner goes, and the definition stays with all runs; whoever takes it has it.
    own_plane.call("helm", "uninstall", "argus", "--namespace", "one")
    assert cluster_roles("argus", "one") == set()
    with pytest.raises(CommandFailed, match="cannot be imported into the current release"):
        install("other", "one", "[]")
    install("other", "one", "[]", "--take-ownership")
    assert names_of(own_plane, CRDS, "other", "one") == {CRD}
    assert "one:other-operator" in cluster_roles("other", "one")
    own_plane.call("helm", "uninstall", "other", "--namespace", "one")
    assert own_plane.api().find(f"{CRDS}/{CRD}")
