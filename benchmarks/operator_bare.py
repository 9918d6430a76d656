"""The least that an operator can do: a Job for each run, and not a look after it.

A peer of `benchmarks.operator`; `benchmarks.operator_peer` starts it as `kopf run`, with the rights
of the real one.
"""

from typing import Any

import kopf
from kubernetes.aio import client, config

from argus_contract import names


@kopf.on.startup()
async def connect(settings: kopf.OperatorSettings, memo: kopf.Memo, **_: object) -> None:
    settings.posting.enabled, settings.scanning.disabled = False, True
    wanted = client.Configuration()
    await config.load_kube_config(client_configuration=wanted)  # type: ignore[no-untyped-call]
    wanted.client_session_kwargs = {"trust_env": False}
    memo.batch = client.BatchV1Api(client.ApiClient(configuration=wanted))


@kopf.on.event(names.GROUP, names.VERSION, names.PLURAL)
async def made(
    event: kopf.RawEvent, namespace: str | None, name: str, uid: str, memo: kopf.Memo, **_: Any
) -> None:
    if event["type"] != "ADDED":
        return
    owner = {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "name": name,
        "uid": uid,
        "controller": True,
    }
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "labels": {names.LABEL_RUN_NAME: name},
            "ownerReferences": [owner],
        },
        "spec": {
            "template": {
                "spec": {
                    "restartPolicy": "Never",
                    "containers": [{"name": "work", "image": "registry.example/work:1"}],
                }
            }
        },
    }
    create = memo.batch.create_namespaced_job_without_preload_content
    (await create(namespace, job)).raise_for_status()
