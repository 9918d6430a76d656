"""How is a run stopped? Its Job goes first, then its pods leave, and only then it has stopped.

Whoever stops a run (suspension, a deadline, a budget) says why at every look, so that it may
be interrupted anywhere: as long as the reason holds, nothing new is made.
"""

from dataclasses import replace

from argus_contract.status import Phase
from argus_operator.decision import DeleteJob, Draft
from argus_operator.observed import Observed


def halt(observed: Observed, draft: Draft) -> tuple[Draft, str | None]:
    """Returns a draft in which nothing may run, and who is still leaving."""
    draft = replace(draft, halted=True)
    if draft.job and not draft.job.deleting:
        draft = replace(draft, actions=(*draft.actions, DeleteJob(job=draft.job)))
    leaving = [pod for pod in observed.pods if pod.live]
    if leaving:
        manner = "saves and leaves" if leaving[-1].running else "leaves"
        return draft, f"Pod {leaving[-1].name} {manner}."
    return draft, f"Job {draft.job.name} leaves." if draft.job else None


def is_finishing(observed: Observed, draft: Draft) -> bool:
    """Says whether a trainer has ended well and the Job's own word is a moment away.

    Its model is published: nothing is left that could be stopped.
    """
    job = draft.job
    if job is None or job.deleting or job.end:
        return False
    own = (pod for pod in observed.trainers if pod.owner_uid == job.uid)
    return any(pod.exit is not None and pod.exit.code == 0 for pod in own)


def halt_for_good(observed: Observed, draft: Draft, reason: str, message: str) -> Draft:
    """Stops the run and, once all have left and said what they had to say, fails it."""
    draft, leaving = halt(observed, draft)
    if leaving:
        return draft.saying(draft.status.phase or Phase.PENDING, reason, f"{message} {leaving}")
    return (
        replace(draft, over=True)
        .with_status(completion_time=observed.now, pending=None)
        .saying(Phase.FAILED, reason, message)
    )
