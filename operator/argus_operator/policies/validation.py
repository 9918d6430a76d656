"""Is the data known to be what the run wants? Before that no GPU is asked for.

`data.validation` Warn and Enforce: a Job on a CPU makes plan and statistics and judges them. Its
verdict comes in the last words of its pod and stays in the condition DataValidated: from then on
no Job of this run plans again. With Off the trainer plans by itself.
"""

from dataclasses import dataclass

from argus_contract.data_spec import ValidationPolicy
from argus_contract.progress import ProgressReport, Validation
from argus_contract.run_key import plans
from argus_contract.status import (
    ArgusTrainingJobStatus,
    Condition,
    ConditionStatus,
    ConditionType,
    EndReason,
)
from argus_operator.observed import Observed
from argus_operator.policies.ledger import end_reason, last_message
from argus_operator.views import JobEnd, JobView, PodView

PASSED = "Passed"
BELOW_LIMITS = "BelowLimits"
VALIDATING = "Validating"
REPORT_LOST = "ReportLost"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the condition DataValidated says."""

    status: ConditionStatus
    reason: str
    message: str


def must_plan(observed: Observed) -> bool:
    """Says whether a Job must plan, or does: nothing is known of the data yet."""
    run = observed.run
    if run.spec is None or run.spec.data.validation.policy is ValidationPolicy.OFF:
        return False
    has_trained = run.status.job_name is not None and not plans(run.status.job_name)
    return not (has_trained or observed.trainings or decided(run.status))


def decided(status: ArgusTrainingJobStatus) -> Condition | None:
    """Returns the condition DataValidated if it holds a verdict."""
    return next(
        (
            condition
            for condition in status.conditions
            if condition.type is ConditionType.DATA_VALIDATED
            and condition.status is not ConditionStatus.UNKNOWN
        ),
        None,
    )


def verdict(observed: Observed) -> Verdict | None:
    """Returns what is known of the data; None where nobody was to judge it."""
    if before := decided(observed.run.status):
        return Verdict(status=before.status, reason=before.reason, message=before.message)
    spec = observed.run.spec
    if spec is None or spec.data.validation.policy is ValidationPolicy.OFF:
        return None
    job = observed.plannings[-1] if observed.plannings else None
    if job is None or job.end is None:
        lost = bool(observed.trainings)
        return Verdict(
            status=ConditionStatus.UNKNOWN, reason=REPORT_LOST if lost else VALIDATING, message=""
        )
    pod, report = last_planner(observed, job), last_words(observed, job)
    if report is not None and report.validation is not None:
        return _judgement(report.validation)
    if job.end is JobEnd.COMPLETE and report is None:
        return Verdict(
            status=ConditionStatus.TRUE,
            reason=REPORT_LOST,
            message="Plan and statistics stand; what the planning pod said of them is lost.",
        )
    if job.end is JobEnd.FAILED and pod is not None and end_reason(pod) is EndReason.DATA:
        return Verdict(
            status=ConditionStatus.FALSE,
            reason=EndReason.DATA.value,
            message=last_message(pod) or "",
        )
    return Verdict(status=ConditionStatus.UNKNOWN, reason="NotJudged", message="")


def _judgement(found: Validation) -> Verdict:
    if found.passed:
        return Verdict(status=ConditionStatus.TRUE, reason=PASSED, message=f"{found.summary}.")
    return Verdict(
        status=ConditionStatus.FALSE,
        reason=BELOW_LIMITS,
        message=f"{'; '.join(found.problems)} ({found.summary}).",
    )


def last_planner(observed: Observed, job: JobView) -> PodView | None:
    """Returns the newest pod of a planning Job whose end was seen."""
    ended = [p for p in observed.planners if p.owner_uid == job.uid and p.exit is not None]
    return ended[-1] if ended else None


def last_words(observed: Observed, job: JobView) -> ProgressReport | None:
    """Returns what that pod said at its end."""
    pod = last_planner(observed, job)
    return pod.exit.report if pod and pod.exit else None
