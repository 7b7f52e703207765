"""Events report transitions; states that last have none."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from harness.kube_objects import container, deployment, pod, waiting
from harness.poseclusters import posecluster
from harness.scaling import decision, fixed_decision
from posecluster_operator.reconcile.status import compute_status, lasting_blindness, notices
from posecluster_operator.resource.notice import Notice
from posecluster_operator.resource.reasons import ScalingReason
from posecluster_operator.scaling.policy import Decision
from posecluster_operator.scaling.policy.shown import next_shown

pytestmark = pytest.mark.unit

WHEN = datetime(2026, 11, 22, tzinfo=UTC)
BROKEN = pod(container(state=waiting("InvalidImageName", "invalid reference format")))
BROKEN_NOTE = "InvalidImageName: invalid reference format"


def status(
    observed: Any, *pods: Any, size: int = 1, auto: Decision | None = None, paused: bool = False
) -> dict[str, Any]:
    made = auto or fixed_decision(size)
    return compute_status(
        posecluster(paused=paused),
        deployment=observed,
        pods=pods,
        decision=None if paused else made,
        shown=next_shown(0.0, made, None, resized=False) if auto else None,
        problem=None,
        now=WHEN,
    )


STARTING = status(deployment())
SETTLED = status(deployment(ready=1))
FAILING = status(deployment(), BROKEN)
FAILING_BESIDE = status(deployment(ready=1, total=2), BROKEN)
GROWING = status(deployment(replicas=2, ready=1), size=2)
SETTLED_TWO = status(deployment(replicas=2, ready=2), size=2)
ZERO = status(deployment(replicas=0), size=0)
PAUSED = status(deployment(replicas=5, ready=5), paused=True)
UNREADABLE = decision(1, ScalingReason.NO_METRICS, blind=ScalingReason.NO_METRICS, measured=False)
AUTO = status(deployment(ready=1), auto=UNREADABLE)
STEADY = status(deployment(ready=1), auto=decision(1))
HOLDING = status(deployment(ready=1), auto=decision(1, ScalingReason.HOLDING_AFTER_BURST))
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
        (AUTO, STEADY, ["Normal Steady"]),
        (STEADY, HOLDING, []),
        (HOLDING, AUTO, ["Warning NoMetrics"]),
    ],
)
def test_each_transition_has_one_event(before: Any, after: Any, told: list[str]) -> None:
    assert [f"{notice.type} {notice.reason}" for notice in notices(before, after)] == told


@pytest.mark.parametrize(
    ("made", "seconds", "told"),
    [
        (AUTO, 59, False),
        (AUTO, 60, True),
        (STEADY, 3600, False),
        (SETTLED, 3600, False),
        (status(deployment(), auto=UNREADABLE), 3600, False),
        ({}, 3600, False),
    ],
    ids=["too short", "lasting", "readable", "fixed", "no pod to read", "no status"],
)
def test_metrics_that_were_never_readable_have_an_event_after_a_while(
    made: Any, seconds: int, told: bool
) -> None:
    found = lasting_blindness(made, now=WHEN + timedelta(seconds=seconds))
    assert (found and (found.type, found.reason)) == (("Warning", "NoMetrics") if told else None)


def test_event_notes_repeat_the_condition_and_the_sizes() -> None:
    assert notices(STARTING, FAILING) == (Notice("Warning", "ImagePullBackOff", BROKEN_NOTE),)
    assert notices(SETTLED, GROWING) == (Notice("Normal", "Scaled", "Scaled from 1 to 2"),)
    assert notices({**SETTLED, "desiredReplicas": "x"}, SETTLED) == ()
