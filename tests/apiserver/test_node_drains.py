"""Pods leave cordoned and failed nodes: replacements first, and no drain is delayed for ever."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from harness import chart
from harness.kubernetes.accounts import Account
from harness.kubernetes.api import Api
from harness.kubernetes.changed_operator import planted
from harness.kubernetes.facts import wait_rolled_out
from harness.kubernetes.operator import OperatorProcess
from harness.kubernetes.player import Player
from harness.kubernetes.sizes import deployment_size
from harness.kubernetes.waiting import Json, posecluster
from posecluster_operator.builders.labels import EXTRA_REPLICAS, MOVING_SINCE

NAME, CHILD = "demo", "demo-pose"
SOON = "from posecluster_operator.scaling import order\norder.MOVE_SECONDS = 3.0\n"
CONTROL_SECONDS = 6.0  # three lists of nodes


@pytest.fixture
def nodes(api: Api, stack: ExitStack) -> tuple[str, str]:
    """Two nodes: objects without a kubelet."""
    names = (f"first-{time.monotonic_ns()}", f"second-{time.monotonic_ns()}")
    for name in names:
        api.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
        stack.callback(api.delete, "nodes", None, name)
    return names


@pytest.fixture
def account(api: Api, namespace: str) -> Iterator[Account]:
    """The operator's, with what the chart renders for `operator.watchNodes`."""
    rendered = chart.rights(namespace=namespace, operator={"watchNodes": True})
    made = api.operator_account(lease_namespace=namespace, manifests=rendered)
    yield made
    made.revoke()


@pytest.fixture
def start(start_operator: Callable[..., OperatorProcess], account: Account) -> Callable[..., OperatorProcess]:
    """Operators that may list nodes."""

    def start(**options: object) -> OperatorProcess:
        return start_operator(account=account, namespaces=(), **({"watch_nodes": "true"} | options))

    return start


def cordon(api: Api, node: str, *, cordoned: bool = True) -> None:
    api.patch("nodes", None, node, {"spec": {"unschedulable": cordoned}})


def pods(api: Api, namespace: str) -> list[tuple[str, str]]:
    """Node and name of each pod that stays."""
    found = [one for one in api.list("pods", namespace) if "deletionTimestamp" not in one["metadata"]]
    return sorted((one["spec"].get("nodeName", ""), one["metadata"]["name"]) for one in found)


def budget(api: Api, namespace: str) -> Json | None:
    found = api.find("poddisruptionbudgets", namespace, CHILD)
    return None if found is None else found["spec"]


def wait_reason(api: Api, namespace: str, reason: str, seconds: float = 10) -> Json:
    return api.wait_condition(namespace, NAME, "DisruptionSafe", reason=reason, seconds=seconds)


def place(api: Api, namespace: str, player: Player, node: str, replicas: int = 1) -> None:
    """A PoseCluster whose pods are all on this node."""
    player.node_name = node
    api.create(posecluster(NAME, namespace, replicas=replicas))
    wait_rolled_out(api, namespace, NAME)


@pytest.mark.parametrize("replicas", [1, 2])
def test_pods_on_a_cordoned_node_are_replaced_elsewhere_first(
    replicas: int,
    api: Api,
    namespace: str,
    player: Player,
    nodes: tuple[str, str],
    start: Callable[..., OperatorProcess],
) -> None:
    start()
    place(api, namespace, player, nodes[0], replicas)
    wait_reason(api, namespace, "Protected")
    assert (budget(api, namespace) or {}).get("minAvailable") == (1 if replicas == 1 else None)
    player.node_name, player.ready_seconds = nodes[1], 2.0
    cordon(api, nodes[0])
    api.wait_until(lambda: deployment_size(api, namespace, NAME) == 2 * replicas, 10, "replacements")
    moving = wait_reason(api, namespace, "MovingPods")
    assert nodes[0] in str(moving)

    def are_moved() -> bool:
        found = pods(api, namespace)
        assert len(found) >= replicas
        return [node for node, _ in found] == [nodes[1]] * replicas

    api.wait_until(are_moved, 60, "all pods on the other node")
    wait_reason(api, namespace, "Protected")
    assert deployment_size(api, namespace, NAME) == replicas
    notes = api.get("deployments", namespace, CHILD)["metadata"].get("annotations", {})
    assert not {EXTRA_REPLICAS, MOVING_SINCE} & notes.keys()


def test_without_the_value_a_cordon_changes_nothing(
    api: Api,
    namespace: str,
    player: Player,
    nodes: tuple[str, str],
    start: Callable[..., OperatorProcess],
) -> None:
    start(watch_nodes="false")
    place(api, namespace, player, nodes[0])
    before = pods(api, namespace)
    told = wait_reason(api, namespace, "SingleReplica")
    assert "operator.watchNodes" in str(told)
    api.wait_condition(namespace, NAME, "Ready", status="True")
    cordon(api, nodes[0])
    end = time.monotonic() + CONTROL_SECONDS
    while time.monotonic() < end:
        assert pods(api, namespace) == before
        assert budget(api, namespace) is None
        time.sleep(0.2)


def test_a_drain_is_delayed_only_for_a_bounded_time(
    api: Api,
    namespace: str,
    player: Player,
    nodes: tuple[str, str],
    start: Callable[..., OperatorProcess],
    tmp_path: object,
) -> None:
    start(env=planted(tmp_path / "soon", SOON))  # type: ignore[operator]
    place(api, namespace, player, nodes[0])
    player.ready_seconds = 600.0
    player.node_name = nodes[1]
    cordon(api, nodes[0])
    api.wait_until(lambda: deployment_size(api, namespace, NAME) == 2, 10, "a replacement")
    assert budget(api, namespace) is not None
    told = wait_reason(api, namespace, "NoReplacement", 15)
    assert nodes[0] in str(told)
    assert budget(api, namespace) is None
    assert deployment_size(api, namespace, NAME) == 1
    api.wait_until(
        lambda: any(one.get("reason") == "NoReplacement" for one in api.list("events", namespace)),
        10,
        "a Warning",
    )
    assert [node for node, _ in pods(api, namespace)] == [nodes[0]]
    cordon(api, nodes[0], cordoned=False)
    wait_reason(api, namespace, "Protected")
    assert (budget(api, namespace) or {}).get("minAvailable") == 1


def test_a_restarted_operator_goes_on_with_the_move(
    api: Api,
    namespace: str,
    player: Player,
    nodes: tuple[str, str],
    start: Callable[..., OperatorProcess],
) -> None:
    first = start()
    place(api, namespace, player, nodes[0])
    player.node_name, player.ready_seconds = nodes[1], 8.0
    cordon(api, nodes[0])
    api.wait_until(lambda: deployment_size(api, namespace, NAME) == 2, 10, "a replacement")
    since = api.get("deployments", namespace, CHILD)["metadata"]["annotations"][MOVING_SINCE]
    first.kill()
    start().wait_leader()

    def is_moved() -> bool:
        notes = api.get("deployments", namespace, CHILD)["metadata"].get("annotations", {})
        assert notes.get(MOVING_SINCE, since) == since
        return len(pods(api, namespace)) == 1

    api.wait_until(is_moved, 60, "one pod left")
    assert [node for node, _ in pods(api, namespace)] == [nodes[1]]


def test_without_the_right_the_operator_says_so_once_and_works(
    api: Api,
    namespace: str,
    player: Player,
    start_operator: Callable[..., OperatorProcess],
) -> None:
    rendered = chart.rights(namespace=namespace)
    account = api.operator_account(lease_namespace=namespace, manifests=rendered)
    try:
        operator = start_operator(account=account, namespaces=(), watch_nodes="true")
        api.create(posecluster(NAME, namespace))
        wait_rolled_out(api, namespace, NAME)
        wait_reason(api, namespace, "SingleReplica")
        assert budget(api, namespace) is None
        assert operator.logs().count("Nodes may not be listed") == 1
    finally:
        account.revoke()


def test_pods_of_a_failed_node_are_named_and_replaced_at_once(
    api: Api,
    namespace: str,
    player: Player,
    nodes: tuple[str, str],
    start_operator: Callable[..., OperatorProcess],
) -> None:
    start_operator()
    place(api, namespace, player, nodes[0])
    player.node_name, player.ready_seconds = nodes[1], 2.0
    ((_, name),) = pods(api, namespace)
    status = api.get("pods", namespace, name)["status"]
    # as the node controller does it: only Ready, without a reason
    for one in status["conditions"]:
        if one["type"] == "Ready":
            one["status"] = "False"
    api.patch_status("pods", namespace, name, {"conditions": status["conditions"]})
    told = wait_reason(api, namespace, "NodeSilent")
    assert nodes[0] in str(told)
    assert name in str(told)
    api.wait_until(
        lambda: [node for node, _ in pods(api, namespace)] == [nodes[1]], 15, "one pod on the other node"
    )
    wait_reason(api, namespace, "SingleReplica")
