"""Facts about sizes that tests of the autoscaler check: values, who wrote them and when, and ticks."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.kubernetes.waiting import Json, posecluster, wait_until

if TYPE_CHECKING:
    from harness.kubernetes.api import Api
    from harness.kubernetes.calls import Call
    from harness.kubernetes.loaded_pods import LoadedPods
    from harness.kubernetes.operator import OperatorProcess
    from harness.kubernetes.proxy import FaultProxy

COST = "controller.kubernetes.io/pod-deletion-cost"


@dataclass(frozen=True, slots=True)
class SizeWrite:
    """A write that set a size; `before` is the one set before it, None for the first."""

    time: float
    size: int
    before: int | None

    @property
    def up(self) -> bool:
        return self.before is not None and self.size > self.before

    @property
    def down(self) -> bool:
        return self.before is not None and self.size < self.before


def auto(low: int, high: int, *, hold: int = 3) -> Json:
    """A spec's `scaling` with a hold (of bursts too) of so many seconds."""
    holds = {"holdSeconds": hold, "maxHoldSeconds": hold}
    return {"mode": "Auto", "minReplicas": low, "maxReplicas": high, "scaleDown": holds}


def start_measured(
    api: "Api", namespace: str, pods: "LoadedPods", names: Iterable[str], scaling: Json, **spec: Any
) -> None:
    """Create PoseClusters and wait until they are Ready and their load, if they have one, is known."""
    names = list(names)
    for name in names:
        pods.of(name)
        api.create(posecluster(name, namespace, scaling=scaling, **spec))
    for name in names:
        api.wait_ready(namespace, name)
        api.wait_condition(namespace, name, "ScalingActive", status="True")


def deployment_size(api: "Api", namespace: str, name: str) -> int:
    """How many pods a PoseCluster's Deployment orders."""
    size: int = api.get("deployments", namespace, f"{name}-pose")["spec"]["replicas"]
    return size


def size_writes(proxy: "FaultProxy", name: str, *, since: float = 0.0) -> list[SizeWrite]:
    """Writes of a PoseCluster's size since a moment that the API server took, also of the same size again."""
    found: list[SizeWrite] = []
    before: int | None = None
    for call in proxy.find(verb="write", resource="deployments*", name=f"{name}-pose"):
        if call.status in (200, 201) and "replicas" in (spec := call.document().get("spec", {})):
            found.append(SizeWrite(call.time, spec["replicas"], before))
            before = spec["replicas"]
    return [write for write in found if write.time >= since]


def size_changes(proxy: "FaultProxy", name: str, *, since: float = 0.0) -> list[SizeWrite]:
    """Those of them that were a step up or down."""
    return [write for write in size_writes(proxy, name, since=since) if write.up or write.down]


def wait_change(
    proxy: "FaultProxy", name: str, *, since: float, up: bool, seconds: float = 10.0
) -> SizeWrite:
    """Wait for a step up (or down) since a moment; the first of them."""

    def found() -> SizeWrite | None:
        changes = size_changes(proxy, name, since=since)
        return next((one for one in changes if one.up == up), None)

    write = wait_until(found, seconds, f"{name} made {'larger' if up else 'smaller'}")
    assert write is not None
    return write


def status_writes(proxy: "FaultProxy", name: str, *, since: float = 0.0) -> "list[Call]":
    """Writes of a PoseCluster's status."""
    return proxy.find(verb="write", resource="poseclusters/status", name=name, since=since)


def ticks(operator: "OperatorProcess") -> int:
    """How often the operator has scraped all its pods."""
    return round(operator.metrics("scrape_seconds_count"))


def wait_ticks(operator: "OperatorProcess", count: int) -> None:
    """Wait until it has scraped so many times more."""
    goal = ticks(operator) + count
    wait_until(lambda: ticks(operator) >= goal, 10.0 + 3.0 * count, f"{count} more scrapes")


def scaled_events(api: "Api", namespace: str, name: str) -> list[Json]:
    """Events `Scaled` about a PoseCluster."""
    return [
        one
        for one in api.list("events", namespace)
        if one["reason"] == "Scaled" and one["regarding"]["name"] == name
    ]
