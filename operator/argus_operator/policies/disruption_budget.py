"""Has the run been disrupted too often? `maxDisruptions`, and five in a row for nothing.

Disruptions cost no retry, so that a run on cheap nodes can go on for weeks; but one that
never gets as far as a durable state would burn nodes for ever.
"""

from argus_contract.status import DISRUPTIVE
from argus_operator.decision import Draft
from argus_operator.observed import Observed
from argus_operator.policies.halt import halt_for_good, is_finishing
from argus_operator.policies.suspension import resumed_at

MAX_FRUITLESS = 5
TOO_MANY = "TooManyDisruptions"
FRUITLESS = "DisruptedWithoutProgress"


def limit(observed: Observed, draft: Draft) -> Draft:
    """Stops a run whose budget is spent."""
    spec, disruptions = observed.run.spec, draft.status.disruptions
    if not draft.accepted or draft.over or draft.halted or spec is None or disruptions is None:
        return draft
    if is_finishing(observed, draft):
        return draft
    last = f" The last one: {disruptions.last_reason}." if disruptions.last_reason else ""
    if disruptions.count > spec.max_disruptions:
        message = (
            f"The run was disrupted {disruptions.count} times, and spec.maxDisruptions is "
            f"{spec.max_disruptions}.{last} Its last state is kept: made again with the same name "
            "and more, it goes on from there."
        )
        return halt_for_good(observed, draft, TOO_MANY, message)
    if _is_fruitless(observed, draft):
        message = (
            f"The last {MAX_FRUITLESS} attempts were disrupted before they had saved anything."
            f"{last} Save more often (spec.checkpoint.periodSeconds) or use calmer nodes "
            "(spec.scheduling), and make the ArgusTrainingJob again."
        )
        return halt_for_good(observed, draft, FRUITLESS, message)
    return draft


def _is_fruitless(observed: Observed, draft: Draft) -> bool:
    """Says whether the newest attempts since the run last stood still left no durable step.

    Those of an earlier resource of the same name are in the bucket's ledger, but they say nothing
    of this one: it may save more often, or run elsewhere.
    """
    since = resumed_at(observed) or observed.run.created
    attempts = [attempt for attempt in draft.status.attempts if attempt.start > since]
    streak = [attempt for attempt in attempts if attempt.end_reason][-MAX_FRUITLESS:]
    if len(streak) < MAX_FRUITLESS or any(a.end_reason not in DISRUPTIVE for a in streak):
        return False
    steps = [a.start_step for a in attempts] + [a.end_step or 0 for a in streak]
    checkpoint = draft.status.checkpoint
    furthest = max([*steps, checkpoint.step if checkpoint else 0])
    return furthest <= streak[0].start_step
