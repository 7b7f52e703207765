"""Checks 9 and 23 on a real cluster: traffic does not need the operator, and only one operator writes."""

import time

import pytest

from harness.e2e.cluster import SAME_IMAGE
from harness.e2e.pods import uids
from harness.e2e.pose import Place, Pose
from harness.e2e.release import NAMESPACE, Release
from harness.e2e.rollout import watch_replaced
from harness.kubernetes.api import Api
from harness.kubernetes.waiting import wait_until
from harness.recorder import RecordFigure

pytestmark = pytest.mark.serial

LEAST = 400
AWAY_SECONDS, BACK_SECONDS = 20.0, 30.0
SHARE, PROBERS = 0.5, 4  # of what its pods can do
TAKEOVER_SECONDS = 30.0
KILLS = 2
CHANGES: tuple[dict[str, object], ...] = (
    {"model": {"variant": "Heavy"}, "replicas": 3},
    {"image": "posecluster-inference:none"},
    {"image": SAME_IMAGE, "model": {"variant": "Lite"}, "replicas": 2},
)


@pytest.fixture(scope="module")
def pose(shared_place: Place) -> Pose:
    """Two pods."""
    return shared_place.pose()


@pytest.mark.acceptance(9)
def test_traffic_does_not_need_the_operator(
    release: Release, api: Api, shared_place: Place, pose: Pose, record_figure: RecordFigure
) -> None:
    agent, old = shared_place.agent, uids(pose.pods())
    versions = stands(api, pose)
    capacity = agent.capacity(pose.url, pods=2)
    with agent.traffic(pose.url, every_seconds=PROBERS / (SHARE * capacity)) as traffic:
        release.scale(0)
        since = time.monotonic()
        try:
            for change in CHANGES:
                traffic.wait(20)
                pose.patch(**change)
            wait_until(lambda: time.monotonic() - since >= AWAY_SECONDS, 60, "away for long enough")
            assert stands(api, pose) == versions, "somebody wrote while the operator was away"
            assert uids(pose.ready_pods()) == old
            traffic.wait_total(LEAST)
            failed_away = len(traffic.failures)
        finally:
            release.scale(1)
        back = time.monotonic()
        rollout = watch_replaced(pose, old)
        took = time.monotonic() - back

    record_figure(
        "away 20 s: failed requests",
        failed_away,
        bar="0",
        sample=f"{len(CHANGES)} changes; {traffic.shown()}",
    )
    record_figure("away 20 s: traffic in capacities", traffic.rate() / capacity, bar=f"{SHARE} meant")
    record_figure("last change rolled out after the return", took, bar=f"<= {BACK_SECONDS:.0f} s", unit="s")
    assert traffic.failures == []
    assert rollout.fewest_ready >= 2
    assert len(api.list("replicasets", pose.namespace)) == 2, "one rollout, only to the last change"
    assert pose.deployment()["spec"]["template"]["spec"]["containers"][0]["image"] == SAME_IMAGE
    assert took <= BACK_SECONDS


def stands(api: Api, pose: Pose) -> list[tuple[str, str]]:
    """Name and generation, or version, of what the operator makes."""
    found = api.list("deployments", pose.namespace) + api.list("poddisruptionbudgets", pose.namespace)
    services = [
        (one["metadata"]["name"], one["metadata"]["resourceVersion"])
        for one in api.list("services", pose.namespace)
    ]
    return sorted([(one["metadata"]["name"], str(one["metadata"]["generation"])) for one in found] + services)


@pytest.mark.acceptance(23)
@pytest.mark.timeout(240)
def test_a_standby_takes_over_from_a_killed_leader(
    release: Release, api: Api, place: Place, record_figure: RecordFigure
) -> None:
    """Two operators; the leader's pod is deleted without grace, and another pod takes over.

    A pod that is deleted may still have the time to give its Lease back; that nobody else writes until a
    Lease has run out is proven in the apiserver tier, as is that writes of two never overlap.
    """
    takeovers = []
    release.scale(2)
    try:
        leader = leading(release)
        for turn in range(KILLS):
            ended = time.monotonic()
            api.delete("pods", NAMESPACE, leader, grace_seconds=0)
            pose = place.pose(f"after-{turn}", wait=False, replicas=1)
            wait_until(lambda of=pose: of.get().get("status"), TAKEOVER_SECONDS, "looked at")  # type: ignore[misc]
            takeovers.append(time.monotonic() - ended)
            before, leader = leader, leading(release)
            assert leader != before
            pose.wait_rolled_out()
            assert release.holder() == leader, "another one has made it ready"
            assert leaders(release) <= {leader}
            pose.patch(replicas=0)
            release.wait_ready()
    finally:
        release.scale(1)
    record_figure(
        "leader deleted without grace: a new one is looked at after", max(takeovers),
        bar=f"<= {TAKEOVER_SECONDS:.0f} s", unit="s", sample=KILLS,
    )  # fmt: skip
    assert max(takeovers) <= TAKEOVER_SECONDS


@pytest.mark.acceptance(23)
def test_a_second_operator_by_mistake_writes_nothing(
    release: Release, api: Api, place: Place, record_figure: RecordFigure
) -> None:
    """Scaled to three manually: one of them holds the Lease, and all writes are its writes."""
    holder = leading(release)
    release.scale(3)
    try:
        names = {pod["metadata"]["name"] for pod in release.ready_pods()}
        before = {name: writes(release, name) for name in names}
        pose = place.pose(replicas=1)
        pose.patch(replicas=0)
        pose.wait_settled(0)
        wrote = {name: writes(release, name) - before[name] for name in names}
        assert release.holder() == holder
    finally:
        release.scale(1)
    others = sum(count for name, count in wrote.items() if name != holder)
    shown = f"{wrote[holder]:.0f} of its holder"
    record_figure("writes of those without the Lease", others, bar="0", sample=shown)
    assert len(wrote) == 3
    assert others == 0
    assert wrote[holder] > 0


def leading(release: Release) -> str:
    """The pod that leads; waits until there is one."""
    return wait_until(lambda: next(iter(leaders(release)), ""), TAKEOVER_SECONDS, "a leader")


def leaders(release: Release) -> set[str]:
    """The pods that say that they lead."""
    names = [pod["metadata"]["name"] for pod in release.ready_pods()]
    return {name for name in names if release.inside(name).metric("leader") == 1}


def writes(release: Release, name: str) -> float:
    """What an operator has sent to change something, but for the Lease."""
    pod = release.inside(name)
    return sum(pod.metric("api_requests_total", verb=verb) for verb in ("apply", "create", "patch", "delete"))
