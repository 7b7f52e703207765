"""Metrics that do not change are no sign of an idle pod while the pod has work."""

from dataclasses import replace

import pytest

from harness.simulated_pods import POLICY, Pods, SimulatedPods, falls, settled
from posecluster_operator.resource.reasons import ScalingReason
from posecluster_operator.scaling.policy import WINDOWS
from posecluster_operator.scaling.policy.demand import PodSample, measure

pytestmark = pytest.mark.unit

RATE = 120.0
HOLD = int(POLICY.hold_seconds)


def again(old: Pods, now: float) -> Pods:
    """These answers, as if they were of now."""
    return tuple(replace(pod, at=now) for pod in old)


def frozen(fleet: SimulatedPods, *, running: float) -> Pods:
    """What all pods will answer from now on."""
    return tuple(replace(pod, running=running) for pod in fleet.pass_second(RATE))


def test_unchanging_metrics_of_busy_pods_never_shrink_the_service() -> None:
    fleet = settled(RATE)
    old = frozen(fleet, running=1.0)
    sizes, blind = [fleet.replicas], None
    for _ in range(3 * HOLD):
        fleet.pass_second(RATE)
        decision = fleet.size(again(old, fleet.now))
        sizes.append(decision.replicas)
        blind = decision.blind
    assert falls(sizes) == []
    assert blind is ScalingReason.NO_METRICS
    assert fleet.run(2, RATE)[-1].blind is None, "it moves again"


@pytest.mark.control
def test_unchanging_metrics_of_idle_pods_shrink_the_service() -> None:
    fleet = settled(RATE)
    old = again(frozen(fleet, running=0.0), fleet.now)
    old = tuple(replace(pod, queued=0.0) for pod in old)
    sizes = []
    for _ in range(8 * HOLD):
        fleet.pass_second(0.0)
        sizes.append(fleet.size(again(old, fleet.now)).replicas)
    assert sizes[-1] == 1


def readable(pods: list[PodSample], now: float) -> int:
    """How many of these, one after the other the same pod's, are read at the last moment."""
    known: dict[str, PodSample] = {}
    for pod in pods:
        demand, known = measure(pod.at, (pod,), earlier=known, workers=1)
    demand, _ = measure(now, (replace(pods[-1], at=now),), earlier=known, workers=1)
    return demand.readable


def test_metrics_count_as_stale_from_their_last_change() -> None:
    counters = {"started": 1.0, "arrivals": 9.0, "completed": 7.0, "busy_seconds": 1.0}
    pods = [PodSample(name="a", at=float(at), queued=1.0, running=1.0, **counters) for at in range(4)]
    last = WINDOWS.stale_seconds
    assert readable(pods, last) == 1
    assert readable(pods, last + 0.5) == 0
    moved = [*pods[:-1], replace(pods[-1], completed=8.0)]
    assert readable(moved, pods[-1].at + last) == 1
    assert readable(moved, pods[-1].at + last + 0.5) == 0
    assert readable([replace(pod, started=pod.at) for pod in pods], last + 0.5) == 1, "restarted each time"
    assert readable([replace(pod, queued=0.0, running=0.0) for pod in pods], 60.0) == 1
