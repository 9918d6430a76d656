"""Which Job is this run at now, and must one be made?

First one that plans, if the data is to be judged, then one that trains: exactly one per
generation. A Job that vanished while the run lives is replaced by the next generation, but only
when its pods are gone too: two trainers would fight over the GPU, although their claims keep
them from harming the run.
"""

from dataclasses import replace

from argus_contract.run_key import job_name, plans
from argus_contract.status import ArgusTrainingJobStatus
from argus_operator.decision import Action, CreateJob, Draft, ProveJob
from argus_operator.observed import Observed
from argus_operator.policies.validation import must_plan


def find_job(observed: Observed, draft: Draft) -> Draft:
    """Puts the Job of the newest generation into the draft."""
    if not draft.accepted:
        return draft
    jobs = observed.plannings if must_plan(observed) else observed.trainings
    if not jobs:
        return draft
    return replace(draft, job=jobs[-1]).with_status(job_name=jobs[-1].name)


def create_job(observed: Observed, draft: Draft) -> Draft:
    """Asks for the next Job if there is none and nothing is in its way."""
    if not draft.accepted or draft.over or draft.halted or draft.job or observed.refusal:
        return draft
    if any(pod.live for pod in observed.pods):
        return draft
    training = next_job(observed, draft)
    if training is None:
        return draft
    actions: list[Action] = [training]
    if not draft.validated:
        # An hour of planning is no time to find out that no trainer can be made of the spec.
        name = _next_name(observed, draft.status, training.run_key, planning=True)
        actions = [ProveJob(job=training), replace(training, name=name, planning=True)]
    return replace(draft, actions=(*draft.actions, *actions))


def next_job(observed: Observed, draft: Draft) -> CreateJob | None:
    """Returns the training Job of the next generation; None if the spec cannot be read."""
    run, status = observed.run, draft.status
    if run.spec is None or status.resolved is None or status.run_key is None:
        return None
    return CreateJob(
        name=_next_name(observed, status, status.run_key, planning=False),
        spec=run.spec,
        resolved=status.resolved,
        run_key=status.run_key,
    )


def _next_name(
    observed: Observed, status: ArgusTrainingJobStatus, key: str, *, planning: bool
) -> str:
    """Returns the name of the generation after the last one of this kind."""
    last = status.job_name
    number = last.rpartition("-")[2] if last and plans(last) is planning else "0"
    generation = int(number) + 1 if number.isdigit() else 1
    return job_name(observed.run.key.name, key, generation, planning=planning)
