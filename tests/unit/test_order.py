"""How many pods are ordered while pods leave cordoned or failed nodes."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from posecluster_operator.builders import labels
from posecluster_operator.resource.stable_text import stamp
from posecluster_operator.scaling.deletion_cost import costs
from posecluster_operator.scaling.order import MOVE_SECONDS, desired_size, make_order

pytestmark = pytest.mark.unit

NOW = datetime(2026, 11, 23, 2, 0, 0, tzinfo=UTC)
CORDONED = frozenset({"a"})


def pod(
    name: str, node: str, *, ready: bool = True, lost: bool = False, ending: bool = False
) -> dict[str, Any]:
    unready = {"status": "False"} if lost else {"status": "False", "reason": "ContainersNotReady"}
    conditions = [
        {"type": "Ready", **({"status": "True"} if ready and not lost else unready)},
        {"type": "ContainersReady", "status": "True" if ready or lost else "False"},
    ]
    metadata = {"name": name, "uid": name} | ({"deletionTimestamp": "2026-11-23T02:00:00Z"} if ending else {})
    return {"metadata": metadata, "spec": {"nodeName": node}, "status": {"conditions": conditions}}


def moving(since: datetime | str, replicas: int = 2, extra: str = "1") -> dict[str, Any]:
    noted = since if isinstance(since, str) else stamp(since)
    annotations = {labels.MOVING_SINCE: noted, labels.EXTRA_REPLICAS: extra}
    return {"metadata": {"annotations": annotations}, "spec": {"replicas": replicas}}


@pytest.mark.parametrize(
    ("desired", "pods", "ordered"),
    [
        (1, [pod("x", "b")], 1),  # the control: its node is not cordoned
        (1, [pod("x", "a")], 2),
        (1, [pod("x", "a"), pod("y", "b", ready=False)], 2),  # the replacement starts
        (1, [pod("x", "a"), pod("y", "b")], 1),  # it is ready, so the other is removed
        (1, [pod("x", "a", ending=True), pod("y", "b")], 1),
        (1, [pod("x", "a", ending=True)], 1),  # evicted: the Deployment replaces it
        (2, [pod("x", "a"), pod("y", "a")], 4),
        (2, [pod("x", "a"), pod("y", "b")], 3),
        (3, [pod("x", "a"), pod("y", "b"), pod("z", "b")], 4),
        (1, [pod("x", "a"), pod("y", "a")], 3),  # a step down from 2 to 1 on the cordoned node
        (0, [pod("x", "a")], 0),
        (1, [pod("x", "b", lost=True)], 2),
        (1, [pod("x", "b", ready=False)], 1),
        (1, [], 1),
    ],
)
def test_each_leaving_pod_gets_a_replacement_until_enough_are_ready_elsewhere(
    desired: int, pods: list[dict[str, Any]], ordered: int
) -> None:
    order = make_order(desired, deployment=None, pods=pods, cordoned=CORDONED, now=NOW)
    assert order.replicas == ordered
    assert (order.extra > 0) == bool(order.since)


def test_a_move_ends_after_five_minutes_and_its_beginning_survives_a_restart() -> None:
    pods = [pod("x", "a"), pod("y", "", ready=False)]

    def after(seconds: float) -> Any:
        began = NOW - timedelta(seconds=seconds)
        return make_order(1, deployment=moving(began), pods=pods, cordoned=CORDONED, now=NOW)

    early, late = after(MOVE_SECONDS - 1), after(MOVE_SECONDS)
    assert (early.replicas, early.gave_way, early.seconds_left) == (2, False, 1.0)
    assert (late.replicas, late.gave_way, late.since) == (
        1,
        True,
        stamp(NOW - timedelta(seconds=MOVE_SECONDS)),
    )


@pytest.mark.parametrize("noted", ["", "yesterday", "2999-01-01T00:00:00Z", "99999"])
def test_a_forged_beginning_cannot_delay_a_drain_for_longer(noted: str) -> None:
    pods = [pod("x", "a")]
    order = make_order(1, deployment=moving(noted), pods=pods, cordoned=CORDONED, now=NOW)
    assert order.seconds_left == MOVE_SECONDS
    assert order.since == stamp(NOW)


@pytest.mark.parametrize(
    ("extra", "desired"), [("1", 1), ("", 2), ("x", 2), ("-1", 2), ("9", 0), ("1000", 2)]
)
def test_the_desired_size_is_known_from_the_deployment(extra: str, desired: int) -> None:
    assert desired_size(moving(NOW, extra=extra), taken_over=False) == desired
    assert desired_size(moving(NOW, extra=extra), taken_over=True) == 2
    assert desired_size(None, taken_over=False) is None


def test_the_pod_on_the_cordoned_node_is_removed_even_if_it_is_the_busiest() -> None:
    pods = [pod("busy", "a"), pod("idle", "b")]
    activity = {"busy": (9.0, 9.0), "idle": (0.0, 0.0)}
    order = make_order(1, deployment=None, pods=pods, cordoned=CORDONED, now=NOW)
    leaving = {one["metadata"]["uid"] for one in order.leaving}
    assert costs(pods, activity, removed=1, leaving=leaving) == {"busy": "-1"}
    assert costs(pods, activity, removed=1) == {"idle": "-1"}  # the control
