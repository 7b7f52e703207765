"""Check 2 on a real cluster: the size changes, manually and by load, and no request is lost."""

import time

import pytest

from harness.e2e.agent import Asked
from harness.e2e.pose import Place, Pose
from harness.e2e.release import Release
from harness.e2e.rollout import Rollout
from harness.kubernetes.waiting import Json, wait_until
from harness.recorder import RecordFigure

pytestmark = pytest.mark.serial

ROUNDS = 3
SHARE, SHARE_FROM, SHARE_TO = 0.7, 0.5, 0.9  # of what one pod can do
LEAST, EACH = 400, 4
REST_SHARE, REST_PROBERS, LEAST_REST, LEAST_ENDING = 0.25, 4, 40, 4  # while it scales down
NEW, KEPT = 2, 3  # probers
UP_SECONDS, DOWN_SECONDS = 30.0, 100.0


@pytest.fixture(scope="module")
def pose(shared_place: Place) -> Pose:
    """One pod, of a fixed size."""
    return shared_place.pose(replicas=1)


def shrink(pose: Pose, seen: Rollout) -> None:
    """From two to one: both had served; wait until the other has gone."""
    insides = [pose.inside(pod) for pod in pose.pods()]
    goals = [one.metric("completed_total") + EACH for one in insides]

    def served() -> bool:
        return all(one.metric("completed_total") >= goal for one, goal in zip(insides, goals, strict=True))

    wait_until(served, 30, "both have served")
    pose.patch(replicas=1)
    wait_single(pose, seen)


def wait_single(pose: Pose, seen: Rollout, seconds: float = 60.0) -> None:
    """Wait until it has one pod, and watch the others go."""
    wait_until(lambda: len(seen.look(pose)) == 1, seconds, "one pod")


@pytest.mark.acceptance(2)
@pytest.mark.usefixtures("release")
def test_manual_scaling_loses_nothing(shared_place: Place, pose: Pose, record_figure: RecordFigure) -> None:
    agent, seen = shared_place.agent, Rollout()
    pose.wait_settled(1)
    capacity = agent.capacity(pose.url)
    pose.patch(replicas=2)
    pose.wait_settled(2)
    every, asked, seconds = (NEW + KEPT) / (SHARE * capacity), list[Asked](), 0.0
    for _ in range(ROUNDS):
        # each round with connections of its own: those that are kept would all end up on the oldest pod
        with agent.traffic(pose.url, new=NEW, kept=KEPT, every_seconds=every) as traffic:
            begin = time.monotonic()
            shrink(pose, seen)
            traffic.wait(20)
            pose.patch(replicas=2)
            pose.wait_settled(2)
            traffic.wait_total(-(-LEAST // ROUNDS))
            seconds += time.monotonic() - begin
        asked += traffic.asked

    failed, share = [one for one in asked if not one.right], len(asked) / seconds / capacity
    meanwhile, kept = seen.asked_meanwhile(asked), sum(one.kept for one in asked)
    shown = f"{len(asked) - kept} on new, {kept} on kept connections"
    record_figure("failed requests, 2-1-2 three times", len(failed), bar="0", sample=shown)
    record_figure(
        "traffic in capacities of one pod", share, bar=f"{SHARE_FROM} to {SHARE_TO}", sample=len(asked)
    )
    record_figure("requests while pods ended", meanwhile, bar="> 0", sample=f"{len(seen.ending)} pods")
    assert failed == []
    assert len(asked) >= LEAST
    assert SHARE_FROM <= share <= SHARE_TO
    assert len(seen.ending) == ROUNDS
    assert meanwhile > 0
    assert any(one.last for one in asked if one.kept), "no kept connection was on a pod that ended"


@pytest.mark.acceptance(2)
@pytest.mark.timeout(240)
def test_the_size_follows_the_load_and_loses_nothing(
    release: Release, place: Place, record_figure: RecordFigure
) -> None:
    scaling = {
        "mode": "Auto",
        "minReplicas": 1,
        "maxReplicas": 3,
        "objective": {"latencyMilliseconds": 150},
        "scaleDown": {"holdSeconds": 5, "maxHoldSeconds": 10},
    }
    pose = place.pose(replicas=1, scaling=scaling, wait=False)
    capacity = capacity_beside(place)
    pose.wait_rolled_out()
    wait_until(lambda: pose.condition("ScalingActive")["status"] == "True", 30, "load is read")
    assert (desired(pose), len(pose.pods())) == (1, 1), "it has grown without any load"
    # what one pod can just do; none is refused while the second one starts: all probers fit its queue
    with place.agent.traffic(pose.url, new=4, kept=4, every_seconds=8 / capacity) as traffic:
        begin = time.monotonic()
        scaled = wait_until(lambda: scaled_up(pose), UP_SECONDS, "scaled up")
        decided = time.monotonic() - begin
        wait_until(lambda: len(pose.ready_pods()) >= 2, UP_SECONDS, "more pods ready")
        served = time.monotonic() - begin
        traffic.wait_total(LEAST)
    ended, seen = time.monotonic(), Rollout()
    every = REST_PROBERS / (REST_SHARE * capacity)
    with place.agent.traffic(pose.url, every_seconds=every) as rest:
        wait_until(lambda: seen.look(pose) and desired(pose) == 1, DOWN_SECONDS, "scaled down")
        lowered = time.monotonic() - ended
        wait_single(pose, seen)
        rest.wait_total(LEAST_REST)

    meanwhile = seen.asked_meanwhile(rest.asked)
    record_figure("load to decision", decided, bar=f"<= {UP_SECONDS:.0f} s", unit="s")
    record_figure("load to the extra pod Ready", served, bar=f"<= {UP_SECONDS:.0f} s", unit="s")
    record_figure("end of load to one pod wanted", lowered, bar=f"<= {DOWN_SECONDS:.0f} s", unit="s")
    record_figure("failed requests, up by load", len(traffic.failures), bar="0", sample=traffic.shown())
    shown = f"{rest.shown()}; {meanwhile} while pods ended"
    record_figure("failed requests, down by load", len(rest.failures), bar="0", sample=shown)
    assert traffic.failures == []
    assert rest.failures == []
    assert scaled["from"] == 1
    assert scaled["reason"] in {"DemandRose", "Burst"}
    assert served <= UP_SECONDS
    assert len(seen.ending) >= 1
    assert len(rest.asked) >= LEAST_REST
    assert meanwhile >= LEAST_ENDING
    told = {
        one["reason"]
        for one in place.api.list("events", place.namespace)
        if one["regarding"]["name"] == pose.name
    }
    assert told & {"DemandRose", "Burst", "Scaled"}, told


def capacity_beside(place: Place) -> float:
    """Answers per second of one pod, measured with a PoseCluster that is deleted before the test."""
    measured = place.pose("measured", replicas=1)
    capacity = place.agent.capacity(measured.url)
    measured.patch(replicas=0)
    measured.wait_settled(0)
    return capacity


def desired(pose: Pose) -> int:
    """Pods that are wanted now."""
    return int(pose.get()["status"].get("desiredReplicas", 0))


def scaled_up(pose: Pose) -> Json:
    """What it last did about its size, once more than one pod is wanted; else nothing."""
    status: Json = pose.get()["status"]
    return status["lastScaling"] if status.get("desiredReplicas", 0) >= 2 else {}
