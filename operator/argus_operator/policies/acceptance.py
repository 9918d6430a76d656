"""Can this run be made at all? Spec, defaults of the chart, queue, and the API server's word.

A spec that is wrong fails for good. What an administrator can mend (a default that is
missing, a queue without Kueue) leaves the run Pending with Accepted=False and the way
out, and so does a Job that the API server finds wrong in itself: making it is the proof of
those parts of the spec that are handed on as they are (affinity, sources of volumes).
What was resolved is fixed once a status says so, but for what may change while the run is
suspended. A run that has a Job was accepted when that was made, whatever its labels and the
chart say by now: its first status comes later than its Job.
"""

from dataclasses import replace

from argus_contract.names import KUEUE_QUEUE_LABEL
from argus_contract.run_key import run_key
from argus_contract.spec import ArgusTrainingJobSpec
from argus_contract.status import Phase
from argus_operator.decision import Draft
from argus_operator.observed import Observed
from argus_operator.resolve import Unresolvable, resolve, resolve_queue, resolve_scheduling

INVALID_SPEC = "InvalidSpec"
NO_KUEUE = "KueueNotEnabled"
JOB_INVALID = "JobInvalid"


def accept(observed: Observed, draft: Draft) -> Draft:
    run = observed.run
    draft = draft.with_status(observed_generation=run.generation, pending=None)
    known = draft.status
    is_resolved = bool(known.job_name and known.resolved and known.run_key)
    stands_still = known.phase is Phase.SUSPENDED or known.reason in (JOB_INVALID, NO_KUEUE)
    if is_resolved and stands_still:
        draft = _with_what_may_change(observed, draft)
    if observed.refusal and observed.refusal.invalid:
        return _refuse(
            observed,
            draft,
            JOB_INVALID,
            f"{observed.refusal.hindrance.message}. Correct spec.scheduling or "
            "spec.resourcesPerNode while spec.suspend is true; for another field, delete this "
            "ArgusTrainingJob and make it again. What comes from the chart (defaults, trainer, "
            "planning) is corrected in its values.",
        )
    if observed.jobs:
        return replace(draft, accepted=True) if is_resolved else _as_made(observed, draft)
    queue = run.labels.get(KUEUE_QUEUE_LABEL)
    if queue and not draft.configuration.kueue_enabled and (stands_still or not is_resolved):
        return _refuse(
            observed,
            draft,
            NO_KUEUE,
            f"label {KUEUE_QUEUE_LABEL}={queue} asks for a queue, but the chart says that there is "
            "no Kueue here: set kueue.enabled=true in the Helm values, or remove the label",
        )
    if is_resolved:
        return replace(draft, accepted=True)
    if run.spec is None:
        errors = "; ".join(run.spec_errors)
        return (
            replace(draft, over=True)
            .with_status(completion_time=observed.now)
            .saying(
                Phase.FAILED,
                INVALID_SPEC,
                f"{errors}. Correct the spec and create the resource again.",
            )
        )
    try:
        resolved = resolve(run.spec, run.labels, draft.configuration.defaults)
    except Unresolvable as error:
        return _refuse(observed, draft, error.reason, str(error))
    key = _key(observed, draft, run.spec)
    return replace(draft, accepted=True).with_status(resolved=resolved, run_key=key)


def _refuse(observed: Observed, draft: Draft, reason: str, message: str) -> Draft:
    """Leaves the run Pending, or Suspended where it is told to stand still: nothing runs."""
    spec = observed.run.spec
    return draft.saying(
        Phase.SUSPENDED if spec and spec.suspend else Phase.PENDING, reason, message
    )


def _as_made(observed: Observed, draft: Draft) -> Draft:
    """Resolves a run that has a Job and no status that says so: as far as known, as it was then.

    A queue that was asked for, or a default that went, since then is nothing to refuse: who would
    stop that Job, or see its end?
    """
    spec, job = observed.run.spec, observed.jobs[-1]
    draft = replace(draft, accepted=True)
    if spec is None:
        return draft.with_status(run_key=job.run_key)
    draft = draft.with_status(run_key=job.run_key or _key(observed, draft, spec))
    try:
        resolved = resolve(spec, observed.run.labels, draft.configuration.defaults)
    except Unresolvable:
        return draft
    return draft.with_status(resolved=resolved.model_copy(update={"queue": job.queue}))


def _key(observed: Observed, draft: Draft, spec: ArgusTrainingJobSpec) -> str:
    return run_key(draft.configuration.cluster_name, *observed.run.key, spec)


def _with_what_may_change(observed: Observed, draft: Draft) -> Draft:
    """Resolves resources, place and queue again while the run stands still, for its next Job."""
    spec, resolved = observed.run.spec, draft.status.resolved
    if spec is None or resolved is None:
        return draft
    defaults = draft.configuration.defaults
    return draft.with_status(
        resolved=resolved.model_copy(
            update={
                "queue": resolve_queue(observed.run.labels, defaults),
                "resources_per_node": spec.resources_per_node or defaults.resources_per_node,
                "scheduling": resolve_scheduling(spec.scheduling, defaults),
            }
        )
    )
