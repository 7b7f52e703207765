"""Which ReplicaSets are resized while a rollout is stuck."""

from typing import Any

import pytest

from posecluster_operator.reconcile.stuck_rollout import resizes

PREFIX = "deployment.kubernetes.io/"


def deployment(
    size: int, *, revision: int = 2, max_unavailable: int = 0, observed: int = 7
) -> dict[str, Any]:
    return {
        "metadata": {
            "uid": "d",
            "name": "demo-pose",
            "generation": 7,
            "annotations": {f"{PREFIX}revision": str(revision)},
        },
        "spec": {
            "replicas": size,
            "strategy": {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": max_unavailable}},
        },
        "status": {"observedGeneration": observed},
    }


def replica_set(
    revision: int, size: int, available: int, *, desired: int = 6, maximum: int = 8, owner: str = "d"
) -> dict[str, Any]:
    return {
        "metadata": {
            "name": f"rs{revision}",
            "resourceVersion": "5",
            "ownerReferences": [{"controller": True, "uid": owner}],
            "annotations": {
                f"{PREFIX}revision": str(revision),
                f"{PREFIX}desired-replicas": str(desired),
                f"{PREFIX}max-replicas": str(maximum),
            },
        },
        "spec": {"replicas": size},
        "status": {"availableReplicas": available},
    }


def sizes(cluster: dict[str, Any], *replica_sets: dict[str, Any]) -> dict[str, int]:
    return {one.name: one.after for one in resizes(cluster, replica_sets)}


def test_half_of_a_scale_up_given_to_the_broken_template_is_moved_to_the_serving_one() -> None:
    """As Kubernetes distributes 1 -> 6: 4 and 4."""
    moved = resizes(deployment(6), [replica_set(1, 4, 4), replica_set(2, 4, 0)])
    assert [(one.name, one.before, one.after) for one in moved] == [("rs1", 4, 6), ("rs2", 4, 2)]
    assert {one.version for one in moved} == {"5"}


@pytest.mark.parametrize(
    ("serving", "broken"),
    [((6, 6), (2, 0)), ((6, 4), (2, 0)), ((6, 4), (1, 0))],
    ids=["moved", "held up by a quota or full nodes", "no room"],
)
def test_missing_pods_are_ordered_once(serving: tuple[int, int], broken: tuple[int, int]) -> None:
    """Sizes count, not ready pods; otherwise more would be ordered for ever."""
    assert sizes(deployment(6), replica_set(1, *serving), replica_set(2, *broken)) == {}


def test_available_pods_of_the_new_template_count_and_are_never_removed() -> None:
    found = sizes(deployment(6), replica_set(1, 3, 3), replica_set(2, 5, 1))
    assert found == {"rs1": 5, "rs2": 3}
    assert sizes(deployment(6), replica_set(1, 3, 3), replica_set(2, 5, 5)) == {}


def test_the_broken_template_keeps_one_pod_that_shows_when_it_heals() -> None:
    found = sizes(deployment(6), replica_set(1, 1, 1, maximum=6), replica_set(2, 5, 0, maximum=6))
    assert found == {"rs1": 6, "rs2": 1}


def test_pods_of_an_earlier_broken_template_go_first() -> None:
    found = sizes(deployment(6, revision=3), replica_set(1, 4, 4), replica_set(2, 2, 0), replica_set(3, 2, 0))
    assert found == {"rs1": 6, "rs2": 0}


def test_a_rest_that_an_interrupted_pass_left_is_removed() -> None:
    assert sizes(deployment(6), replica_set(1, 6, 4), replica_set(2, 4, 0)) == {"rs2": 2}


def test_pods_that_may_be_unavailable_are_not_replaced() -> None:
    """Otherwise the Deployment controller would undo each move."""
    cluster = deployment(4, max_unavailable=1)
    old, new = replica_set(1, 3, 3, desired=4, maximum=5), replica_set(2, 2, 0, desired=4, maximum=5)
    assert sizes(cluster, old, new) == {}


@pytest.mark.parametrize("size", [1, 4, 6, 500])
def test_a_stuck_rollout_without_a_scale_up_is_left_as_it_is(size: int) -> None:
    surge = -(-size // 4)
    old = replica_set(1, size, size, desired=size, maximum=size + surge)
    new = replica_set(2, surge, 0, desired=size, maximum=size + surge)
    assert sizes(deployment(size), old, new) == {}


def test_nothing_is_moved_before_the_controller_has_distributed_the_size() -> None:
    stale = replica_set(1, 1, 1, desired=1, maximum=2), replica_set(2, 1, 0, desired=1, maximum=2)
    assert sizes(deployment(6), *stale) == {}
    assert sizes(deployment(6, observed=6), replica_set(1, 4, 4), replica_set(2, 4, 0)) == {}


def test_nothing_is_moved_without_pods_that_serve() -> None:
    assert sizes(deployment(6), replica_set(2, 6, 0)) == {}
    assert sizes(deployment(6), replica_set(1, 4, 0), replica_set(2, 4, 0)) == {}
    assert sizes(deployment(6), replica_set(1, 4, 4, owner="other"), replica_set(2, 4, 0)) == {}
