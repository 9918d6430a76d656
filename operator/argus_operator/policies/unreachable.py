"""Does a pod stay although it should be gone? Then nobody answers on its node.

Kubernetes marks the pods of a lost node for deletion, and waits for a kubelet that may
never come back. After `nodeUnreachableSeconds` the pod is deleted by force, and its Job
with it: a Job does not replace a pod whose end it never saw. The successor's claim keeps a
trainer that still runs out there from harming the run.
"""

from dataclasses import replace
from datetime import timedelta

from argus_operator.decision import DeleteJob, DeletePod, Draft
from argus_operator.observed import Observed
from argus_operator.views import PodView

NODE_UNREACHABLE = "NodeUnreachable"
_MARGIN = timedelta(seconds=10)
"""A kubelet that is there is at most this late."""


def abandon(observed: Observed, draft: Draft) -> Draft:
    """Deletes by force what nobody ends; wakes when that will be due."""
    spec = observed.run.spec
    if spec is None or draft.over:
        return draft
    patience = timedelta(seconds=spec.node_unreachable_seconds)
    for pod in observed.pods:
        if not pod.live or pod.leave_by is None:
            continue
        if observed.now >= pod.leave_by + patience:
            draft = _without(draft, pod).waking_at(observed.now + _MARGIN)
        else:
            draft = draft.waking_at(pod.leave_by + patience)
            if observed.now < pod.leave_by + _MARGIN:
                draft = draft.waking_at(pod.leave_by + _MARGIN)
    return draft


def is_overdue(observed: Observed, pod: PodView) -> bool:
    """Says whether the pod should have been gone by now."""
    return pod.leave_by is not None and observed.now >= pod.leave_by + _MARGIN


def _without(draft: Draft, pod: PodView) -> Draft:
    actions = list(draft.actions)
    job = draft.job
    if job and job.uid == pod.owner_uid and not job.deleting and DeleteJob(job=job) not in actions:
        actions.append(DeleteJob(job=job))
    return replace(draft, actions=(*actions, DeletePod(pod=pod)))
