"""Load on the pods that a Player plays: each answers scrapes at its address, and shares the service's load.

    with LoadedPods(player, namespace) as pods:
        load = pods.of("demo")  # before it is created, so that every pod answers its first scrape
        load.per_second = 80
        pods.set_fault("demo", Fault.SILENT)

A pod listens as soon as it has an address. Only ready pods get load, by their weight (1 each); when a pod
comes or goes, the others' shares change.
"""

import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any

from harness.kubernetes.player import Player
from harness.kubernetes.rollout import is_ready
from harness.metrics_pod import Fault, MetricsPods

_PAUSE_SECONDS = 0.02  # half of what the player lets pass before it makes a pod ready
_END_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A service's load: all pods together but for the time of a request. Shares are of the arrivals."""

    per_second: float = 0.0
    service_seconds: float = 0.05
    queued: int = 0
    running: int = 0
    refused_share: float = 0.0
    late_share: float = 0.0
    weights: Mapping[str, float] = field(default_factory=dict)  # by pod name


class Load:
    """The load of one PoseCluster; what is set holds when the call returns."""

    def __init__(self, pods: "LoadedPods", cluster: str) -> None:
        self._pods, self._cluster = pods, cluster
        self.asked = Asked()

    @property
    def per_second(self) -> float:
        return self.asked.per_second

    @per_second.setter
    def per_second(self, rate: float) -> None:
        self.change(per_second=rate)

    def change(self, **fields: Any) -> None:
        """From now on this, by the names of `Asked`; the rest stays."""
        self.asked = replace(self.asked, **fields)
        self._pods.look()


class LoadedPods:
    """Watches the pods of the PoseClusters that were named with `of`; see the module."""

    def __init__(self, player: Player, namespace: str) -> None:
        self._player, self._namespace = player, namespace
        self._metrics = MetricsPods()
        self._loads: dict[str, Load] = {}
        self._listening: dict[str, dict[str, str]] = {}  # PoseCluster, pod name: address
        self._shares: dict[str, dict[str, float]] = {}  # address: its load as set last
        self._lock = threading.RLock()
        self._over = threading.Event()
        self._problem: Exception | None = None
        self._thread = threading.Thread(target=self._watch, name="loaded-pods", daemon=True)

    def __enter__(self) -> "LoadedPods":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(_END_SECONDS)
        self._metrics.close()
        if error is None and self._problem is not None:
            raise AssertionError("the loaded pods failed") from self._problem

    def of(self, cluster: str) -> Load:
        """The load of a PoseCluster; none at first."""
        with self._lock:
            return self._loads.setdefault(cluster, Load(self, cluster))

    def addresses(self, cluster: str) -> dict[str, str]:
        """Where its pods listen, by pod name."""
        with self._lock:
            return dict(self._listening.get(cluster, {}))

    def set_fault(self, cluster: str, fault: Fault | None, *, pods: Collection[str] | None = None) -> None:
        """Make its pods of now (or those of these names) answer badly; None: well again."""
        with self._lock:
            for name, address in self.addresses(cluster).items():
                if pods is None or name in pods:
                    self._metrics.set_fault(address, fault)

    def restart(self, cluster: str, **counters: float) -> None:
        """New processes in all its pods: their counters (see MetricsPods.restart) begin at 0, or at these."""
        with self._lock:
            for address in self.addresses(cluster).values():
                self._metrics.restart(address, **counters)

    def scrapes(self, cluster: str) -> dict[str, int]:
        """Requests for /metrics so far, by pod name."""
        with self._lock:
            return {name: self._metrics.scrapes(one) for name, one in self.addresses(cluster).items()}

    def bytes_sent(self, cluster: str) -> dict[str, int]:
        """Bytes that went towards the scraper so far, by pod name."""
        with self._lock:
            return {name: self._metrics.bytes_sent(one) for name, one in self.addresses(cluster).items()}

    @property
    def metrics(self) -> MetricsPods:
        """All pods' admin ports, by address."""
        return self._metrics

    def look(self) -> None:
        """Start listeners of new pods, end those of removed pods, and distribute the load again."""
        with self._lock:
            for cluster, load in list(self._loads.items()):
                self._look_at(cluster, load.asked)

    def _watch(self) -> None:
        while not self._over.wait(_PAUSE_SECONDS):
            try:
                self.look()
            except Exception as error:  # noqa: BLE001  reported at the end
                self._problem = error
                return

    def _look_at(self, cluster: str, asked: Asked) -> None:
        listening = self._listening.setdefault(cluster, {})
        found = {
            pod["metadata"]["name"]: pod for pod in self._player.pods(self._namespace, f"{cluster}-pose")
        }
        for name in listening.keys() - found.keys():
            address = listening.pop(name)
            self._shares.pop(address, None)
            self._metrics.stop(address)
        for name in found.keys() - listening.keys():
            listening[name] = self._metrics.start(self._player.address(name))
        ready = {name for name, pod in found.items() if is_ready(pod)}
        for address, share in zip(listening.values(), _shares(asked, listening, ready), strict=True):
            if self._shares.get(address) != share:
                self._shares[address] = share
                self._metrics.set_load(address, **share)


def _shares(asked: Asked, names: Collection[str], ready: Collection[str]) -> list[dict[str, float]]:
    """Each pod's load, in order."""
    weights = [asked.weights.get(name, 1.0) if name in ready else 0.0 for name in names]
    total = sum(weights) or 1.0
    queued, running = (_whole(number, weights) for number in (asked.queued, asked.running))
    shares = []
    for index, weight in enumerate(weights):
        rate = asked.per_second * weight / total
        shares.append(
            {
                "per_second": rate,
                "service_seconds": asked.service_seconds,
                "refused_per_second": rate * asked.refused_share,
                "late_per_second": rate * asked.late_share,
                "queued": queued[index],
                "running": running[index],
            }
        )
    return shares


def _whole(number: int, weights: Collection[float]) -> list[int]:
    """Whole numbers in proportion to the weights that sum up to `number` (0 if nothing weighs)."""
    total, given, passed, parts = sum(weights) or 1.0, 0, 0.0, []
    for weight in weights:
        passed += weight
        upto = round(number * passed / total)
        parts.append(upto - given)
        given = upto
    return parts
