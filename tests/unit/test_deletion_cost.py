"""Which pods are removed when the size is lowered."""

from typing import Any

import pytest

from posecluster_operator.scaling.deletion_cost import COST, costs

pytestmark = pytest.mark.unit

ACTIVITY = {"uid-a": (3.0, 9.0), "uid-b": (0.0, 1.0), "uid-c": (0.0, 0.0), "uid-d": (0.0, 5.0)}


def pod(
    name: str, *, cost: str | None = None, ready: bool = True, ending: bool = False, phase: str = "Running"
) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, "uid": f"uid-{name}"}
    if cost is not None:
        metadata["annotations"] = {COST: cost}
    if ending:
        metadata["deletionTimestamp"] = "2026-11-23T02:00:00Z"
    return {
        "metadata": metadata,
        "status": {
            "phase": phase,
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        },
    }


PODS = [pod(name) for name in "abcd"]


@pytest.mark.parametrize(("removed", "going"), [(0, ""), (1, "c"), (2, "bc"), (3, "bcd"), (9, "abcd")])
def test_the_idlest_pods_are_deleted_first(removed: int, going: str) -> None:
    assert costs(PODS, ACTIVITY, removed=removed) == dict.fromkeys(going, "-1")


def test_a_pod_without_metrics_is_deleted_last() -> None:
    assert costs([pod("x"), *PODS], ACTIVITY, removed=4) == dict.fromkeys("abcd", "-1")


def test_pods_that_are_not_ready_need_no_deletion_cost() -> None:
    pods = [*PODS, pod("new", ready=False)]
    assert costs(pods, ACTIVITY, removed=1) == {}
    assert costs(pods, ACTIVITY, removed=2) == {"c": "-1"}


def test_terminating_pods_do_not_count_towards_the_size() -> None:
    assert costs([*PODS, pod("old", ending=True)], ACTIVITY, removed=1) == {"c": "-1"}
    assert costs([pod("old", cost="-1", ending=True)], ACTIVITY, removed=0) == {}


@pytest.mark.parametrize("phase", ["Failed", "Succeeded"])
def test_pods_that_have_ended_do_not_count_towards_the_size(phase: str) -> None:
    """Evicted pods stay in the list, but the controller does not count them."""
    assert costs([*PODS, pod("old", ready=False, phase=phase)], ACTIVITY, removed=1) == {"c": "-1"}


def test_the_deletion_cost_of_an_earlier_step_is_removed_or_kept() -> None:
    pods = [pod("a", cost="-1"), pod("b"), pod("c", cost="-1")]
    assert costs(pods, ACTIVITY, removed=0) == {"a": None, "c": None}
    assert costs(pods, ACTIVITY, removed=1) == {"a": None}
    assert costs([pod("c", cost="7")], ACTIVITY, removed=1) == {"c": "-1"}
