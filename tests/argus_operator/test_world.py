"""The whole reconcile in a small world: seen late, twice or never, the end is true.

Everything is the operator's own but the API server (objects in memory, with versions, uids
and conflicts), the Job controller and the trainers. hypothesis chooses what happens and
what of it is told: watch events in any order, repeated or lost, restarts, replies that get
lost after the request took effect. In the end the status must say what the ledger says.
"""

import random
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from argus_contract.names import COMPONENT_PLANNER, LABEL_COMPONENT, LABEL_RUN_KEY
from argus_contract.progress import ProgressReport, TrainerPhase, Validation
from argus_contract.status import (
    DISRUPTIVE,
    TERMINAL_PHASES,
    ArgusTrainingJobStatus,
    Artifact,
    Attempt,
    ConditionType,
    Disruptions,
    EndReason,
    Phase,
    PublishedState,
)
from argus_operator.carry_out import Executor
from argus_operator.children import Children
from argus_operator.errors import ApiUnreachable, Conflict, api_error
from argus_operator.observe import Observer
from argus_operator.observed import Poll
from argus_operator.policies.disruption_budget import FRUITLESS, TOO_MANY
from argus_operator.policies.ending import DATA_REFUSED
from argus_operator.reading import read_status
from argus_operator.reconcile import FIRST_STATUS_SECONDS, Reconciler
from argus_operator.runs import Runs
from argus_operator.status import StatusWriter
from argus_operator.views import Exit, Hindrance, JobEnd, JobView, Listed, PodView, RunView

ARTIFACT = Artifact(uri="s3://bucket/models/x", digest="d", files=(), published=PublishedState.TRUE)
VERDICTS = {
    "Passed": Validation(summary="900 rows"),
    "BelowLimits": Validation(summary="900 rows", problems=("minRows is 1000, there are 900",)),
}
LOST_NODE = Hindrance(reason="DeletionByTaintManager", message="node is gone")


@dataclass
class World:
    """The API server, the Job controller, the trainers and their ledger."""

    run: Any
    now: datetime
    version: int = 1
    jobs: dict[str, JobView] = field(default_factory=dict)
    pods: dict[str, PodView] = field(default_factory=dict)
    events: list[tuple[bool, JobView | PodView | RunView]] = field(default_factory=list)
    """What the watches have to tell: (is there, picture)."""
    ledger: list[Attempt] = field(default_factory=list)
    step: int = 0
    durable: int = 0
    published: bool = False
    finding: str | None = None
    """What planning will find (a reason of DataValidated); None: the trainer plans."""
    enforced: bool = False
    """Data below a limit ends planning with 65."""
    plan_stands: bool = False
    num_jobs: int = 0
    run_key: str | None = None
    """What the pods of the last Job were told that they train."""
    forced: set[str] = field(default_factory=set)
    """Pods on lost nodes that were deleted by force; each stays while its Job does."""
    loses_reply: bool = False
    """The next write takes effect, and its writer never hears of it."""

    def _next(self) -> int:
        self.version += 1
        return self.version

    def _reply(self) -> None:
        if self.loses_reply:
            self.loses_reply = False
            raise ApiUnreachable("the connection broke")

    # --- the API server, as `Cluster` shows it ------------------------------------------

    async def get_run(self, key: Any) -> Any:
        return self.run

    async def get_job(self, key: Any, name: str) -> JobView | None:
        return self.jobs.get(name)

    async def list_pods_of(self, key: Any) -> tuple[PodView, ...]:
        return tuple(self.pods.values())

    async def prove_job(self, job: Any) -> None:
        # A dry run finds the name taken as well: by a Job whose maker never heard that it was made.
        if job["metadata"]["name"] in self.jobs:
            raise api_error(409, "AlreadyExists", job["metadata"]["name"])

    async def create_job(self, job: Any) -> JobView:
        name = job["metadata"]["name"]
        if name in self.jobs:
            raise api_error(409, "AlreadyExists", name)
        planning = job["metadata"]["labels"][LABEL_COMPONENT] == COMPONENT_PLANNER
        assert planning or self.plan_stands or self.finding is None, "a GPU was asked for too early"
        again = self.run.status.job_name is not None
        assert not (again and self.run.spec.suspend), "made from an old picture of what is wanted"
        self.num_jobs += 1
        self.run_key = job["metadata"]["labels"][LABEL_RUN_KEY]
        made = JobView(
            planning=planning,
            key=self.run.key,
            name=name,
            uid=f"job-{self.num_jobs}",
            resource_version=self._next(),
            owner_uid=job["metadata"]["ownerReferences"][0]["uid"],
            created=self.now,
        )
        self.set(made)
        self._reply()
        return made

    async def delete_job(self, job: JobView) -> None:
        if job.name in self.jobs and self.jobs[job.name].uid == job.uid:
            self.events.append((False, self.jobs.pop(job.name)))
            self._reply()

    async def delete_pod(self, pod: PodView) -> None:
        assert pod.leave_by is not None
        assert self.now > pod.leave_by, "its node may still answer"
        self.forced.add(pod.uid)
        self._reply()

    async def replace_status(self, run: Any, status: Any) -> str:
        if run.resource_version != self.run.resource_version:
            raise api_error(409, "Conflict", "the object has been modified")
        self.change_run(status=read_status(status))
        self._reply()
        return str(self.run.resource_version)

    def change_run(self, **changes: Any) -> None:
        self.run = replace(self.run, resource_version=str(self._next()), **changes)
        self.events.append((True, self.run))

    def set(self, child: Any, **changes: Any) -> Any:
        changed = replace(child, resource_version=self._next(), **changes)
        kept: Any = self.jobs if isinstance(changed, JobView) else self.pods
        kept[changed.name] = changed
        self.events.append((True, changed))
        return changed

    def lists(self) -> tuple[Listed, Listed]:
        return (
            Listed(kind=JobView, children=tuple(self.jobs.values()), version=self.version),
            Listed(kind=PodView, children=tuple(self.pods.values()), version=self.version),
        )

    # --- the Job controller ----------------------------------------------------------------

    def control(self) -> None:
        """One pass: ends Jobs, makes pods, removes pods whose Job is gone."""
        owners = {job.uid for job in self.jobs.values()}
        for pod in [pod for pod in self.pods.values() if pod.owner_uid not in owners]:
            if pod.deleting and pod.uid not in self.forced:
                continue
            if pod.running and not pod.deleting:
                ends = self.end_planning if pod.planning else self.end
                pod = ends(pod, 75, EndReason.PREEMPTED)
            self.events.append((False, self.pods.pop(pod.name)))
        for job in [job for job in self.jobs.values() if job.end is None]:
            own = [pod for pod in self.pods.values() if pod.owner_uid == job.uid]
            codes = [pod.exit.code for pod in own if pod.exit]
            failed = sum(pod.exit.code == 1 for pod in own if pod.exit)
            if 0 in codes:
                self.set(job, end=JobEnd.COMPLETE, ended=self.now, failed=failed)
            elif 65 in codes:
                self.set(job, end=JobEnd.FAILED, end_reason="PodFailurePolicy", ended=self.now)
            elif failed > 3:
                self.set(
                    job,
                    end=JobEnd.FAILED,
                    end_reason="BackoffLimitExceeded",
                    ended=self.now,
                    failed=failed,
                )
            elif not any(pod.live for pod in own):
                name = f"{job.name}-{len(self.ledger)}-{self.version}"
                self.set(
                    PodView(
                        key=job.key,
                        name=name,
                        uid=name,
                        resource_version=0,
                        owner_uid=job.uid,
                        job=job.name,
                        planning=job.planning,
                        created=self.now,
                        node="node-1",
                        ip="10.0.0.1",
                    )
                )

    # --- trainers ---------------------------------------------------------------------------

    def live(self) -> PodView | None:
        """Returns the pod at work, if its node answers."""
        return next((pod for pod in self.pods.values() if pod.live and not pod.deleting), None)

    def start(self, pod: PodView) -> None:
        """Claims the run; what a killed predecessor left open is closed as lost."""
        if self.ledger and self.ledger[-1].end_reason is None:
            self.close(EndReason.LOST, None)
        self.step = self.durable
        self.ledger.append(
            Attempt(
                number=len(self.ledger) + 1, pod=pod.name, start=self.now, start_step=self.durable
            )
        )
        self.set(pod, running=True, ready=True, phase="Running", started=self.now)

    def close(self, reason: EndReason, code: int | None) -> None:
        self.ledger[-1] = self.ledger[-1].model_copy(
            update={
                "end": self.now,
                "end_reason": reason,
                "exit_code": code,
                "end_step": self.durable,
            }
        )

    def end(self, pod: PodView, code: int, reason: EndReason) -> PodView:
        """The trainer sees its end, and says so in the ledger and in its last words."""
        self.close(reason, code)
        return self.leave(pod, code, self.report(TrainerPhase.ENDED))

    def end_planning(self, pod: PodView, code: int, reason: EndReason) -> PodView:
        """It makes no claim: only its last words say how it ended."""
        if code == 0:
            self.plan_stands = True
        words = self.planning_report(reason)
        return self.leave(pod, code, words)

    @property
    def refuses(self) -> bool:
        return self.enforced and self.finding == "BelowLimits" and not self.published

    def planning_report(self, end: EndReason | None) -> ProgressReport:
        found = end in (EndReason.COMPLETED, EndReason.DATA)
        known = {} if not self.published else self.report(TrainerPhase.ENDED).model_dump()
        return ProgressReport.model_validate(
            {
                **known,
                "run_key": self.run_key,
                "phase": TrainerPhase.ENDED if end else TrainerPhase.PLANNING,
                "time": self.now,
                "already_published": self.published,
                "validation": VERDICTS[self.finding]
                if found and self.finding and not self.published
                else None,
                "end_reason": end,
            }
        )

    def leave(self, pod: PodView, code: int, words: ProgressReport | None, **changes: Any) -> Any:
        last = Exit(
            code=code,
            reason="Error" if code else "Completed",
            started=pod.started,
            finished=self.now,
            message=None,
            report=words,
        )
        phase = "Failed" if code else "Succeeded"
        return self.set(pod, running=False, ready=False, phase=phase, exit=last, **changes)

    def report(self, phase: TrainerPhase) -> ProgressReport:
        lost = [a for a in self.ledger if a.end_reason in DISRUPTIVE]
        return ProgressReport(
            run_key=self.run_key,
            phase=phase,
            time=self.now,
            claim=len(self.ledger),
            attempts=tuple(self.ledger[-10:]),
            disruptions=Disruptions(count=len(lost), lost_seconds=0, lost_gpu_seconds=0),
            artifact=ARTIFACT if self.published else None,
            end_reason=self.ledger[-1].end_reason,
        )


class Reader:
    """`ProgressReader` without a network."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.polls: dict[str, Poll] = {}

    async def poll(self, pod: PodView, now: datetime, interval: timedelta) -> None:
        found = self.world.pods.get(pod.name)
        if found and found.running:
            report = (
                self.world.planning_report(None)
                if pod.planning
                else self.world.report(TrainerPhase.TRAINING)
            )
            self.polls[pod.uid] = Poll(at=now, report=report, failure=None)

    def polls_of(self, pods: tuple[PodView, ...]) -> dict[str, Poll]:
        return {pod.uid: self.polls[pod.uid] for pod in pods if pod.uid in self.polls}

    def forget(self, pods: tuple[PodView, ...]) -> None:
        self.polls.clear()


class Silent:
    """Events of Kubernetes: a courtesy, and none of this test's business."""

    async def tell(self, run: Any, news: Any) -> None:
        return None

    async def of(self, namespace: str, uid: str, since: datetime) -> tuple[()]:
        return ()


def run_through(story: Coroutine[None, None, Any]) -> Any:
    """Returns what a coroutine does that has nothing to wait for, without an event loop."""
    try:
        story.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("nothing in this world makes anybody wait")


def seen_at(ended: ArgusTrainingJobStatus, now: ArgusTrainingJobStatus) -> ArgusTrainingJobStatus:
    """Returns the end as it reads once what changed after it was seen; no more may be otherwise."""
    seen = {"observed_generation": now.observed_generation}
    conditions = tuple(condition.model_copy(update=seen) for condition in ended.conditions)
    return ended.model_copy(update={**seen, "conditions": conditions})


class Story(RuleBasedStateMachine):
    make_scene: Any = None
    """Set by the test: builds a run that was just applied."""

    @initialize(
        seed=st.integers(min_value=0, max_value=2**16),
        finding=st.sampled_from([None, *VERDICTS]),
        earlier=st.booleans(),
        enforced=st.booleans(),
    )
    def begin(self, seed: int, finding: str | None, earlier: bool, enforced: bool) -> None:
        """`earlier`: a resource of this name trained and published before, and was deleted."""
        self.chance = random.Random(seed)
        scene = type(self).make_scene()
        judged = "Enforce" if enforced else "Warn"
        data = {"uri": "s3://metrics/edge", "validation": {"policy": judged if finding else "Off"}}
        scene.spec(data=data, nodeUnreachableSeconds=60)
        self.configuration = scene.configuration
        self.world = World(
            run=scene.observed.run, now=scene.now, finding=finding, enforced=enforced
        )
        if earlier and finding:
            self.world.published = True
            past = scene.now - timedelta(days=1)
            self.world.ledger.append(Attempt(number=1, pod="edge-earlier", start=past))
            self.world.close(EndReason.COMPLETED, 0)
        self.ended: Any = None
        self.restart()

    # --- the operator -----------------------------------------------------------------------

    @rule()
    def restart(self) -> None:
        """Nothing is remembered; listing fills the cache."""
        world: Any = self.world
        reader: Any = Reader(world)
        silent: Any = Silent()
        self.children, self.runs = Children(), Runs()
        shared = {"cluster": world, "children": self.children, "configuration": self.configuration}

        def clock() -> datetime:
            return self.world.now

        self.reconciler = Reconciler(
            runs=self.runs,
            observer=Observer(
                runs=self.runs, reader=reader, hindrances=silent, clock=clock, **shared
            ),
            executor=Executor(clock=clock, **shared),
            status=StatusWriter(world, lambda: 10.0 * self.world.version),
            events=silent,
            configuration=self.configuration,
            clock=clock,
        )
        self.resync()

    @rule()
    def lead(self) -> None:
        """Another replica has written until now."""
        self.runs.forget_all()

    @rule()
    def resync(self) -> None:
        for listed in self.world.lists():
            self.children.correct(listed, None)
        self.runs.put(self.world.run)

    @rule(loses_reply=st.booleans())
    def look(self, loses_reply: bool) -> None:
        self.world.loses_reply = loses_reply
        with suppress(ApiUnreachable, Conflict):  # the queue would try again
            run_through(self.reconciler.reconcile(self.world.run.key))
        self.world.loses_reply = False

    @rule(data=st.data(), lost=st.booleans())
    def tell(self, data: Any, lost: bool) -> None:
        """Some events arrive, in any order, some of them twice; the rest stays or is lost."""
        events = self.world.events
        some = data.draw(st.lists(st.sampled_from(events), max_size=6)) if events else []
        self.deliver(some, lost)

    def deliver(self, some: list[tuple[bool, JobView | PodView | RunView]], lost: bool) -> None:
        for is_there, told in some:
            if isinstance(told, RunView):
                self.runs.put(told)
            elif is_there:
                self.children.put(told)
            else:
                self.children.drop(told)
        if lost:
            self.world.events.clear()

    # --- the world --------------------------------------------------------------------------

    @rule()
    def control(self) -> None:
        self.world.control()

    @rule(seconds=st.integers(min_value=1, max_value=600))
    def wait(self, seconds: int) -> None:
        self.world.now += timedelta(seconds=seconds)

    @rule(suspend=st.booleans())
    def suspend(self, suspend: bool) -> None:
        if self.world.run.spec.suspend is not suspend:
            spec = self.world.run.spec.model_copy(update={"suspend": suspend})
            self.world.change_run(spec=spec, generation=self.world.run.generation + 1)

    @rule()
    def somebody_deletes_the_job(self) -> None:
        for name in [name for name, job in self.world.jobs.items() if job.end is None]:
            self.world.events.append((False, self.world.jobs.pop(name)))

    @precondition(lambda self: self.world.live() and self.world.run_key)
    @rule(what=st.sampled_from(["train", "evict", "lose", "crash", "node", "publish"]))
    def trainer(self, what: str) -> None:
        self.world.now += timedelta(seconds=1)
        pod = self.world.live()
        assert pod is not None
        if pod.planning:
            self.planner(pod, what)
        elif not pod.running:
            self.world.start(pod)
        elif self.world.published or what == "publish":
            self.world.published = True
            self.world.end(pod, 0, EndReason.COMPLETED)
        elif what == "evict":
            self.world.durable = self.world.step
            self.world.end(pod, 75, EndReason.PREEMPTED)
        elif what == "lose":
            self.world.leave(pod, 137, None, disruption=LOST_NODE)
        elif what == "node":
            self.world.set(pod, deleting=True, leave_by=self.world.now)
        elif what == "crash":
            self.world.end(pod, 1, EndReason.CRASHED)
        else:
            self.world.step += 10
            self.world.durable = self.world.step - 5

    def planner(self, pod: PodView, what: str) -> None:
        if not pod.running:
            self.world.set(pod, running=True, ready=True, phase="Running", started=self.world.now)
        elif what == "evict":
            self.world.end_planning(pod, 75, EndReason.PREEMPTED)
        elif what == "lose":
            self.world.leave(pod, 137, None, disruption=LOST_NODE)
        elif what == "node":
            self.world.set(pod, deleting=True, leave_by=self.world.now)
        elif what == "crash":
            self.world.end_planning(pod, 1, EndReason.CRASHED)
        elif what == "publish" and self.world.refuses:
            self.world.end_planning(pod, 65, EndReason.DATA)
        elif what == "publish":
            self.world.end_planning(pod, 0, EndReason.COMPLETED)

    # --- what always holds --------------------------------------------------------------------

    @invariant()
    def there_is_never_more_than_one_job_at_work(self) -> None:
        if hasattr(self, "world"):
            assert sum(job.end is None for job in self.world.jobs.values()) <= 1

    @invariant()
    def an_end_is_never_taken_back(self) -> None:
        if not hasattr(self, "world"):
            return
        if self.ended is not None:
            assert self.world.run.status == seen_at(self.ended, self.world.run.status)
        elif self.world.run.status.phase in TERMINAL_PHASES:
            self.ended = self.world.run.status

    def teardown(self) -> None:
        """Left in peace, every run ends, and its status says what the ledger says.

        Even then only some of the events arrive; every tenth look follows a listing.
        """
        if not hasattr(self, "world"):
            return
        self.suspend(suspend=False)
        for look in range(100):
            self.control()
            if self.world.live() and self.world.run_key:
                self.trainer(what="publish")
            self.wait(seconds=5)
            some = [event for event in self.world.events if self.chance.random() < 0.5]
            self.chance.shuffle(some)
            self.deliver(some, lost=self.chance.random() < 0.3)
            if look % 10 == 9:
                self.resync()
            self.look(loses_reply=False)
            self.an_end_is_never_taken_back()
            self.there_is_never_more_than_one_job_at_work()
        assert self.world.run.status.observed_generation == self.world.run.generation
        self.compare(self.world.run.status, self.world.ledger)

    def compare(self, status: Any, ledger: list[Attempt]) -> None:
        assert status.phase in TERMINAL_PHASES
        if status.phase is Phase.FAILED:
            assert status.reason in ("BackoffLimitExceeded", FRUITLESS, TOO_MANY, DATA_REFUSED)
            assert (status.reason == DATA_REFUSED) <= (self.world.refuses and not ledger)
            assert not any(job.end is None for job in self.world.jobs.values())
            return
        assert status.artifact == ARTIFACT
        if self.world.enforced and self.world.finding == "BelowLimits":
            assert status.start_time is None, "it trained on data that was refused"
        judged = {c.reason for c in status.conditions if c.type is ConditionType.DATA_VALIDATED}
        if self.world.finding is None:
            assert judged == set()
        else:
            known = {self.world.finding, "ReportLost"}
            assert judged <= ({"NotJudged", "ReportLost"} if status.start_time is None else known)
            assert len(judged) == 1
        assert [(a.number, a.pod) for a in status.attempts] == [
            (a.number, a.pod) for a in ledger[-10:]
        ]
        assert [a.end_reason for a in status.attempts] == [a.end_reason for a in ledger[-10:]]
        assert status.disruptions.count == sum(a.end_reason in DISRUPTIVE for a in ledger)
        assert status.usage.training_seconds == sum(
            int((a.end - a.start).total_seconds()) for a in ledger if a.end
        )


def begun(make_scene: Any, finding: str | None = None) -> Story:
    """Returns the story of a run that was just applied, and that nobody has looked at."""
    Story.make_scene = make_scene
    story = Story()
    story.begin(seed=1, finding=finding, earlier=False, enforced=False)
    return story


def test_a_picture_that_was_too_old_is_read_again(make_scene: Any) -> None:
    story = begun(make_scene)
    story.world.change_run(generation=2)  # and no event tells of it
    story.look(loses_reply=False)
    assert len(story.world.jobs) == 1
    story.look(loses_reply=False)
    assert story.world.run.status.job_name is None, "a conflict"
    story.look(loses_reply=False)
    assert story.world.run.status.job_name in story.world.jobs
    assert len(story.world.jobs) == 1


def test_the_first_job_is_made_at_once_and_told_of_with_the_next_look(make_scene: Any) -> None:
    story = begun(make_scene)
    assert run_through(story.reconciler.reconcile(story.world.run.key)) == FIRST_STATUS_SECONDS
    assert (len(story.world.jobs), story.world.run.status.job_name) == (1, None)
    story.look(loses_reply=False)
    assert story.world.run.status.job_name in story.world.jobs
    assert len(story.world.jobs) == 1


def test_a_job_that_is_made_for_a_status_that_says_otherwise_is_told_of_at_once(
    make_scene: Any,
) -> None:
    """Else a run is called Suspended beside its trainer, and its deadline counts from too late."""
    story = begun(make_scene)
    story.suspend(suspend=True)
    story.resync()
    story.look(loses_reply=False)
    assert story.world.run.status.phase is Phase.SUSPENDED
    story.suspend(suspend=False)
    story.resync()
    story.look(loses_reply=False)
    assert story.world.run.status.job_name in story.world.jobs


def test_a_run_is_told_of_whatever_becomes_of_its_first_job(make_scene: Any) -> None:
    story = begun(make_scene, finding="Passed")
    story.look(loses_reply=False)
    for _ in range(2):  # its pod runs, and ends
        story.control()
        story.trainer(what="publish")
    story.control()
    story.restart()
    story.suspend(suspend=True)
    story.resync()
    for _ in range(2):
        assert story.world.run.status.phase is None
        story.look(loses_reply=False)
    assert story.world.run.status.phase is Phase.SUSPENDED


def test_whatever_is_seen_late_or_twice_or_never_the_end_is_true(make_scene: Any) -> None:
    Story.make_scene = make_scene
    state_machine = Story.TestCase()
    state_machine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
    state_machine.runTest()
