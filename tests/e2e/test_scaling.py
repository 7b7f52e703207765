"""Check 2 on a real cluster: the size goes up and down, by hand and by load, and nothing is lost."""

import time

import pytest

from harness.e2e.agent import Agent, Asked
from harness.e2e.pose import Place, Pose
from harness.e2e.release import Release
from harness.e2e.rollout import Rollout
from harness.kubernetes.waiting import wait_until
from harness.recorder import RecordFigure

ROUNDS = 3
SHARE = 0.7  # of what one pod can do
LEAST, EACH = 400, 4
NEW, KEPT = 2, 3  # probers
UP_SECONDS, DOWN_SECONDS = 30.0, 100.0
MEASURE_SECONDS = 3.0


@pytest.fixture(scope="module")
def pose(shared_place: Place) -> Pose:
    """One pod, of a fixed size."""
    return shared_place.pose(replicas=1)


def capacity_of_one(agent: Agent, pose: Pose) -> float:
    """Answers a second of a single pod that is never idle."""
    with agent.traffic(pose.url, new=0, kept=3, every_seconds=0.0, seconds=MEASURE_SECONDS) as traffic:
        wait_until(lambda: agent.order("GET", f"runs/{traffic.name}")["over"], 30, "measured")
    assert traffic.failures == []
    return len(traffic.asked) / (max(one.ended for one in traffic.asked) - traffic.asked[0].started)


def shrink(pose: Pose, seen: Rollout) -> None:
    """From two to one: both had served; wait until the other has gone."""
    insides = [pose.inside(pod) for pod in pose.pods()]
    goals = [one.metric("completed_total") + EACH for one in insides]

    def served() -> bool:
        return all(one.metric("completed_total") >= goal for one, goal in zip(insides, goals, strict=True))

    wait_until(served, 30, "both have served")
    pose.patch(replicas=1)

    def shrunk() -> bool:
        seen.look(pose)
        return len(pose.pods()) == 1

    wait_until(shrunk, 60, "one pod")


@pytest.mark.acceptance(2)
@pytest.mark.usefixtures("release")
def test_scaling_by_hand_loses_nothing(shared_place: Place, pose: Pose, record_figure: RecordFigure) -> None:
    agent, seen = shared_place.agent, Rollout()
    pose.wait_settled(1)
    capacity = capacity_of_one(agent, pose)
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
    record_figure("traffic in capacities of one pod", share, bar=f"{SHARE} meant", sample=len(asked))
    record_figure("requests while pods ended", meanwhile, bar="> 0", sample=f"{len(seen.ending)} pods")
    assert failed == []
    assert len({one.id for one in asked}) == len(asked) >= LEAST
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
        "scaleDown": {"holdSeconds": 1, "maxHoldSeconds": 2},
    }
    pose = place.pose(replicas=1)
    capacity = capacity_of_one(place.agent, pose)
    pose.patch(scaling=scaling)
    wait_until(lambda: pose.condition("ScalingActive")["status"] == "True", 30, "load is read")
    # what one pod can just do, so that none is refused while the second one starts
    with place.agent.traffic(pose.url, new=4, kept=4, every_seconds=8 / capacity) as traffic:
        begin = time.monotonic()
        wait_until(lambda: desired(pose) >= 2, UP_SECONDS, "scaled up")
        decided = time.monotonic() - begin
        wait_until(lambda: len(pose.ready_pods()) >= 2, UP_SECONDS, "more pods ready")
        served = time.monotonic() - begin
        traffic.wait_total(LEAST)
        with_load, scaled = desired(pose), pose.get()["status"]["lastScaling"]
        ended = time.monotonic()
    with place.agent.traffic(pose.url, every_seconds=2.0) as rest:
        wait_until(lambda: desired(pose) == 1, DOWN_SECONDS, "scaled down")
        lowered = time.monotonic() - ended
        pose.wait_settled(1)

    record_figure("load to decision", decided, bar=f"<= {UP_SECONDS:.0f} s", unit="s")
    record_figure("load to the extra pod Ready", served, bar=f"<= {UP_SECONDS:.0f} s", unit="s")
    record_figure("end of load to one pod wanted", lowered, bar=f"<= {DOWN_SECONDS:.0f} s", unit="s")
    lost = len(traffic.failures) + len(rest.failures)
    record_figure("failed requests, up and down by load", lost, bar="0", sample=traffic.shown())
    assert traffic.failures == []
    assert rest.failures == []
    assert with_load >= 2
    assert (scaled["from"], scaled["reason"]) in {
        (1, "DemandRose"),
        (1, "Burst"),
        (2, "DemandRose"),
        (2, "Burst"),
    }
    told = {
        one["reason"]
        for one in place.api.list("events", place.namespace)
        if one["regarding"]["name"] == pose.name
    }
    assert told & {"DemandRose", "Burst", "Scaled"}, told


def desired(pose: Pose) -> int:
    """Pods that are wanted now."""
    return int(pose.get()["status"].get("desiredReplicas", 0))
