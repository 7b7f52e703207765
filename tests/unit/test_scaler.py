"""The scaler between scraping and passes: which keys it enqueues, why, and how often."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from harness.poseclusters import posecluster
from harness.scaling import sample
from posecluster_operator.admin.metrics import Metrics
from posecluster_operator.builders.labels import EXTRA_REPLICAS
from posecluster_operator.explain.decision import explain
from posecluster_operator.resource.reasons import ScalingReason
from posecluster_operator.scaling.policy import Autoscaler, PodSample
from posecluster_operator.scaling.scaler import Scaler, Sizing
from posecluster_operator.scaling.scraper import Target

pytestmark = pytest.mark.unit

SERVICE_SECONDS = 0.05
KEY = "default/demo"


class World:
    """Pods that answer with what a rate makes of their counters; also the list of pods and the scraper."""

    def __init__(self, metrics: Metrics, pods: int = 2, **scaling: Any) -> None:
        self.now, self.rate = 1000.0, 0.0
        self.is_listed, self.silent = True, set[str]()
        self.counters: dict[str, float] = {}
        self.woken: list[str] = []
        self.touched = 0
        self.size = pods
        self.spec = {"workersPerPod": 1, "scaling": {"maxReplicas": 20, **scaling}}
        self.scaler = Scaler(
            self,  # type: ignore[arg-type]
            self,  # type: ignore[arg-type]
            metrics=metrics,
            monotonic=lambda: self.now,
            wake=self.woken.append,
        )

    def listed(self, key: str) -> bool:
        assert key == KEY
        return self.is_listed

    def touch(self, key: str) -> None:
        assert key == KEY
        self.touched += 1

    def pods_of(self, key: str) -> tuple[Target, ...]:
        assert key == KEY
        names = (f"pod-{number}" for number in range(self.size))
        return tuple(
            Target(pod=name, name=name, host="127.0.0.1", port=9090, node=f"on-{name}") for name in names
        )

    async def scrape(self, targets: Sequence[Target]) -> dict[str, PodSample | str]:
        return {
            one.pod: "no response in time" if one.pod in self.silent else self.read(one) for one in targets
        }

    def read(self, target: Target) -> PodSample:
        done = self.counters[target.pod] = self.counters.get(target.pod, 500.0) + self.rate / self.size
        return sample(
            target.pod, self.now, arrivals=done, completed=done, busy_seconds=done * SERVICE_SECONDS
        )

    def deployment(self) -> dict[str, Any]:
        return {
            "metadata": {"name": "demo-pose", "managedFields": []},
            "spec": {"replicas": self.size},
            "status": {"readyReplicas": self.size},
        }

    def look(self) -> Sizing:
        """A pass: it decides and applies."""
        sizing = self.scaler.decide(posecluster(self.spec), self.deployment())
        self.size = sizing.decision.replicas
        self.scaler.ordered(KEY, self.size)
        return sizing

    def lowered_at(self) -> float | None:
        known = self.scaler.snapshot(KEY)
        assert known is not None
        return known.decision.state.history.lowered_at

    async def tick(self, seconds: int = 1, *, passes: bool = True) -> None:
        """Let seconds pass; each enqueued key gets its pass."""
        for _ in range(seconds):
            self.now += 1.0
            woken = len(self.woken)
            await self.scaler.tick()
            if passes and len(self.woken) > woken:
                self.look()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(version="test")


async def test_a_spike_enqueues_the_key_at_the_first_tick_that_sees_it(metrics: Metrics) -> None:
    world = World(metrics)
    world.look()
    await world.tick(3)
    world.woken.clear()
    world.rate = 200.0
    await world.tick(passes=False)
    assert world.woken == [KEY]
    sizing = world.look()
    assert sizing.decision.replicas > 2
    assert sizing.decision.reason in (ScalingReason.BURST, ScalingReason.DEMAND_ROSE)
    assert sizing.shown is not None
    assert sizing.shown.reason is sizing.decision.reason


async def test_a_pass_is_woken_for_a_silent_node_and_names_it(metrics: Metrics) -> None:
    world = World(metrics)
    world.look()
    await world.tick(3)
    assert world.scaler.silent(KEY, []) == {}
    world.silent = {"pod-1"}
    await world.tick(9, passes=False)
    assert world.scaler.silent(KEY, []) == {}
    world.woken.clear()
    await world.tick(3, passes=False)
    assert KEY in world.woken
    assert world.scaler.silent(KEY, []) == {"on-pod-1": ("pod-1",)}
    snapshot = world.scaler.snapshot(KEY)
    assert snapshot is not None
    page = explain("default", "demo", snapshot)
    assert "kubectl describe node on-pod-1" in page
    assert "Nothing" not in page
    world.silent = set()
    await world.tick(1, passes=False)
    assert world.scaler.silent(KEY, []) == {}


async def test_replacements_for_leaving_pods_do_not_change_the_desired_size(metrics: Metrics) -> None:
    world = World(metrics)
    assert world.look().decision.replicas == 2
    moving = world.deployment() | {"spec": {"replicas": 4}}
    moving["metadata"] |= {"annotations": {EXTRA_REPLICAS: "2"}}
    assert world.scaler.decide(posecluster(world.spec), moving).decision.replicas == 2
    del moving["metadata"]["annotations"]  # the control
    assert world.scaler.decide(posecluster(world.spec), moving).decision.replicas == 4


async def test_a_pass_repeats_the_decision_of_the_tick_with_the_objects_that_it_read(
    metrics: Metrics,
) -> None:
    world = World(metrics)
    world.look()
    await world.tick(3)
    world.rate = 200.0
    await world.tick(passes=False)
    world.spec["scaling"]["maxReplicas"] = 3  # type: ignore[index]
    assert world.look().decision.replicas == 3
    world.size = 9  # somebody's, and not known to the tick
    assert world.look().decision.replicas == 3


async def test_passes_between_two_ticks_change_nothing(metrics: Metrics) -> None:
    world = World(metrics, scaleDown={"holdSeconds": 5, "maxHoldSeconds": 20})
    world.look()
    world.rate = 200.0
    await world.tick(10)
    high = world.size
    world.rate = 0.0
    while world.size == high:
        await world.tick()
    lowered = world.lowered_at()
    assert lowered is not None, "the step down is remembered"
    for _ in range(5):
        before = world.size
        assert world.look().decision.replicas == before
    assert world.lowered_at() == lowered


async def test_a_key_whose_passes_are_refused_is_not_enqueued_every_second(metrics: Metrics) -> None:
    world = World(metrics)
    world.look()
    await world.tick(3)
    world.rate = 60.0
    await world.tick(2, passes=False)
    world.woken.clear()
    await world.tick(30, passes=False)
    assert 2 <= len(world.woken) <= 8


async def test_an_idle_settled_posecluster_is_not_enqueued(metrics: Metrics) -> None:
    world = World(metrics)
    world.look()
    await world.tick(75)
    assert world.size == 1
    world.woken.clear()
    await world.tick(60)
    assert world.woken == []


async def test_a_silent_pod_keeps_the_size_and_is_counted(metrics: Metrics) -> None:
    world = World(metrics, pods=4, scaleDown={"holdSeconds": 5, "maxHoldSeconds": 5})
    world.look()
    await world.tick(3)
    world.silent = {"pod-1"}
    await world.tick(60)
    assert world.size == 4
    text = await asyncio.to_thread(metrics.text, [])
    assert b"scrape_failures_total 60.0" in text
    assert b"scraped_pods 3.0" in text
    shown = world.look().shown
    assert shown is not None
    assert (shown.active, shown.reason) == (False, ScalingReason.PARTIAL_METRICS)
    world.silent = set()
    await world.tick(40)
    assert world.size < 4


async def test_a_defect_in_one_decision_does_not_stop_the_scaler(
    metrics: Metrics, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(metrics)
    world.look()
    await world.tick(3)
    world.woken.clear()
    with monkeypatch.context() as patched:
        patched.setattr(Autoscaler, "tick", lambda *_: 1 / 0)
        await world.scaler.tick()
    assert "Scaling failed unexpectedly" in caplog.text
    assert world.woken == [KEY], "a pass creates another autoscaler"
    world.look()
    world.rate = 200.0
    await world.tick(10)
    assert world.size > 2


async def test_before_the_pods_are_listed_nothing_is_decided_or_reported(metrics: Metrics) -> None:
    world = World(metrics, pods=4)
    world.is_listed = False
    world.silent = {f"pod-{number}" for number in range(4)}
    assert world.look().shown is None, "the status stays as it is"
    assert world.touched == 1, "and they are asked for"
    await world.tick(5)
    assert world.look().shown is None
    await world.tick(60)
    assert world.size == 4
    shown = world.look().shown
    assert shown is not None
    assert shown.reason is ScalingReason.NO_METRICS


async def test_fixed_and_deleted_poseclusters_are_not_scraped(metrics: Metrics) -> None:
    world = World(metrics)
    world.look()
    world.spec["scaling"] = {"mode": "Fixed"}
    world.spec["replicas"] = 7
    sizing = world.look()
    assert (sizing.decision.replicas, sizing.decision.blind) == (7, ScalingReason.FIXED_SIZE)
    assert not world.scaler.active
    world.spec["scaling"] = {"mode": "Auto"}
    world.look()
    assert world.scaler.active
    world.scaler.forget(KEY)
    assert not world.scaler.active


async def test_activity_is_the_work_in_the_pod_then_recent_arrivals(metrics: Metrics) -> None:
    world = World(metrics, pods=2)
    world.look()
    world.rate = 20.0
    await world.tick(2)
    assert world.scaler.activity(KEY) == {"pod-0": (0.0, 10.0), "pod-1": (0.0, 10.0)}
    assert world.scaler.activity("other/one") == {}
