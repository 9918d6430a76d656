"""Which one word, and which sentence, tell a person how the run is?

Preempted lasts until the successor's container runs. Silence of a trainer is never
called stalled: its own watchdog ends it, and until then its progress is unknown.
"""

from datetime import timedelta

from argus_contract.progress import TrainerPhase
from argus_contract.status import DISRUPTIVE, Attempt, EndReason, PendingSource, Phase
from argus_operator.decision import Draft
from argus_operator.observed import Observed
from argus_operator.policies.ledger import end_reason, last_message, report_of
from argus_operator.policies.suspension import resumed_at
from argus_operator.policies.unreachable import NODE_UNREACHABLE, is_overdue
from argus_operator.policies.validation import last_planner
from argus_operator.policies.waiting import current_pod
from argus_operator.views import PodView

PROGRESS_UNKNOWN = "ProgressUnknown"
QUIET_START = timedelta(seconds=60)
"""A trainer that says nothing for this long after its start is called Running anyway."""
UNKNOWN_AFTER = 3
"""Looks in a row that failed, after which an old report tells nothing of now."""


def headline(observed: Observed, draft: Draft) -> Draft:
    if not draft.accepted or draft.over or draft.halted:
        return draft
    pod = current_pod(observed, draft)
    planning = draft.job is not None and draft.job.planning
    if pod is None:
        return _without_planner(observed, draft) if planning else _without_pod(observed, draft)
    interrupted = Phase.VALIDATING if planning else Phase.PREEMPTED
    if pod.leave_by and is_overdue(observed, pod):
        return draft.saying(
            interrupted,
            NODE_UNREACHABLE,
            f"Pod {pod.name} should have been gone at {pod.leave_by:%Y-%m-%dT%H:%M:%SZ}: node "
            f"{pod.node} does not answer. A new pod will go on after "
            "spec.nodeUnreachableSeconds.",
        )
    if pod.deleting or pod.disruption:
        why = pod.disruption.message if pod.disruption else "it is being deleted"
        reason = pod.disruption.reason if pod.disruption else "PodDeleted"
        return draft.saying(
            interrupted, reason, f"Pod {pod.name} must leave: {why}. A new pod will go on."
        )
    if planning:
        phase = Phase.VALIDATING if pod.running else Phase.PENDING
        return _unless_pending(draft, phase, "PodStarting", f"Pod {pod.name} starts, to plan.")
    if not pod.running:
        return _starting(observed, draft, pod)
    return _running(observed, draft, pod)


def _since_it_last_stood_still(observed: Observed, draft: Draft) -> tuple[bool, Attempt | None]:
    """Returns whether a trainer has run since then, and the newest attempt since then."""
    status = draft.status
    last = status.attempts[-1] if status.attempts else None
    resumed = resumed_at(observed)
    if resumed is None:
        return status.start_time is not None, last
    if last and (last.end or last.start) > resumed:
        return True, last
    return False, None


def _without_pod(observed: Observed, draft: Draft) -> Draft:
    job = draft.job
    newest = next((p for p in reversed(observed.pods) if job and p.owner_uid == job.uid), None)
    if newest and newest.phase == "Failed" and newest.exit is None and newest.pod_reason:
        sentence = f"Pod {newest.name} was refused by node {newest.node}: {last_message(newest)}."
        return _unless_pending(
            draft, Phase.PENDING, newest.pod_reason, f"{sentence} A new pod will go on."
        )
    has_run, last = _since_it_last_stood_still(observed, draft)
    if last is None and not has_run:
        if job is None and (stays := next((pod for pod in observed.pods if pod.live), None)):
            sentence = (
                f"Pod {stays.name} of Job {stays.job}, which is not this run's, still stands. A "
                "Job is made when it has left; delete that Job not to wait."
            )
            return draft.saying(Phase.PENDING, "WaitingForPredecessor", sentence)
        return _unless_pending(draft, _waiting_phase(draft), "WaitingForPod", "Waiting for a pod.")
    if last is None or last.end_reason is None:
        # It vanished without a word; its successor closes the attempt in the ledger.
        sentence = "The pod is gone. A new pod will go on."
        return _unless_pending(draft, Phase.PREEMPTED, "PodGone", sentence)
    if last.end_reason is EndReason.COMPLETED:
        return draft.saying(Phase.PUBLISHING, "Completed", "Waiting for the Job to complete.")
    if last.end_reason in DISRUPTIVE:
        sentence = f"Attempt {last.number} {_manner(last)}. A new pod will go on."
        return _unless_pending(draft, Phase.PREEMPTED, last.end_reason.value, sentence)
    sentence = f"Attempt {last.number} {_manner(last)}. It is tried again."
    return _unless_pending(draft, Phase.STARTING, last.end_reason.value, sentence)


def _without_planner(observed: Observed, draft: Draft) -> Draft:
    pod = last_planner(observed, draft.job) if draft.job else None
    if pod is None:
        return _unless_pending(draft, _waiting_phase(draft), "WaitingForPod", "Waiting for a pod.")
    reason, said = end_reason(pod), last_message(pod)
    if reason is EndReason.COMPLETED:
        return draft.saying(Phase.VALIDATING, "Completed", "Waiting for the Job to complete.")
    code = pod.exit.code if pod.exit else None
    ended = f"Planning pod {pod.name} ended with exit code {code}: {said or reason.value}."
    return _unless_pending(draft, Phase.VALIDATING, reason.value, f"{ended} A new pod will go on.")


def _manner(attempt: Attempt) -> str:
    code = "" if attempt.exit_code is None else f" with exit code {attempt.exit_code}"
    said = f" ({attempt.message})" if attempt.message else ""
    reason = attempt.end_reason.value if attempt.end_reason else "unknown"
    return f"ended{code}: {reason}{said}"


def _starting(observed: Observed, draft: Draft, pod: PodView) -> Draft:
    phase = Phase.STARTING if pod.node else Phase.PENDING
    has_run, last = _since_it_last_stood_still(observed, draft)
    reason = last.end_reason if last else None
    if has_run and (reason is None or reason in DISRUPTIVE):
        phase = Phase.PREEMPTED
    where = f" on {pod.node}" if pod.node else ""
    return _unless_pending(draft, phase, "PodStarting", f"Pod {pod.name} starts{where}.")


def _running(observed: Observed, draft: Draft, pod: PodView) -> Draft:
    report = report_of(observed, pod)
    poll = observed.polls.get(pod.uid)
    number = report.claim if report and report.claim else None
    who = f"Attempt {number} on {pod.node}" if number else f"Pod {pod.name} on {pod.node}"
    if report is None and pod.started and observed.now - pod.started < QUIET_START:
        return draft.saying(Phase.STARTING, "TrainerStarting", f"{who} starts its trainer.")
    if report is None or (poll and poll.failures >= UNKNOWN_AFTER):
        why = poll.failure if poll and poll.failure else "it was not asked yet"
        return draft.saying(
            Phase.RUNNING, PROGRESS_UNKNOWN, f"{who} runs; its progress is unknown: {why}."
        )
    said = f" {report.message}" if report.message else ""
    match report.phase:
        case TrainerPhase.STARTING:
            return draft.saying(Phase.STARTING, "TrainerStarting", f"{who} starts.{said}")
        case TrainerPhase.PLANNING:
            return draft.saying(Phase.STARTING, "Planning", f"{who} reads the data.{said}")
        case TrainerPhase.TRAINING:
            return draft.saying(Phase.RUNNING, "Training", f"{who} trains.{said}")
        case TrainerPhase.PUBLISHING | TrainerPhase.ENDED:
            return draft.saying(Phase.PUBLISHING, "Publishing", f"{who} publishes.{said}")


def _waiting_phase(draft: Draft) -> Phase:
    pending = draft.status.pending
    return Phase.QUEUED if pending and pending.source is PendingSource.KUEUE else Phase.PENDING


def _unless_pending(draft: Draft, phase: Phase, reason: str, message: str) -> Draft:
    """What something waits for is the better headline."""
    status = draft.status
    if status.pending:
        return draft.saying(phase, status.reason or reason, status.pending.message)
    return draft.saying(phase, reason, message)
