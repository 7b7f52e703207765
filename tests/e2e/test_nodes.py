"""Drains and failures of nodes under PoseClusters, with and without the right to list nodes."""

from collections.abc import Iterator

import pytest

from harness.e2e.nodes import Nodes
from harness.e2e.pods import uids
from harness.e2e.pose import Place, Pose
from harness.e2e.release import NAMESPACE, OPERATOR, Release
from harness.kubernetes.api import Api
from harness.kubernetes.waiting import wait_until
from harness.recorder import RecordFigure

pytestmark = [pytest.mark.serial, pytest.mark.timeout(300)]

LEAST = 200
HOSTNAME = r"operator__nodeSelector__kubernetes\.io/hostname"


@pytest.fixture
def changed(release: Release) -> Iterator[Release]:
    """A release that the test upgrades; at the end it has the chart's own values again."""
    yield release
    release.upgrade(operator__watchNodes="false")  # without any value, helm would keep the last ones


def drain_under_traffic(api: Api, place: Place, pose: Pose) -> tuple[int, str]:
    """Drain the node of the only pod; return the number of failed requests, and what was asked."""
    (pod,) = pose.pods()
    node = pod["spec"]["nodeName"]
    with place.agent.traffic(pose.url) as traffic:
        traffic.wait(20)
        try:
            only_ours = f"--pod-selector={pose.labels}"
            api.kubectl("drain", node, only_ours, "--delete-emptydir-data", "--timeout=110s")
            pose.wait_settled(1)
            assert [one["spec"]["nodeName"] for one in pose.pods()] != [node]
        finally:
            api.kubectl("uncordon", node)
        traffic.wait_total(LEAST)
    return len(traffic.failures), traffic.shown()


@pytest.mark.acceptance(33)
def test_the_node_of_a_single_pod_is_drained_without_a_gap(
    nodes: Nodes, api: Api, place: Place, changed: Release, record_figure: RecordFigure
) -> None:
    nodes.need(2)
    pose = place.pose(replicas=1)
    assert pose.condition("DisruptionSafe")["reason"] == "SingleReplica"
    failed, shown = drain_under_traffic(api, place, pose)
    record_figure("single pod drained, control: failed requests", failed, bar="> 0", sample=shown)
    assert failed > 0, "the control: without the right to list nodes there is a gap"
    changed.upgrade(operator__watchNodes="true")
    wait_until(lambda: pose.condition("DisruptionSafe").get("reason") == "Protected", 30, "protected")
    failed, shown = drain_under_traffic(api, place, pose)
    record_figure("single pod drained: failed requests", failed, bar="0", sample=shown)
    assert failed == 0
    assert pose.deployment()["spec"]["replicas"] == 1


@pytest.mark.usefixtures("release")
def test_a_rollout_restart_spreads_pods_that_share_a_node(
    nodes: Nodes, api: Api, place: Place, record_figure: RecordFigure
) -> None:
    away, *_ = nodes.need(2)
    api.kubectl("cordon", away)
    others = nodes.names()
    try:
        for other in others[1:]:
            api.kubectl("cordon", other)
        pose = place.pose()
        assert len({one["spec"]["nodeName"] for one in pose.pods()}) == 1
    finally:
        for node in (away, *others):
            api.kubectl("uncordon", node)
    before = uids(pose.pods())
    with place.agent.traffic(pose.url) as traffic:
        traffic.wait(20)
        api.kubectl("-n", pose.namespace, "rollout", "restart", f"deployment/{pose.name}-pose")
        pose.wait_settled(2, without=before, seconds=90)
        traffic.wait_total(LEAST)
    record_figure(
        "spread by a restart: failed requests", len(traffic.failures), bar="0", sample=traffic.shown()
    )
    assert traffic.failures == []
    assert len({one["spec"]["nodeName"] for one in pose.pods()}) == 2


def test_a_frozen_node_and_its_pods_are_named(nodes: Nodes, api: Api, place: Place, changed: Release) -> None:
    ours, frozen = nodes.need(2)[:2]
    changed.upgrade(**{HOSTNAME: ours})
    pose = place.pose(wait=False, scaling={"mode": "Auto", "minReplicas": 2, "maxReplicas": 2})
    pose.wait_settled(2)
    victims = [one["metadata"]["name"] for one in pose.pods() if one["spec"]["nodeName"] == frozen]
    assert len(victims) == 1, "one pod on each node"

    def explanation() -> str:
        where = ("-n", NAMESPACE, f"deployment/{OPERATOR}")
        command = ("posecluster-operator", "explain", pose.name, "-n", pose.namespace)
        return api.kubectl("exec", *where, "--", *command).stdout

    wait_until(lambda: "2 measured" in explanation(), 30, "both pods scraped")
    assert frozen not in explanation()
    with nodes.frozen(frozen):
        wait_until(
            lambda: pose.condition("DisruptionSafe").get("reason") == "NodeSilent", 30, "the node named"
        )
        message, said = pose.condition("DisruptionSafe")["message"], explanation()
        for text in (frozen, victims[0]):
            assert text in message
            assert text in said
        assert f"kubectl describe node {frozen}" in said
        assert "Nothing" not in said

        def replaced() -> bool:
            names = {one["metadata"]["name"] for one in pose.ready_pods()}
            return len(names) == 2 and not names & set(victims)

        wait_until(replaced, 75, "a replacement on the other node")
    pose.wait_settled(2)
    wait_until(lambda: pose.condition("DisruptionSafe").get("reason") == "Protected", 30, "well again")
