"""Argus on the cluster: images, `helm install`, a namespace with the S3 keys.

The trainer's environment is 6 GB; for speed its pods run a small base image into which the
repository's own `.venv` and sources are mounted (chart value `trainer.extraVolumes`).
"""

import json
from pathlib import Path

from stage.kubectl import ROOT, call, environment, kubectl
from stage.parts import cluster

NAMESPACE = "argus-system"
SECRET = "argus-storage"
BUCKET = "argus"
OPERATOR_TAG = "argus-operator:dev"
TRAINER_TAG = "argus-trainer-dev:dev"


def build_images() -> None:
    """Builds both images and imports them into the cluster's containerd."""
    cluster("image", OPERATOR_TAG, "Dockerfile.operator", ".")
    cluster("image", TRAINER_TAG, "dev/images/Dockerfile.trainer-dev", ".")


def site_packages() -> Path:
    """Returns the folder of the installed libraries in `.venv`."""
    return next((ROOT / ".venv" / "lib").glob("python3.*")) / "site-packages"


def mounts() -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """Returns (volumes, volume mounts) that bring `.venv` and the sources into a pod."""
    folders = {
        "site-packages": site_packages(),
        "contract": ROOT / "contract",
        "trainer": ROOT / "trainer",
    }
    volumes: list[dict[str, object]] = [
        {"name": name, "hostPath": {"path": str(path), "type": "Directory"}}
        for name, path in folders.items()
    ]
    volume_mounts: list[dict[str, object]] = [
        {"name": name, "mountPath": f"/opt/argus/{name}", "readOnly": True} for name in folders
    ]
    return volumes, volume_mounts


def values(*, kueue: bool = False) -> dict[str, object]:
    """Returns the chart's values for this cluster; `kueue`: as if Kueue ran here."""
    volumes, volume_mounts = mounts()
    return {
        "clusterName": "argus-dev",
        "image": {"repository": "localhost/argus-operator", "tag": "dev", "pullPolicy": "Never"},
        "progress": {"intervalSeconds": 3},
        "defaults": {
            "image": f"localhost/{TRAINER_TAG}",
            "checkpoint": {"uri": f"s3://{BUCKET}/checkpoints"},
            "output": {"uri": f"s3://{BUCKET}/models"},
            "storage": {
                "endpoint": environment()["ARGUS_S3_ENDPOINT"],
                "region": environment()["AWS_DEFAULT_REGION"],
                "pathStyle": True,
                "secretRef": {"name": SECRET},
            },
            "resourcesPerNode": {
                "requests": {"cpu": "500m", "memory": "1Gi"},
                "limits": {"memory": "4Gi"},
            },
        },
        "kueue": {"enabled": kueue},
        "trainer": {"extraVolumes": volumes, "extraVolumeMounts": volume_mounts},
    }


def helm_install(*, kueue: bool = False) -> None:
    """Installs or upgrades the chart and waits until the operator is ready."""
    call(
        "helm", "upgrade", "--install", "argus", "charts/argus",
        "--namespace", NAMESPACE, "--create-namespace",
        "--values", "-", "--wait", "--timeout", "3m",
        stdin=json.dumps(values(kueue=kueue)),
    )  # fmt: skip
    # The tag of a rebuilt image is the old one: without this the old operator would stay.
    deployment = ("deployment/argus-operator", "-n", NAMESPACE)
    kubectl("rollout", "restart", *deployment)
    kubectl("rollout", "status", *deployment, "--timeout=120s")


def make_namespace(name: str) -> None:
    """Makes a namespace that holds the Secret with the S3 keys."""
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    kubectl("apply", "-f", "-", stdin=json.dumps(namespace))
    keys = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": SECRET, "namespace": name},
        "stringData": {key: environment()[key] for key in keys},
    }
    kubectl("apply", "-f", "-", stdin=json.dumps(secret))
