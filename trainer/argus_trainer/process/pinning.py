"""What is decided once for a run, made from its data: plan and statistics. Needs no torch.

The same code for a pod that only plans, on a CPU, and for one that plans before it trains.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from argus_contract.data_spec import OnChange
from argus_contract.launch import Launch
from argus_contract.plan import Plan, Statistics
from argus_contract.status import DataStatus
from argus_trainer.bundle.publish import reserve_name
from argus_trainer.checkpoints.repins import Repins
from argus_trainer.data.fetch import Fetcher
from argus_trainer.data.memory import SurveyShares
from argus_trainer.data.plan import make_plan
from argus_trainer.data.record_cache import RecordCache
from argus_trainer.data.statistics import make_statistics
from argus_trainer.data.targets import check_targets
from argus_trainer.errors import ObjectChanged
from argus_trainer.process.heard import Heard
from argus_trainer.process.surroundings import Surroundings, nothing
from argus_trainer.storage.open import open_source, open_store
from argus_trainer.storage.store import Store
from argus_trainer.wording import counted


class Pinning:
    """Reads the data of one run."""

    def __init__(
        self, launch: Launch, surroundings: Surroundings, beat: Callable[[], None] = nothing
    ) -> None:
        """`beat` is called for each object that is read on the way to plan and statistics."""
        self._launch = launch
        self._surroundings = surroundings
        stopping = surroundings.stop.requested
        self.data = open_source(launch.data.uri, launch.storage, stopping=stopping)
        self._heard = Heard(self.data, beat)

    def draft(self) -> Plan:
        """Returns a plan without a bundle's name, whose targets the data has. Writes nothing."""
        self._surroundings.say(f"[DATA] Planning from {self.data.uri}")
        now = self._surroundings.clock()
        plan = make_plan(self._heard, self._launch, created_at=now, bundle_name="")
        check_targets(self._heard, plan, self._launch)
        return plan

    def named(self, draft: Plan, output: Store) -> Plan:
        """Returns it with a name that no other run has."""
        name = reserve_name(output, self._launch.run_key, draft.created_at)
        return draft.model_copy(update={"bundle_name": name})

    def statistics(
        self,
        plan: Plan,
        *,
        budget: int | None,
        training_budget: int | None,
        pins: Repins | None,
    ) -> Statistics:
        """Reads all of training and validation, within `budget` bytes; None: no limit.

        Raises ConfigurationError where the training shows to take more than `training_budget`.
        `pins`: what counts instead of objects that changed after the plan; None: nothing does.
        """
        chunks = counted(len(plan.objects), "chunk")
        self._surroundings.say(f"[DATA] Reading {chunks} for statistics")
        launch, stop = self._launch, self._surroundings.stop
        shared = open_store(launch.checkpoint.uri, launch.storage, stopping=stop.overdue)
        shares = SurveyShares.of(plan, budget)
        cache = RecordCache(
            shared,
            launch.data,
            launch.model,
            say=self._surroundings.say,
            most_bytes=shares.record_bytes,
        )
        with Fetcher(
            self._heard, max_bytes=shares.fetch_bytes, slice_bytes=shares.slice_bytes, pins=pins
        ) as fetcher:
            return make_statistics(
                fetcher,
                plan,
                launch.data,
                launch.model,
                launch.training,
                cache=cache,
                decode_bytes=shares.decode_bytes,
                training_budget=training_budget,
                check=stop.check,
            )

    def pins(self, run_store: Store) -> Repins | None:
        """Returns the objects that the run takes as they are since they changed."""
        if self._launch.data.on_change is not OnChange.REPIN:
            return None
        pins = Repins(run_store, self._surroundings.say)
        if pins.reason:
            self._surroundings.say(f"[DATA] This run is not exact: {pins.reason}")
        return pins


@contextmanager
def way_out_before_training(run_store: Store) -> Iterator[None]:
    """Says how a run goes on whose data changed after its plan and before its first step."""
    try:
        yield
    except ObjectChanged as error:
        raise ObjectChanged(
            f"{error}; nothing is trained yet: to plan anew with the data of now, delete "
            f"{run_store.uri}/ and start the run again"
        ) from error


def data_status(plan: Plan, statistics: Statistics) -> DataStatus:
    """Returns what people are told of the data."""
    files = plan.files()
    return DataStatus(
        window_start=plan.window.start,
        window_end=plan.window.end,
        files=len(files),
        bytes=sum(entry.size for entry in files),
        rows=statistics.rows,
        servers=len(statistics.servers),
        manifest_digest=plan.manifest_digest,
    )
