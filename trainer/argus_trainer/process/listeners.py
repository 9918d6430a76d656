"""Several listeners to one loop."""

from argus_contract.ledger import StepManifest
from argus_trainer.training.events import EpochDone, Listener, StepDone
from argus_trainer.training.state import TrainingState


class Listeners:
    """Tells each of them, in the order given."""

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = listeners

    def untrained(self, state: TrainingState) -> None:
        for listener in self._listeners:
            listener.untrained(state)

    def epoch_started(self, epoch: int) -> None:
        for listener in self._listeners:
            listener.epoch_started(epoch)

    def step_done(self, event: StepDone) -> None:
        for listener in self._listeners:
            listener.step_done(event)

    def epoch_done(self, event: EpochDone) -> None:
        for listener in self._listeners:
            listener.epoch_done(event)

    def saved(self, manifest: StepManifest) -> None:
        for listener in self._listeners:
            listener.saved(manifest)
