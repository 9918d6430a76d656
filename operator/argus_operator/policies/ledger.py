"""What has the trainer said, and what did its pods show?

The ledger in the bucket, as the newest report carries it, is the truth about attempts
and disruptions. The operator adds only what it saw itself: the end of a pod that no
ledger has yet. Deciding twice from the same facts counts nothing twice, because
attempts and totals are always taken together from one source: a report, or the status.
"""

from collections.abc import Iterator

from argus_contract.exit_codes import ExitCode
from argus_contract.progress import ProgressReport
from argus_contract.status import (
    DISRUPTIVE,
    ArgusTrainingJobStatus,
    Attempt,
    Disruptions,
    EndReason,
)
from argus_operator.decision import Draft
from argus_operator.observed import Observed
from argus_operator.views import PodView

MAX_ATTEMPTS = 10
NO_DISRUPTIONS = Disruptions(count=0, lost_seconds=0, lost_gpu_seconds=0)

_REASON_OF_EXIT_CODE = {
    ExitCode.OK: EndReason.COMPLETED,
    ExitCode.USAGE: EndReason.CONFIGURATION,
    ExitCode.DATA: EndReason.DATA,
    ExitCode.DIVERGED: EndReason.DIVERGED,
    ExitCode.STUCK: EndReason.STUCK,
    ExitCode.STORAGE_UNAVAILABLE: EndReason.STORAGE_UNAVAILABLE,
    ExitCode.PREEMPTED: EndReason.PREEMPTED,
    ExitCode.STORAGE_DENIED: EndReason.STORAGE_DENIED,
    ExitCode.CONFIGURATION: EndReason.CONFIGURATION,
}


_GUESSED = frozenset({None, EndReason.LOST, EndReason.CRASHED})
"""What an attempt came to that nobody was told of."""


def follow(observed: Observed, draft: Draft) -> Draft:
    if not draft.accepted:
        return draft
    status = draft.status
    report = newest_report(observed, status)
    if report is not None:
        status = status.model_copy(
            update={
                "progress": report.progress or status.progress,
                "metrics": report.metrics or status.metrics,
                "checkpoint": report.checkpoint or status.checkpoint,
                "data": report.data or status.data,
                "artifact": report.artifact or status.artifact,
                "lineage": report.lineage or status.lineage,
            }
        )
    attempts, disruptions = _merge(observed, status, report)
    started = [pod.started for pod in observed.trainers if pod.started]
    digests = [pod.image_digest for pod in observed.trainers if pod.image_digest]
    return draft.with_status(
        **{name: getattr(status, name) for name in ("progress", "metrics", "checkpoint")},
        data=status.data,
        artifact=status.artifact,
        lineage=status.lineage,
        attempts=attempts[-MAX_ATTEMPTS:],
        disruptions=disruptions,
        start_time=status.start_time or min(started, default=None),
        image_digest=digests[-1] if digests else status.image_digest,
    )


def newest_report(observed: Observed, status: ArgusTrainingJobStatus) -> ProgressReport | None:
    """Returns the newest word of any trainer of this run that the status does not outrun.

    Before there is a trainer it is that of a planner: of the data, or of a bundle that it found.
    """
    for pod in (*reversed(observed.trainers), *reversed(observed.planners)):
        report = report_of(observed, pod)
        if report is None or report.run_key != status.run_key:
            continue
        # Clocks of nodes differ: what started later is newer only if no claim says otherwise.
        newer_attempts = (
            a
            for a in status.attempts
            if a.pod != pod.name
            and a.start > (pod.started or a.start)
            and (report.claim is None or a.number > report.claim)
        )
        return None if any(newer_attempts) else report
    return None


def report_of(observed: Observed, pod: PodView) -> ProgressReport | None:
    """Returns the last words of a pod, or its newest report.

    Last words are cut to 4 KiB: what they leave out is filled from the report before.
    """
    poll = observed.polls.get(pod.uid)
    polled = poll.report if poll else None
    last = pod.exit.report if pod.exit else None
    if last is None or polled is None or last.run_key != polled.run_key:
        return last or polled
    gaps = {
        "attempts": _joined(polled.attempts, last.attempts),
        "metrics": last.metrics or polled.metrics,
        "checkpoint": last.checkpoint or polled.checkpoint,
        "data": last.data or polled.data,
        "lineage": last.lineage or polled.lineage,
    }
    return last.model_copy(update=gaps)


def end_reason(pod: PodView) -> EndReason:
    """Returns why the trainer in this pod ended: its own word, or what the exit code says."""
    if pod.exit is None:
        return EndReason.LOST if pod.disruption or pod.gone else EndReason.CRASHED
    if pod.exit.report and pod.exit.report.end_reason:
        return pod.exit.report.end_reason
    if pod.exit.reason == "OOMKilled":
        return EndReason.OOM_KILLED
    known = _REASON_OF_EXIT_CODE.get(pod.exit.code)  # type: ignore[call-overload]
    if known:
        return EndReason(known)
    return EndReason.LOST if pod.disruption else EndReason.CRASHED


def last_message(pod: PodView) -> str | None:
    """Returns the trainer's own words at its end, or what Kubernetes says of it."""
    if pod.exit is None:
        return f"{pod.pod_reason}: {pod.pod_message}" if pod.pod_message else pod.pod_reason
    if pod.exit.report and pod.exit.report.message:
        return pod.exit.report.message
    if pod.exit.message:
        return pod.exit.message.strip()[-1024:]
    if pod.exit.reason not in (None, "Error", "Completed"):
        return pod.exit.reason
    return None


def _merge(
    observed: Observed, status: ArgusTrainingJobStatus, report: ProgressReport | None
) -> tuple[tuple[Attempt, ...], Disruptions]:
    if report is not None and report.attempts and report.disruptions is not None:
        attempts = list(_joined(status.attempts, report.attempts))
        disruptions = report.disruptions
    else:
        attempts, disruptions = list(status.attempts), status.disruptions or NO_DISRUPTIONS
    closed: list[Attempt] = []
    for seen in _seen(observed, status):
        place = next((i for i, attempt in enumerate(attempts) if attempt.pod == seen.pod), None)
        if place is not None and attempts[place].end_reason is EndReason.LOST:
            attempts[place] = attempts[place].model_copy(update=_end_of(seen))
            if seen.end_reason not in DISRUPTIVE:
                disruptions = _with_one_less(disruptions)
    for pod in observed.trainers:
        if pod.exit is None or pod.started is None:
            continue
        place = next((i for i, attempt in enumerate(attempts) if attempt.pod == pod.name), None)
        if place is not None:
            known = attempts[place]
            attempts[place] = _completed(known, pod)
            if known.end_reason is None:
                closed.append(attempts[place])
        elif not attempts or pod.started >= attempts[-1].start:
            number = attempts[-1].number + 1 if attempts else 1
            unclaimed = Attempt(number=number, pod=pod.name, start=pod.started)
            attempts.append(_completed(unclaimed, pod))
            closed.append(attempts[-1])
    for attempt in closed:
        if attempt.end_reason in DISRUPTIVE:
            disruptions = _with_one_more(disruptions, attempt)
    return tuple(attempts), disruptions


def _joined(known: tuple[Attempt, ...], told: tuple[Attempt, ...]) -> tuple[Attempt, ...]:
    """Returns what was told, and before it what was known: last words are cut from the front."""
    if not told:
        return known
    return (*(attempt for attempt in known if attempt.number < told[0].number), *told)


def _seen(observed: Observed, status: ArgusTrainingJobStatus) -> Iterator[Attempt]:
    """Yields attempts whose end was seen, by the operator or in their pods' own last words.

    The successor of a process that could not write to the bucket closes it as Lost.
    """
    told = {pod.name: pod for pod in observed.trainers if pod.exit and pod.exit.tells_why}
    for attempt in status.attempts:
        if attempt.pod not in told and attempt.end_reason not in _GUESSED:
            yield attempt
    for pod in told.values():
        if pod.started:
            yield _completed(Attempt(number=0, pod=pod.name, start=pod.started), pod)


def _end_of(seen: Attempt) -> dict[str, object]:
    return {name: getattr(seen, name) for name in ("end_reason", "exit_code", "message")}


def _completed(attempt: Attempt, pod: PodView) -> Attempt:
    """Fills what the ledger does not say; what it says stays."""
    exit_ = pod.exit
    message = last_message(pod)
    return attempt.model_copy(
        update={
            "node": attempt.node or pod.node,
            "end": attempt.end or (exit_.finished if exit_ else None),
            "end_reason": attempt.end_reason or end_reason(pod),
            "exit_code": attempt.exit_code
            if attempt.exit_code is not None
            else (exit_.code if exit_ else None),
            "message": attempt.message or (message[:1024] if message else None),
        }
    )


def _with_one_less(before: Disruptions) -> Disruptions:
    """A death that its own memory limit caused is no disruption, and costs a retry."""
    return before.model_copy(update={"count": max(0, before.count - 1)})


def _with_one_more(before: Disruptions, attempt: Attempt) -> Disruptions:
    return before.model_copy(
        update={
            "count": before.count + 1,
            "lost_seconds": before.lost_seconds + (attempt.lost_seconds or 0),
            "last_reason": attempt.end_reason.value if attempt.end_reason else None,
            "last_time": attempt.end or before.last_time,
        }
    )
