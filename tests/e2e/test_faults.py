"""Check 33 on a real cluster: evictions, killed pods and workers, and spread over nodes."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.e2e.agent import Traffic
from harness.e2e.nodes import Nodes
from harness.e2e.pods import Inside, uids
from harness.e2e.pose import Place, Pose
from harness.e2e.release import NAMESPACE, Release
from harness.e2e.rollout import watch_replaced
from harness.kubernetes.api import Api
from harness.kubernetes.waiting import Json, wait_until
from harness.recorder import RecordFigure

pytestmark = pytest.mark.serial

SIZE, WORKERS = 2, 2
LEAST = 400
BACK_SECONDS, DRAIN_SECONDS = 60.0, 120.0
WORKER_KILLS = 5


@pytest.fixture(scope="module")
def pose(shared_place: Place) -> Pose:
    """Two pods of two workers."""
    resources = {
        "requests": {"cpu": "50m", "memory": "256Mi"},
        "limits": {"cpu": "1500m", "memory": "1Gi"},
    }
    return shared_place.pose(workersPerPod=WORKERS, resources=resources)


def evict(api: Api, pod: Json) -> int:
    """Ask for the eviction of a pod, as a drain does; the status."""
    metadata = {key: pod["metadata"][key] for key in ("name", "namespace")}
    path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/eviction"
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}
    return api.request("POST", path, body=body).status_code


@pytest.mark.acceptance(33)
@pytest.mark.usefixtures("release")
def test_evictions_in_turn_lose_nothing(
    api: Api, shared_place: Place, pose: Pose, record_figure: RecordFigure
) -> None:
    pose.wait_settled(SIZE)
    first, second = pose.pods()
    refused = 0
    with shared_place.agent.traffic(pose.url) as traffic:
        traffic.wait(20)
        assert evict(api, first) == 201

        def evicted() -> bool:
            nonlocal refused
            status = evict(api, second)
            assert status in {201, 429}
            refused += status == 429
            # the first one must have its successor before it is released
            assert status == 429 or len(pose.ready_pods()) >= SIZE - 1
            return status == 201

        wait_until(evicted, BACK_SECONDS, "the second one evicted")
        rollout = watch_replaced(pose, uids([first, second]))
        traffic.wait_total(LEAST)
    record_figure("evicted in turn: failed requests", len(traffic.failures), bar="0", sample=traffic.shown())
    record_figure("evictions refused while one is missing", refused, bar=">= 1")
    assert traffic.failures == []
    assert refused >= 1
    assert rollout.fewest_ready >= SIZE - 1


@pytest.mark.acceptance(33)
def test_one_replica_can_be_evicted(
    release: Release, api: Api, place: Place, record_figure: RecordFigure
) -> None:
    pose = place.pose("single", replicas=1)
    (only,) = pose.pods()
    assert api.list("poddisruptionbudgets", place.namespace) == []
    assert evict(api, only) == 201
    took = pose.wait_settled(1, without=uids([only]))
    record_figure("one of one evicted, back after", took, bar=f"<= {BACK_SECONDS:.0f} s", unit="s")


@pytest.mark.acceptance(33)
@pytest.mark.usefixtures("release")
@pytest.mark.parametrize(
    ("end", "pause_seconds"),
    # a deleted pod leaves the Service immediately; a crashed one when the kubelet has reported it
    [("deleted without grace", 0.5), ("container killed", 3.0)],
)
def test_a_killed_pod_and_operator_cost_one_retry(
    installed: Release,
    api: Api,
    shared_place: Place,
    pose: Pose,
    record_figure: RecordFigure,
    end: str,
    pause_seconds: float,
) -> None:
    pose.wait_settled(SIZE)
    victim, operator = pose.pods()[0], installed.inside()
    with shared_place.agent.traffic(pose.url, retries=1, pause_seconds=pause_seconds) as traffic:
        traffic.wait(50)
        begin = time.monotonic()
        if end == "deleted without grace":
            api.delete("pods", pose.namespace, victim["metadata"]["name"], grace_seconds=0)
            api.delete("pods", NAMESPACE, operator.name, grace_seconds=0)
            pose.wait_settled(SIZE, without=uids([victim]))
        else:
            with ThreadPoolExecutor(2) as both:  # each call waits for the end that it brings
                ended = list(both.map(Inside.kill_container, (pose.inside(victim), operator)))
            record_figure(f"{end}: ended apart", abs(ended[0] - ended[1]), bar="both at once", unit="s")
            wait_until(lambda: len(pose.ready_pods()) == SIZE, BACK_SECONDS, "ready again")
        back = time.monotonic() - begin
        traffic.wait_total(LEAST)
    installed.wait_ready()
    judge_kill(traffic, record_figure, end=f"{end}, retry after {pause_seconds:g} s", back=back)


def judge_kill(traffic: Traffic, record_figure: RecordFigure, *, end: str, back: float) -> None:
    at_once = sum(one.right and one.tries == 1 for one in traffic.asked) / len(traffic.asked)
    record_figure(f"{end}: right at once", at_once * 100, bar=">= 90", unit="%", sample=len(traffic.asked))
    record_figure(f"{end}: not right with one retry", len(traffic.failures), bar="0", sample=traffic.shown())
    record_figure(f"{end}: size back after", back, bar=f"<= {BACK_SECONDS:.0f} s", unit="s")
    assert at_once >= 0.9
    assert traffic.failures == []
    assert back <= BACK_SECONDS


@pytest.mark.acceptance(33)
@pytest.mark.usefixtures("release")
def test_a_killed_worker_costs_nothing(shared_place: Place, pose: Pose, record_figure: RecordFigure) -> None:
    pose.wait_settled(SIZE)
    one, other = (pose.inside(pod) for pod in pose.pods())
    before = one.restarts(), other.restarts()
    with shared_place.agent.traffic(pose.url) as traffic:
        for turn in range(WORKER_KILLS):
            traffic.wait(10)
            pod = (one, other)[turn % 2]
            wait_until(lambda of=pod: len(of.worker_pids()) == WORKERS, 30, "all workers")  # type: ignore[misc]
            pod.kill(pod.worker_pids()[0])
        traffic.wait_total(LEAST)
        for pod in (one, other):
            wait_until(lambda of=pod: len(of.worker_pids()) == WORKERS, 30, "all workers")  # type: ignore[misc]
    died = sum(pod.metric("worker_restarts_total", cause="crash") for pod in (one, other))
    record_figure(
        "workers killed: failed requests",
        len(traffic.failures),
        bar="0",
        sample=f"{died:.0f} kills; {traffic.shown()}",
    )
    assert died == WORKER_KILLS
    assert traffic.failures == []
    assert (one.restarts(), other.restarts()) == before, "the pod goes on"


@pytest.mark.acceptance(33)
def test_spread_and_priority_are_in_the_pods(release: Release, api: Api, place: Place) -> None:
    name = place.namespace  # cluster-wide, so it goes with the test
    api.create(
        {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": name},
            "value": 7,
        }
    )
    try:
        spread = {"maxSkew": 2, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule"}
        pose = place.pose(
            "placed", replicas=1, priorityClassName=name, topologySpreadConstraints=[spread], wait=False
        )
        pods = wait_until(pose.pods, 30, "a pod")
        assert pods[0]["spec"]["priority"] == 7
        (found,) = pods[0]["spec"]["topologySpreadConstraints"]
        assert found.items() >= spread.items()
        assert found["labelSelector"]["matchLabels"]["app.kubernetes.io/instance"] == "placed"
    finally:
        api.delete("priorityclasses", None, name)


@pytest.mark.acceptance(33)
def test_a_drain_of_a_node_loses_nothing(
    nodes: Nodes, api: Api, place: Place, record_figure: RecordFigure
) -> None:
    nodes.need(2)
    pose = place.pose()
    only_ours = f"--pod-selector={pose.labels}"
    with place.agent.traffic(pose.url) as traffic:
        traffic.wait(20)
        begin = time.monotonic()
        node = pose.pods()[0]["spec"]["nodeName"]
        try:
            api.kubectl("drain", node, only_ours, "--delete-emptydir-data", "--timeout=55s")
            pose.wait_settled(SIZE)
            took = time.monotonic() - begin
            assert node not in {pod["spec"]["nodeName"] for pod in pose.pods()}
        finally:
            api.kubectl("uncordon", node)
        traffic.wait_total(LEAST)
    record_figure(
        "a node drained after", took, bar=f"<= {DRAIN_SECONDS:.0f} s", unit="s", sample=traffic.shown()
    )
    assert traffic.failures == []
    assert took <= DRAIN_SECONDS
