"""Raw JSON of the API server is read here and nowhere else, and becomes a view of `views`."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import structlog
from pydantic import ValidationError

from argus_contract.names import (
    ANNOTATION_REFUSED_BY,
    COMPONENT_PLANNER,
    COPIED_LABELS,
    KIND,
    KUEUE_QUEUE_LABEL,
    LABEL_COMPONENT,
    LABEL_RUN_KEY,
    LABEL_RUN_NAME,
    TRAINER_CONTAINER,
)
from argus_contract.spec import ArgusTrainingJobSpec
from argus_contract.status import ArgusTrainingJobStatus
from argus_operator.reports import NoReport, believed, read_report
from argus_operator.views import (
    Exit,
    Hindrance,
    JobEnd,
    JobView,
    Key,
    LeaseView,
    ListedRuns,
    PodView,
    RunView,
)

Raw = Mapping[str, Any]
"""An object as the API server sends it."""

MAX_SPECS, MAX_SHARED = 256, 8192
"""Specs that are kept whether or not a run has them still, and the longest one, in characters."""

_log = structlog.get_logger()


def read_time(text: object) -> datetime | None:
    """Reads a metav1.Time or MicroTime."""
    return datetime.fromisoformat(str(text)).astimezone(UTC) if text else None


def _created(metadata: Raw) -> datetime:
    return read_time(metadata.get("creationTimestamp")) or datetime.fromtimestamp(0, UTC)


def _controller(metadata: Raw) -> Raw:
    """Returns the reference to the controlling resource; empty where there is none."""
    owners = metadata.get("ownerReferences") or ()
    return next((owner for owner in owners if owner.get("controller")), {})


def _conditions(status: Raw) -> dict[str, Raw]:
    return {
        entry["type"]: entry
        for entry in status.get("conditions") or ()
        if entry["status"] == "True"
    }


def read_run(raw: Raw) -> RunView:
    """Reads an ArgusTrainingJob; what is wrong with its spec stands in `spec_errors`."""
    metadata = raw["metadata"]
    spec, errors = _read_spec(raw.get("spec") or {})
    return RunView(
        key=key_of_run(raw),
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        generation=metadata.get("generation", 1),
        created=_created(metadata),
        deleting="deletionTimestamp" in metadata,
        labels={k: v for k, v in (metadata.get("labels") or {}).items() if k in COPIED_LABELS},
        spec=spec,
        spec_errors=errors,
        status=read_status(raw.get("status") or {}),
    )


def read_runs(page: list[Raw], version: int, is_wanted: Callable[[Key, int], bool]) -> ListedRuns:
    """Reads a page of a list; `is_wanted` says of which names and versions the document is."""
    heads = [(key_of_run(raw), int(raw["metadata"]["resourceVersion"]), raw) for raw in page]
    return ListedRuns(
        keys=tuple(key for key, _, _ in heads),
        documents=tuple(read_run(raw) for key, newest, raw in heads if is_wanted(key, newest)),
        version=version,
    )


def key_of_run(raw: Raw) -> Key:
    return Key(raw["metadata"]["namespace"], raw["metadata"]["name"])


def _read_spec(raw: Raw) -> tuple[ArgusTrainingJobSpec | None, tuple[str, ...]]:
    try:
        text = json.dumps(raw)
        return (_shared_spec if len(text) <= MAX_SHARED else _spec)(text), ()
    except ValidationError as error:
        return None, tuple(
            f"spec.{'.'.join(str(part) for part in entry['loc'])}: {entry['msg']}"
            for entry in error.errors(include_url=False, include_context=False)
        )
    except (ArithmeticError, ValueError, RecursionError) as error:
        # What pydantic hands on of a hostile spec: other runs are read in the same list.
        return None, (f"spec: cannot be read: {type(error).__name__}: {error}"[:200],)


def _spec(text: str) -> ArgusTrainingJobSpec:
    return ArgusTrainingJobSpec.model_validate(json.loads(text))


_shared_spec = lru_cache(maxsize=MAX_SPECS)(_spec)
"""Runs of one template share their spec, which is most of what is known of a run."""


def read_status(raw: Raw) -> ArgusTrainingJobStatus:
    """Reads a status, leaving out parts that this version does not understand.

    A status of a newer or older operator must neither stop this one nor hide that a run
    has ended.
    """
    kept = dict(raw)
    while True:
        try:
            return ArgusTrainingJobStatus.model_validate(kept)
        except ValidationError as error:
            strange = {str(entry["loc"][0]) for entry in error.errors() if entry["loc"]} & set(kept)
            if not strange:
                return ArgusTrainingJobStatus()
            kept = {name: value for name, value in kept.items() if name not in strange}


def run_key_of_child(raw: Raw) -> Key | None:
    """Returns the run that a Job or pod of ours belongs to, by its label."""
    metadata = raw["metadata"]
    name = (metadata.get("labels") or {}).get(LABEL_RUN_NAME)
    return Key(metadata["namespace"], name) if name else None


def _is_planning(metadata: Raw) -> bool:
    return (metadata.get("labels") or {}).get(LABEL_COMPONENT) == COMPONENT_PLANNER


def read_job(raw: Raw, key: Key | None = None) -> JobView | None:
    """Reads a Job of this run, by default of that which owns it or its label names; None: of none.

    Whoever changes the label of a Job must not hide its end from its run.
    """
    metadata, spec, status = raw["metadata"], raw.get("spec") or {}, raw.get("status") or {}
    owner = _controller(metadata)
    if key is None and owner.get("kind") == KIND:
        key = Key(metadata["namespace"], owner["name"])
    key = key or run_key_of_child(raw)
    if key is None:
        return None
    conditions = _conditions(status)
    end = next((kind for kind in JobEnd if kind.value in conditions), None)
    ended = conditions.get(end.value, {}) if end else {}
    suspended = bool(spec.get("suspend"))
    labels = metadata.get("labels") or {}
    return JobView(
        key=key,
        run_key=labels.get(LABEL_RUN_KEY),
        queue=labels.get(KUEUE_QUEUE_LABEL),
        name=metadata["name"],
        uid=metadata["uid"],
        resource_version=int(metadata["resourceVersion"]),
        owner_uid=owner.get("uid"),
        created=_created(metadata),
        deleting="deletionTimestamp" in metadata,
        planning=_is_planning(metadata),
        suspended=suspended,
        suspended_message=conditions.get("Suspended", {}).get("message") if suspended else None,
        failed=status.get("failed") or 0,
        end=end,
        end_reason=ended.get("reason"),
        end_message=ended.get("message"),
        ended=read_time(status.get("completionTime") or ended.get("lastTransitionTime")),
    )


def read_workload(raw: Raw) -> Hindrance | None:
    """Reads why Kueue holds a Workload back, in its words; None while it says nothing."""
    conditions = {entry["type"]: entry for entry in (raw.get("status") or {}).get("conditions", ())}
    # Quota comes first, then admission checks; only the words of the first that is missing count.
    for kind in ("QuotaReserved", "Admitted"):
        if hindrance := _hindrance(conditions.get(kind), "False"):
            return hindrance
    return None


def read_pod(raw: Raw) -> PodView | None:
    """Reads a pod; None if it carries no label of ours."""
    key = run_key_of_child(raw)
    if key is None:
        return None
    metadata, spec, status = raw["metadata"], raw.get("spec") or {}, raw.get("status") or {}
    conditions = {entry["type"]: entry for entry in status.get("conditions") or ()}
    container: Raw = next(
        (c for c in status.get("containerStatuses") or () if c["name"] == TRAINER_CONTAINER), {}
    )
    state: Raw = container.get("state") or {}
    running, terminated = state.get("running"), state.get("terminated")
    image_id = str(container.get("imageID") or "")
    owner, run_key = _controller(metadata), metadata["labels"].get(LABEL_RUN_KEY)
    return PodView(
        key=key,
        name=metadata["name"],
        uid=metadata["uid"],
        resource_version=int(metadata["resourceVersion"]),
        owner_uid=owner.get("uid"),
        job=owner.get("name") if owner.get("kind") == "Job" else None,
        run_key=run_key,
        created=_created(metadata),
        deleting="deletionTimestamp" in metadata,
        planning=_is_planning(metadata),
        phase=status.get("phase") or "Pending",
        node=spec.get("nodeName"),
        ip=status.get("podIP"),
        ready=conditions.get("Ready", {}).get("status") == "True",
        started=read_time((running or terminated or {}).get("startedAt")),
        running=running is not None,
        unschedulable=_hindrance(conditions.get("PodScheduled"), "False"),
        waiting=_hindrance(state.get("waiting"), None),
        disruption=_hindrance(conditions.get("DisruptionTarget"), "True"),
        exit=_read_exit(terminated, metadata, run_key) if terminated else None,
        leave_by=read_time(metadata.get("deletionTimestamp")),
        pod_reason=status.get("reason"),
        pod_message=status.get("message"),
        image_digest=image_id[image_id.index("sha256:") :] if "sha256:" in image_id else None,
    )


def _hindrance(raw: Raw | None, status: str | None) -> Hindrance | None:
    if raw is None or (status is not None and raw.get("status") != status):
        return None
    return Hindrance(reason=raw.get("reason") or "Unknown", message=raw.get("message") or "")


def _read_exit(raw: Raw, metadata: Raw, run_key: str | None) -> Exit:
    text, code = raw.get("message"), raw.get("exitCode", 0)
    report = None
    if text:
        try:
            report = believed(read_report(text, run_key), metadata["name"], code)
        except NoReport as why:  # not our trainer, or killed while writing: the text is kept
            _log.info("last words are no report", pod=metadata["name"], why=str(why))
    return Exit(
        code=code,
        reason=raw.get("reason"),
        started=read_time(raw.get("startedAt")),
        finished=read_time(raw.get("finishedAt")),
        message=None if report else text,
        report=report,
    )


def _renewed(spec: Raw) -> datetime | None:
    try:
        return read_time(spec.get("renewTime"))
    except (ValueError, OverflowError):
        # Whoever may write Leases must not end the operator by one of the year 0.
        return None


def read_lease(raw: Raw) -> LeaseView:
    metadata, spec = raw["metadata"], raw.get("spec") or {}
    return LeaseView(
        namespace=metadata["namespace"],
        name=metadata["name"],
        resource_version=metadata["resourceVersion"],
        holder=spec.get("holderIdentity") or "",
        duration=spec.get("leaseDurationSeconds") or 0,
        acquired=spec.get("acquireTime"),
        renewed=_renewed(spec),
        transitions=spec.get("leaseTransitions") or 0,
        refused_by=(metadata.get("annotations") or {}).get(ANNOTATION_REFUSED_BY),
    )
