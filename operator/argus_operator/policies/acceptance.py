"""Can this run be made at all? Spec, defaults of the chart, queue, and the API server's word.

A spec that is wrong fails for good. What an administrator can mend (a default that is
missing, a queue without Kueue) leaves the run Pending with Accepted=False and the way
out, and so does a Job that the API server finds wrong in itself: making it is the proof of
those parts of the spec that are handed on as they are (affinity, sources of volumes).
What was resolved is fixed once a status says so, but for what may change while the run is
suspended.
"""

from dataclasses import replace

from argus_contract.names import KUEUE_QUEUE_LABEL
from argus_contract.run_key import run_key
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
    is_resolved = bool(draft.status.job_name and draft.status.resolved and draft.status.run_key)
    if is_resolved:
        draft = _with_what_may_change(observed, draft)
    if observed.refusal and observed.refusal.invalid:
        return draft.saying(
            Phase.SUSPENDED if run.spec and run.spec.suspend else Phase.PENDING,
            JOB_INVALID,
            f"{observed.refusal.hindrance.message}. Correct spec.scheduling or "
            "spec.resourcesPerNode while spec.suspend is true; for another field, delete this "
            "ArgusTrainingJob and make it again. What comes from the chart (defaults, trainer, "
            "planning) is corrected in its values.",
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
    queue = run.labels.get(KUEUE_QUEUE_LABEL)
    if queue and not draft.configuration.kueue_enabled:
        return draft.saying(
            Phase.PENDING,
            NO_KUEUE,
            f"label {KUEUE_QUEUE_LABEL}={queue} asks for a queue, but the chart says that there is "
            "no Kueue here: set kueue.enabled=true in the Helm values, or remove the label",
        )
    try:
        resolved = resolve(run.spec, run.labels, draft.configuration.defaults)
    except Unresolvable as error:
        return draft.saying(Phase.PENDING, error.reason, str(error))
    key = run_key(draft.configuration.cluster_name, run.key.namespace, run.key.name, run.spec)
    return replace(draft, accepted=True).with_status(resolved=resolved, run_key=key)


def _with_what_may_change(observed: Observed, draft: Draft) -> Draft:
    """Resolves resources, place and queue again while the run stands still, for its next Job."""
    spec, resolved, before = observed.run.spec, draft.status.resolved, observed.run.status
    stands_still = before.phase is Phase.SUSPENDED or before.reason == JOB_INVALID
    if spec is None or resolved is None or not stands_still:
        return draft
    defaults = draft.configuration.defaults
    queue = resolve_queue(observed.run.labels, defaults)
    return draft.with_status(
        resolved=resolved.model_copy(
            update={
                "queue": queue if draft.configuration.kueue_enabled else resolved.queue,
                "resources_per_node": spec.resources_per_node or defaults.resources_per_node,
                "scheduling": resolve_scheduling(spec.scheduling, defaults),
            }
        )
    )
