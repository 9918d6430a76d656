"""Why does the run not start? The answer goes into `status.pending` in the original words.

Nothing here ends a run but an image name that no registry can ever serve: a Secret, a
ConfigMap or a quota may come later, and is waited for.
"""

from dataclasses import replace

from argus_contract.status import Pending, PendingSource, Phase
from argus_operator.decision import Draft
from argus_operator.observed import Observed
from argus_operator.policies.ledger import report_of
from argus_operator.policies.validation import VALIDATING
from argus_operator.views import Hindrance, PodView

INVALID_IMAGE_NAME = "InvalidImageName"
_BACK_OFF = "ImagePullBackOff"
_IMAGE = frozenset(
    {
        "ErrImagePull",
        _BACK_OFF,
        "ErrImageNeverPull",
        "ImageInspectError",
        "RegistryUnavailable",
        "SignatureValidationFailed",
    }
)
_QUOTA = ("exceeded quota", "failed quota", "insufficient quota", "for quota:")
"""In what the API server's admission by ResourceQuota says; a name has no blanks."""
ORDINARY = frozenset({"ContainerCreating", "PodInitializing", "Unknown"})


def explain(observed: Observed, draft: Draft) -> Draft:
    if not draft.accepted or draft.over or draft.halted:
        return draft
    pod = current_pod(observed, draft)
    if pod and pod.waiting and pod.waiting.reason == INVALID_IMAGE_NAME:
        image = draft.status.resolved.image if draft.status.resolved else ""
        return (
            replace(draft, over=True)
            .saying(
                Phase.FAILED,
                INVALID_IMAGE_NAME,
                f"{pod.waiting.message}. Image {image!r} is no name that a registry can serve: "
                "create the run again with another spec.image.",
            )
            .with_status(completion_time=observed.now)
        )
    found = _find(observed, draft, pod)
    if found is None:
        return draft
    source, hindrance = found
    before = observed.run.status.pending
    if before and before.source is source:
        # Back-off and error take turns; the error's is the telling text.
        reason = observed.run.status.reason
        if hindrance.reason == _BACK_OFF and reason and reason in _IMAGE - {_BACK_OFF}:
            hindrance = Hindrance(reason=reason, message=before.message)
        since = before.since
    else:
        since = observed.now
    message = hindrance.message[:4096] or hindrance.reason
    return draft.with_status(
        pending=Pending(source=source, message=message, since=since),
        reason=hindrance.reason[:128],
        message=message,
    )


def current_pod(observed: Observed, draft: Draft) -> PodView | None:
    """Returns the newest pod of the Job that runs or may still start."""
    job = draft.job
    live = [pod for pod in observed.pods if pod.live and job and pod.owner_uid == job.uid]
    return live[-1] if live else None


def _find(
    observed: Observed, draft: Draft, pod: PodView | None
) -> tuple[PendingSource, Hindrance] | None:
    if observed.refusal:
        return _refusal(observed.refusal.hindrance)
    if draft.job and draft.job.suspended:
        queue = draft.status.resolved.queue if draft.status.resolved else None
        message = draft.job.suspended_message or f"Waiting for admission by queue {queue or ''!r}."
        unsaid = Hindrance(reason="Suspended", message=message)
        return PendingSource.KUEUE, observed.queued or unsaid
    warning = observed.warnings[0] if observed.warnings else None
    if pod is None:
        return _refusal(warning) if warning else None
    if pod.running:
        return (PendingSource.DATA, _reading(observed, pod)) if pod.planning else None
    if pod.unschedulable and pod.node is None:
        return PendingSource.SCHEDULER, pod.unschedulable
    if pod.waiting and pod.waiting.reason in _IMAGE:
        return PendingSource.IMAGE, pod.waiting
    if pod.waiting and pod.waiting.reason not in ORDINARY:
        return PendingSource.POD, pod.waiting
    return (PendingSource.POD, warning) if warning else None


def _reading(observed: Observed, pod: PodView) -> Hindrance:
    report = report_of(observed, pod)
    said = f" {report.message}" if report and report.message else ""
    message = f"Pod {pod.name} on {pod.node} reads and judges the data.{said}"
    return Hindrance(reason=VALIDATING, message=message)


def _refusal(hindrance: Hindrance) -> tuple[PendingSource, Hindrance]:
    is_quota = any(words in hindrance.message.lower() for words in _QUOTA)
    return (PendingSource.QUOTA if is_quota else PendingSource.POD), hindrance
