"""Events are for transitions: what is told, and what goes without saying."""

from datetime import UTC, datetime
from typing import Any

import pytest

from harness.kube_objects import container, deployment, pod, waiting
from harness.poseclusters import posecluster
from posecluster_operator.autoscaler import State, decide
from posecluster_operator.autoscaler.decision import NOTHING
from posecluster_operator.models import ScalingMode
from posecluster_operator.status import Notice, compute_status, notices

pytestmark = pytest.mark.unit

BROKEN = pod(container(state=waiting("InvalidImageName", "invalid reference format")))
BROKEN_NOTE = "InvalidImageName: invalid reference format"


def status(
    observed: Any, *pods: Any, size: int = 1, mode: ScalingMode = ScalingMode.FIXED, paused: bool = False
) -> dict[str, Any]:
    state = State(mode=mode, fixed_replicas=size, min_replicas=1, max_replicas=10, current=size)
    return compute_status(
        posecluster(paused=paused),
        deployment=observed,
        pods=pods,
        decision=None if paused else decide(0, NOTHING, state),
        problem=None,
        now=datetime(2026, 11, 22, tzinfo=UTC),
    )


STARTING = status(deployment())
SETTLED = status(deployment(ready=1))
FAILING = status(deployment(), BROKEN)
FAILING_BESIDE = status(deployment(ready=1, total=2), BROKEN)
GROWING = status(deployment(replicas=2, ready=1), size=2)
SETTLED_TWO = status(deployment(replicas=2, ready=2), size=2)
ZERO = status(deployment(replicas=0), size=0)
PAUSED = status(deployment(replicas=5, ready=5), paused=True)
AUTO = status(deployment(ready=1), mode=ScalingMode.AUTO)
LOST = status(deployment())


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({}, STARTING, []),
        ({}, SETTLED, []),
        ({}, AUTO, []),
        ({}, FAILING, ["Warning ImagePullBackOff"]),
        ("forged", FAILING, ["Warning ImagePullBackOff"]),
        (SETTLED, SETTLED, []),
        (STARTING, SETTLED, ["Normal RolloutComplete"]),
        (STARTING, FAILING, ["Warning ImagePullBackOff"]),
        (FAILING, STARTING, ["Normal RollingOut"]),
        (FAILING, SETTLED, ["Normal RolloutComplete"]),
        (SETTLED, FAILING_BESIDE, ["Warning ImagePullBackOff"]),
        (SETTLED, LOST, ["Warning NoReadyPods"]),
        (STARTING, FAILING_BESIDE, ["Normal PodsReady", "Warning ImagePullBackOff"]),
        (SETTLED, GROWING, ["Normal Scaled"]),
        (GROWING, SETTLED_TWO, ["Normal RolloutComplete"]),
        (SETTLED, ZERO, ["Normal ScaledToZero", "Normal Scaled"]),
        (SETTLED, PAUSED, ["Normal Paused"]),
        (PAUSED, GROWING, ["Normal RollingOut", "Normal Scaled"]),
        (SETTLED, AUTO, ["Warning NoMetrics"]),
        (AUTO, SETTLED, ["Normal FixedSize"]),
    ],
)
def test_transitions_are_told_once(before: Any, after: Any, told: list[str]) -> None:
    assert [f"{notice.type} {notice.reason}" for notice in notices(before, after)] == told


def test_notes_are_the_conditions_words_and_sizes() -> None:
    assert notices(STARTING, FAILING) == (Notice("Warning", "ImagePullBackOff", BROKEN_NOTE),)
    assert notices(SETTLED, GROWING) == (Notice("Normal", "Scaled", "Scaled from 1 to 2"),)
    assert notices({**SETTLED, "desiredReplicas": "x"}, SETTLED) == ()
