"""Which Job runs this run now, and must one be made?

Exactly one Job per generation. A Job that vanished while the run lives is replaced by
the next generation, but only when its pods are gone too: two trainers would fight over
the GPU, although their claims keep them from harming the run.
"""

from dataclasses import replace

from argus_contract.run_key import job_name
from argus_operator.decision import CreateJob, Draft
from argus_operator.observed import Observed


def find_job(observed: Observed, draft: Draft) -> Draft:
    """Puts the Job of the newest generation into the draft."""
    if not draft.accepted or not observed.jobs:
        return draft
    job = observed.jobs[-1]
    return replace(draft, job=job).with_status(job_name=job.name)


def create_job(observed: Observed, draft: Draft) -> Draft:
    """Asks for the next Job if there is none and nothing is in its way."""
    if not draft.accepted or draft.over or draft.halted or draft.job or observed.refusal:
        return draft
    if any(pod.live for pod in observed.pods):
        return draft
    job = next_job(observed, draft)
    return replace(draft, actions=(*draft.actions, job)) if job else draft


def next_job(observed: Observed, draft: Draft) -> CreateJob | None:
    """Returns the Job of the next generation; None if the spec cannot be read."""
    run, status = observed.run, draft.status
    if run.spec is None or status.resolved is None or status.run_key is None:
        return None
    last = status.job_name.rpartition("-")[2] if status.job_name else "0"
    generation = int(last) + 1 if last.isdigit() else 1
    return CreateJob(
        name=job_name(run.key.name, status.run_key, generation),
        spec=run.spec,
        resolved=status.resolved,
        run_key=status.run_key,
    )
