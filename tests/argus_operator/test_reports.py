"""Trainer pods run code of others: whatever one says hurts nothing but its own run."""

import asyncio
import json
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from argus_contract import names
from argus_contract.crd import custom_resource_definition
from argus_contract.status import ConditionType, EndReason, Metric, Phase
from argus_operator.children import Children
from argus_operator.cluster import Cluster
from argus_operator.hindrances import Hindrances
from argus_operator.observe import Observer
from argus_operator.observed import Observed
from argus_operator.progress import ProgressReader
from argus_operator.queue import WorkQueue
from argus_operator.reading import read_pod
from argus_operator.reports import MAX_NUMBER, NoReport, believed, read_report
from argus_operator.resync import Resync
from argus_operator.runs import Runs
from argus_operator.views import JobEnd, Key, PodView, RunView

BEYOND = "9999-12-31T23:59:59-12:00"
HUGE = 10**30


def said(build: Any, **fields: Any) -> dict[str, Any]:
    """Returns an honest report of a second attempt, with these fields of the wire."""
    honest = build.report(2, checkpoint=build.checkpoint(5), artifact=build.artifact)
    return {**json.loads(honest.model_dump_json(by_alias=True, exclude_none=True)), **fields}


def attempts(*numbers: int, **fields: Any) -> list[dict[str, Any]]:
    born = {"pod": "a", "start": "2026-01-31T10:00:00Z"}
    return [{"number": number, **born, **fields} for number in numbers]


HOSTILE: dict[str, dict[str, Any]] = {
    "time": {"time": BEYOND},
    "first instant": {"time": "0001-01-01T00:00:00+12:00"},
    "attempts.0.start": {"attempts": attempts(1, start=BEYOND)},
    "claim is beyond": {"claim": HUGE},
    "attempts.lostSeconds is beyond": {"attempts": attempts(1, lostSeconds=-HUGE)},
    "attempts: their numbers do not rise": {"attempts": attempts(1, 1)},
    "their numbers do not rise": {"attempts": attempts(3, 2)},
    "metrics: two have the same name": {
        "metrics": [{"name": "val_loss", "value": "1", "step": 1}] * 2
    },
    "attempts.pod has more than 253": {"attempts": attempts(1, pod="p" * 254)},
    "attempts.node has more than 253": {"attempts": attempts(1, node="n" * 254)},
    "artifact.uri has more than 2048": {
        "artifact": {"uri": "s" * 2049, "digest": "d", "files": [], "published": "true"}
    },
    "artifact.files has more than 253": {
        "artifact": {"uri": "s", "digest": "d", "files": ["f" * 254], "published": "true"}
    },
    "runKey is not that of its pod": {"runKey": "0" * 20},
    "novelty": {"novelty": "x" * 60_000},
}


@pytest.mark.parametrize(("why", "fields"), HOSTILE.items(), ids=list(HOSTILE))
def test_what_no_status_could_hold_is_no_report(
    why: str, fields: dict[str, Any], build: Any
) -> None:
    expected = "years 1 to 9999" if why == "first instant" else why
    with pytest.raises(NoReport) as refused:
        read_report(json.dumps(said(build, **fields)), build.run_key)
    assert expected in str(refused.value)
    assert len(str(refused.value)) <= 200


@pytest.mark.parametrize("text", ["", "{", "[" * 60_000, "9" * 60_000, "\udcff", '{"time": 1e999}'])
def test_what_is_no_json_of_a_report_is_no_report(text: str, build: Any) -> None:
    with pytest.raises(NoReport):
        read_report(text.encode(errors="surrogatepass"), build.run_key)


def test_an_honest_report_is_taken_to_the_largest_number(build: Any) -> None:
    fields = {"claim": MAX_NUMBER, "attempts": attempts(1, 2, 9)}
    report = read_report(json.dumps(said(build, **fields)), build.run_key)
    assert (report.claim, [a.number for a in report.attempts]) == (MAX_NUMBER, [1, 2, 9])


def test_a_success_that_the_exit_code_denies_is_not_believed(build: Any) -> None:
    done = build.attempt(1, "a", EndReason.COMPLETED, exit_code=0)
    words = build.report(attempts=(done,), end_reason=EndReason.COMPLETED, artifact=build.artifact)
    assert believed(words, "a", 0) is words
    denied = believed(words, "a", 1)
    assert (denied.end_reason, denied.artifact) == (None, None)
    assert (denied.attempts[0].end_reason, denied.attempts[0].exit_code) == (None, None)
    assert believed(words, "another", 1).attempts == (done,)
    found = words.model_copy(update={"already_published": True})
    assert believed(found, "a", 1).artifact == build.artifact
    preempted = words.model_copy(update={"end_reason": EndReason.PREEMPTED})
    assert believed(preempted, "a", 75).end_reason is EndReason.PREEMPTED


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("0.083141", "0.0831"),
        ("-0.5", "-0.5000"),
        ("0.00012345", "0.000123"),
        ("9e99999999", "inf"),
        ("NaN", "nan"),
        ("1" * 32, "1.11e+31"),
        ("1e999999", "inf"),
        ("much", "much"),
    ],
)
def test_a_loss_is_shown_in_few_characters(value: str, shown: str, build: Any, scene: Any) -> None:
    metric = Metric(name="val_loss", value=value, step=1)
    scene.job().running("a").says("a", build.report(metrics=(metric,)))
    assert scene.decide().status.columns.val_loss == shown


@pytest.mark.parametrize(
    ("owner", "ours"),
    [
        ({"kind": "Job", "name": "edge-0123abcd-1"}, True),
        ({"kind": "Job", "name": "edge-0123abcd-plan-2"}, True),
        ({"kind": "Job", "name": "edge-0123abcd-1", "controller": False}, False),
        ({"kind": "ReplicaSet", "name": "edge-0123abcd-1"}, False),
        ({"kind": "Job", "name": "edge-nightly-1"}, False),
        ({"kind": "Job", "name": "edge-eu-0123abcd-1"}, False),
        ({"kind": "Job", "name": "edge-0123abcd-1-2"}, False),
        (None, False),
    ],
)
def test_a_pod_belongs_to_a_run_by_its_job_and_not_by_labels_alone(
    owner: dict[str, Any] | None, ours: bool
) -> None:
    raw = ended_pod("a", "", "")
    referred = {"uid": "u", "controller": True, **(owner or {})}
    raw["metadata"]["ownerReferences"] = [referred] if owner else []
    pod = read_pod(raw)
    assert pod is not None
    assert pod.is_ours is ours


def observe_with(scene: Any, children: Children, reader: Any, now: datetime) -> Observed:
    class OneRun:
        async def get_run(self, key: Key) -> RunView:
            found: RunView = scene.observed.run
            return found

    cluster: Any = OneRun()
    observer = Observer(
        cluster=cluster,
        runs=Runs(),
        children=children,
        reader=reader,
        hindrances=Hindrances(cluster, children, nullcontext, lambda: 0.0),
        configuration=scene.configuration,
        clock=lambda: now,
    )
    observed = asyncio.run(observer.observe(scene.observed.run.key))
    assert observed is not None
    return observed


def test_a_trainer_is_not_asked_before_it_could_answer(scene: Any) -> None:
    scene.job()
    scene.running("a", job=scene.observed.jobs[0].name)
    children = Children()
    for child in (*scene.observed.jobs, *scene.observed.pods):
        children.put(child)
    (pod,) = scene.observed.pods
    asked: list[float] = []

    class Reader:
        async def poll(self, pod: PodView, now: datetime, interval: timedelta) -> None:
            asked.append((now - (pod.started or now)).total_seconds())

        def polls_of(self, pods: Any) -> dict[str, Any]:
            return {}

    for seconds in (-60, 0.5, 2.9, 3, 10):
        observe_with(scene, children, Reader(), pod.started + timedelta(seconds=seconds))
    assert asked == [-60, 3, 10]


def test_a_stranger_with_the_labels_of_a_run_is_not_seen(scene: Any, build: Any) -> None:
    children = Children()
    own, stranger = ended_pod("a", "", build.run_key), ended_pod("b", "", build.run_key)
    stranger["metadata"]["ownerReferences"] = []
    for raw in (own, stranger):
        pod = read_pod(raw)
        assert pod is not None
        children.put(pod)
    reader = ProgressReader(None, nullcontext)  # type: ignore[arg-type]
    observed = observe_with(scene, children, reader, build.start)
    assert [pod.name for pod in observed.pods] == ["a"]


# --- the whole operator --------------------------------------------------------------------


def ended_pod(name: str, text: str, run_key: str, code: int = 1, run: str = "edge") -> Any:
    """Returns a pod as the API server has it, whose trainer ended with these last words."""
    terminated = {
        "exitCode": code,
        "reason": "Error" if code else "Completed",
        "startedAt": "2026-01-31T10:00:05Z",
        "finishedAt": "2026-01-31T10:01:00Z",
        "message": text,
    }
    owner = {"kind": "Job", "name": f"{run}-0123abcd-1", "uid": "job-1", "controller": True}
    return {
        "metadata": {
            "name": name,
            "namespace": "team",
            "uid": f"pod-{name}",
            "resourceVersion": "7",
            "creationTimestamp": "2026-01-31T10:00:02Z",
            "labels": {
                names.LABEL_RUN_NAME: run,
                names.LABEL_RUN_KEY: run_key,
                names.LABEL_COMPONENT: names.COMPONENT_TRAINER,
            },
            "ownerReferences": [owner],
        },
        "spec": {"nodeName": "node-1"},
        "status": {
            "phase": "Failed" if code else "Succeeded",
            "containerStatuses": [{"name": "trainer", "state": {"terminated": terminated}}],
        },
    }


class Server(Cluster):
    """An API server with these pods, one run and nothing else."""

    def __init__(self, pods: list[Any]) -> None:
        self.pods = pods

    async def _request(self, method: str, path: str, *body: Any, **options: Any) -> Any:
        metadata = {"namespace": "team", "name": "edge", "uid": "run-1", "resourceVersion": "5"}
        runs = [{"metadata": {**metadata, "creationTimestamp": "2026-01-31T10:00:00Z"}}]
        items = {"pods": self.pods, names.PLURAL: runs}.get(path.rpartition("/")[2], [])
        return {"items": items, "metadata": {"resourceVersion": "100"}}


@pytest.mark.parametrize("fields", HOSTILE.values(), ids=list(HOSTILE))
def test_hostile_last_words_do_not_keep_the_operator_from_starting(
    fields: dict[str, Any], build: Any, scene: Any
) -> None:
    pods = [
        ended_pod("a", json.dumps(said(build, **fields)), build.run_key),
        ended_pod("b", build.report().to_termination_message(), build.run_key, run="other"),
    ]
    children = Children()
    queue: Any = WorkQueue(lambda: 0.0, None)  # type: ignore[arg-type]
    resync = Resync(
        cluster=Server(pods),
        runs=Runs(),
        children=children,
        queue=queue,
        namespaces=(),
        clock=lambda: 0.0,
    )
    asyncio.run(resync.fill())
    (hostile,), (honest,) = (children.pods(Key("team", run)) for run in ("edge", "other"))
    assert honest.exit is not None
    assert honest.exit.report == build.report()
    assert hostile.exit is not None
    assert (hostile.exit.report, hostile.exit.code) == (None, 1)
    status = (
        scene.job_ended(JobEnd.FAILED, "BackoffLimitExceeded")
        .pod("a", **{name: getattr(hostile, name) for name in ("exit", "phase", "started")})
        .store()
        .status
    )
    assert status.phase is Phase.FAILED
    assert [attempt.number for attempt in status.attempts] == [1]


@pytest.mark.parametrize(
    ("code", "reason", "published"), [(0, "Completed", "True"), (1, "Crashed", "False")]
)
def test_a_failed_pod_that_says_it_has_published_is_a_failure(
    code: int, reason: str, published: str, scene: Any, build: Any, conditions: Any
) -> None:
    done = build.attempt(1, "a", EndReason.COMPLETED, exit_code=0)
    words = build.report(attempts=(done,), end_reason=EndReason.COMPLETED, artifact=build.artifact)
    pod = read_pod(ended_pod("a", words.to_termination_message(), build.run_key, code))
    scene.job_ended(JobEnd.FAILED if code else JobEnd.COMPLETE, "BackoffLimitExceeded")
    scene.pod("a", **{name: getattr(pod, name) for name in ("exit", "phase", "started")})
    decision = scene.store()
    (attempt,) = decision.status.attempts
    assert (attempt.end_reason, attempt.exit_code) == (EndReason(reason), code)
    assert conditions(decision)[ConditionType.MODEL_PUBLISHED] == published


@cache
def validator() -> Any:
    """What the API server checks of a status, but for its own formats and map keys."""
    crd = custom_resource_definition()
    (version,) = crd["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]["properties"]["status"]
    return jsonschema.Draft202012Validator(schema)


def assert_storable(status: dict[str, Any]) -> None:
    validator().validate(status)
    for field, key in (("metrics", "name"), ("attempts", "number"), ("conditions", "type")):
        keys = [entry[key] for entry in status[field]]
        assert len(set(keys)) == len(keys), field

    def look(value: Any) -> None:
        if isinstance(value, dict | list):
            for inner in value.values() if isinstance(value, dict) else value:
                look(inner)
        elif isinstance(value, int):
            assert abs(value) < 2**63

    look(status)
    for column in (status.get("columns") or {}).values():
        assert len(column) <= 2048


numbers = st.one_of(
    st.integers(0, 100), st.integers(-(2**70), 2**70), st.sampled_from([0, 1, -1, 2**53, 2**63])
)
texts = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        ["9e99999999", "NaN", "-Infinity", "1" * 32, "\U0001f600" * 5, "x" * 5000, "a", "b", ""]
    ),
)
times = st.one_of(
    st.datetimes(timezones=st.just(UTC)).map(datetime.isoformat),
    st.sampled_from([BEYOND, "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2026-01-31"]),
)
anything = st.one_of(numbers, texts, times, st.booleans(), st.none(), st.floats())


def places(document: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Returns the way to each value of a document, those that hold others too."""
    found = [place] if place else []
    if isinstance(document, dict | list):
        keys = document if isinstance(document, dict) else range(len(document))
        found += [way for key in keys for way in places(document[key], (*place, key))]
    return found


def alike(value: Any) -> st.SearchStrategy[Any]:
    """Returns what could stand in its place, and mostly be taken."""
    if isinstance(value, list):
        return st.sampled_from([[], value * 2, value[::-1], value[:1] * 12])
    if isinstance(value, int):
        return numbers
    if isinstance(value, str):
        return times if value[:2] == "20" else texts
    return anything


def with_edits(data: st.DataObject, document: Any) -> Any:
    """Returns the document with one or two values changed."""
    for _ in range(data.draw(st.integers(1, 2))):
        way = data.draw(st.sampled_from(places(document)))
        holder = document
        for key in way[:-1]:
            holder = holder[key]
        holder[way[-1]] = data.draw(st.one_of([alike(holder[way[-1]])] * 3 + [anything]))
        document = json.loads(json.dumps(document))
    return document


def _is_taken(text: str, run_key: str) -> bool:
    try:
        read_report(text, run_key)
    except NoReport:
        return False
    return True


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(data=st.data(), code=st.sampled_from([0, 1, 75, 137]), polled=st.booleans())
def test_whatever_a_trainer_says_its_run_gets_a_status_that_can_be_stored(
    data: st.DataObject, code: int, polled: bool, build: Any, make_scene: Any
) -> None:
    """The fixtures keep nothing between examples."""
    document = with_edits(data, said(build))
    event("taken" if _is_taken(json.dumps(document), build.run_key) else "no report")
    text = json.dumps(document)
    scene = make_scene().job()
    if polled:
        try:
            report = read_report(text, build.run_key)
        except NoReport as why:
            scene.running("b").says("b", None, str(why))
        else:
            scene.running("b").says("b", report)
    else:
        pod = read_pod(ended_pod("b", text, build.run_key, code))
        assert pod is not None
        fields = ("exit", "phase", "started")
        scene.pod("b", **{name: getattr(pod, name) for name in fields})
    for _ in range(2):
        assert_storable(scene.store().status.to_wire())
    scene.job_ended(JobEnd.FAILED if code else JobEnd.COMPLETE)
    assert_storable(scene.store().status.to_wire())
    assert scene.observed.run.status.phase in (Phase.FAILED, Phase.SUCCEEDED)
