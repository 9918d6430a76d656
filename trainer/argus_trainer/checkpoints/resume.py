"""What an attempt goes on from: `checkpoint.resumePolicy`. Needs no torch.

    Auto      the newest valid state, else the beginning
    Never     the beginning, at every start; older states are left where they are
    Require   the newest valid state, else exit 78

The rule for what follows is always the same: the valid state with the highest (claim, step) is
the state of the run. So states that a `Never` attempt saves win over all older ones, whatever
their step, and one that ends before its first save changes nothing: a later attempt under Auto
(a person's next command; in a cluster the policy is fixed) finds what there was before. A final
state is no question of the policy: the training is over, and what is left is to publish it.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from argus_contract import layout
from argus_contract.layout import StepId
from argus_contract.spec import ResumePolicy
from argus_trainer.errors import ConfigurationError
from argus_trainer.storage.store import Store

if TYPE_CHECKING:
    from argus_trainer.checkpoints.state import LoadedState
    from argus_trainer.checkpoints.steps import Steps

WAY_OUT = "restore the states, or use checkpoint.resumePolicy Auto, which begins when there is none"


def refuse_without_state(store: Store, policy: ResumePolicy) -> None:
    """Refuses `Require` for a run without any state, before hours of planning.

    Raises ConfigurationError.
    """
    if policy is not ResumePolicy.REQUIRE:
        return
    if store.list_objects(layout.FINAL):
        return
    if not any(StepId.from_manifest(entry.key) for entry in store.list_objects(layout.STEPS)):
        raise ConfigurationError(
            f"checkpoint.resumePolicy is Require and {store.uri}/{layout.STEPS} holds no state to "
            f"go on from: {WAY_OUT}"
        )


def state_to_resume(
    steps: "Steps", policy: ResumePolicy, say: Callable[[str], None]
) -> "LoadedState | None":
    """Returns the state that this attempt goes on from, None for the beginning.

    `say` is told of states that are passed over. Raises ConfigurationError under `Require` when
    there is none, and what `Steps.newest` raises.
    """
    if policy is ResumePolicy.NEVER:
        say("[CHECKPOINT] Saved states are left aside: checkpoint.resumePolicy is Never")
        return None
    reasons: list[str] = []
    loaded = steps.newest(reasons.append)
    for reason in reasons:
        say(f"[CHECKPOINT] Passed over: {reason}")
    if loaded is None and policy is ResumePolicy.REQUIRE:
        raise ConfigurationError(
            "checkpoint.resumePolicy is Require and no saved state is valid"
            f"{f' ({reasons[0]})' if reasons else ''}: {WAY_OUT}"
        )
    if loaded is None and reasons:
        say("[CHECKPOINT] No saved state is valid: training begins anew")
    return loaded
