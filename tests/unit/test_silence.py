"""Which nodes are named as silent, and the texts about them."""

from typing import Any

import pytest

from posecluster_operator.scaling.silence import (
    SILENT_SECONDS,
    is_lost,
    silent_advice,
    silent_message,
    silent_nodes,
    with_lost,
)

pytestmark = pytest.mark.unit

NOW = 1000.0
LONG, SHORT = NOW - SILENT_SECONDS, NOW - SILENT_SECONDS + 1


@pytest.mark.parametrize(
    ("pods", "silent"),
    [
        ([("a", LONG), ("b", None)], {"a"}),
        ([("a", LONG), ("a", LONG), ("b", None)], {"a"}),
        ([("a", SHORT), ("b", None)], set()),
        ([("a", LONG), ("a", None), ("b", None)], set()),  # one pod hangs, not the node
        ([("a", LONG), ("b", LONG)], set()),  # the operator's own network, or a NetworkPolicy
        ([("", LONG), ("b", None)], set()),
        ([], set()),
    ],
)
def test_a_node_is_silent_if_all_its_pods_are_and_others_respond(
    pods: list[tuple[str, float | None]], silent: set[str]
) -> None:
    assert silent_nodes(NOW, pods) == silent


def pod(ready: dict[str, str], containers: str, node: str = "a") -> dict[str, Any]:
    conditions = [{"type": "Ready", **ready}, {"type": "ContainersReady", "status": containers}]
    return {"metadata": {"name": "p"}, "spec": {"nodeName": node}, "status": {"conditions": conditions}}


@pytest.mark.parametrize(
    ("ready", "containers", "lost"),
    [
        ({"status": "False"}, "True", True),
        ({"status": "True"}, "True", False),
        ({"status": "False", "reason": "ContainersNotReady"}, "False", False),
        ({"status": "False", "reason": "ReadinessGatesNotReady"}, "True", False),
    ],
)
def test_a_pod_is_lost_if_not_the_kubelet_set_it_to_unready(
    ready: dict[str, str], containers: str, lost: bool
) -> None:
    found = pod(ready, containers)
    assert is_lost(found) is lost
    assert with_lost({}, [found]) == ({"a": ("p",)} if lost else {})
    assert with_lost({"a": ("o",)}, [found])["a"] == (("o", "p") if lost else ("o",))


def test_message_and_advice_name_the_node_and_its_pods() -> None:
    silent = {"worker-2": ("x", "y", "z", "w"), "worker-3": ("v",)}
    message = silent_message(silent)
    assert "node worker-2 (pods x, y, z and 1 more), node worker-3 (pod v)" in message
    commands = [line for line in silent_advice("team", silent) if line.startswith("kubectl ")]
    assert "kubectl describe node worker-2" in commands
    assert "kubectl -n team delete pod --wait=false x y z w" in commands
