"""Decides what a run needs now. Pure: the same picture gives the same decision.

The policies are asked in this order; each builds on the answers before it.
"""

from collections.abc import Callable

from argus_contract.status import ArgusTrainingJobStatus
from argus_operator.configuration import Configuration
from argus_operator.decision import Decision, Draft
from argus_operator.observed import Observed
from argus_operator.policies.acceptance import accept
from argus_operator.policies.child import create_job, find_job
from argus_operator.policies.columns import columns
from argus_operator.policies.conditions import conditions
from argus_operator.policies.deadlines import expire
from argus_operator.policies.disruption_budget import limit
from argus_operator.policies.ending import settle
from argus_operator.policies.headline import headline
from argus_operator.policies.latch import has_ended, tidy
from argus_operator.policies.ledger import follow
from argus_operator.policies.news import news
from argus_operator.policies.planning import validate
from argus_operator.policies.suspension import suspend
from argus_operator.policies.unreachable import abandon
from argus_operator.policies.usage import account
from argus_operator.policies.waiting import explain
from argus_operator.policies.wake import wake

Policy = Callable[[Observed, Draft], Draft]

POLICIES: tuple[Policy, ...] = (
    accept,
    find_job,
    follow,
    validate,
    settle,
    suspend,
    expire,
    limit,
    abandon,
    create_job,
    explain,
    headline,
    account,
    conditions,
    columns,
    wake,
)


def decide(observed: Observed, configuration: Configuration) -> Decision:
    """Returns actions, the whole status, what to tell, and when to look again."""
    run = observed.run
    if run.deleting:
        return Decision(actions=(), status=run.status, news=(), wake_at=None)
    if has_ended(observed):
        return tidy(observed)
    draft = Draft(configuration=configuration, status=run.status)
    for policy in POLICIES:
        draft = policy(observed, draft)
    # Validated once at the end: model_copy checks nothing.
    status = ArgusTrainingJobStatus.model_validate(draft.status.model_dump())
    return Decision(
        actions=draft.actions,
        status=status,
        news=news(run.status, status),
        wake_at=draft.wake_at,
    )
