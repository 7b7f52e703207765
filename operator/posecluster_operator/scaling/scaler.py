"""The tick: scrapes all pods of PoseClusters in mode `Auto`, runs their autoscalers, and wakes passes."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from posecluster_operator.admin.metrics import Metrics
from posecluster_operator.resource.fields import Json
from posecluster_operator.resource.json_access import child, count
from posecluster_operator.resource.posecluster import PoseCluster
from posecluster_operator.scaling.order import desired_size
from posecluster_operator.scaling.pod_list import PodList
from posecluster_operator.scaling.policy import (
    WINDOWS,
    Autoscaler,
    Decision,
    PodSample,
    Scrape,
    Windows,
)
from posecluster_operator.scaling.policy.autoscaler import Snapshot, fixed_decision
from posecluster_operator.scaling.policy.policy import policy_of
from posecluster_operator.scaling.policy.shown import Shown
from posecluster_operator.scaling.scraper import UNANSWERED, Scraper, Target, interval_seconds
from posecluster_operator.scaling.silence import Silent, silent_nodes, with_lost
from posecluster_operator.scaling.size_owner import SizeOwner

logger = logging.getLogger(__name__)

_STALE_INTERVALS = 2.5  # of a longer scrape interval, so that a pod stays readable after one failed scrape
_LOG_AGAIN_SECONDS = 60.0
_AT_ONCE = 50  # decisions between two yields to the event loop


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizing:
    """The decision for a pass, and what the status shows; None keeps its current content."""

    decision: Decision
    shown: Shown | None = None
    owner: SizeOwner = field(default_factory=SizeOwner)


class Scaler:
    """Holds an autoscaler for each PoseCluster for which a pass has requested a decision."""

    def __init__(
        self,
        pod_list: PodList,
        scraper: Scraper,
        *,
        metrics: Metrics,
        monotonic: Callable[[], float],
        wake: Callable[[str], None],
        windows: Windows = WINDOWS,
    ) -> None:
        self._pod_list, self._scraper, self._metrics = pod_list, scraper, metrics
        self._monotonic, self._wake, self._windows = monotonic, wake, windows
        self._autoscalers: dict[str, Autoscaler] = {}
        self._logged: dict[tuple[str, str], float] = {}  # when a pod's failure was logged, by key and pod
        self._unanswered: dict[str, float] = {}  # since when a pod has not responded, by uid
        self._silent: dict[str, Silent] = {}  # by key, according to scrapes
        self._explained: dict[str, Silent] = {}  # by key, also according to the pods that the last pass read

    @property
    def active(self) -> bool:
        """Whether there are PoseClusters to scale."""
        return bool(self._autoscalers)

    def forget(self, key: str) -> None:
        """Stop scaling a PoseCluster, because it was deleted or paused."""
        self._autoscalers.pop(key, None)
        self._silent.pop(key, None)
        self._explained.pop(key, None)

    def forget_all(self) -> None:
        """Stop scaling all PoseClusters, because another operator holds the Lease."""
        self._autoscalers.clear()
        self._silent.clear()
        self._explained.clear()

    def decide(self, cluster: PoseCluster, deployment: Json | None, owner: SizeOwner | None = None) -> Sizing:
        """Decide for a pass with the objects that it read; each later tick decides for the PoseCluster, too.

        With `owner` None, the operator sets the size.
        """
        owner = owner or SizeOwner()
        now, policy = self._monotonic(), policy_of(cluster, self._windows)
        replicas = desired_size(deployment, taken_over=owner.taken_over)
        if decision := fixed_decision(now, policy, replicas=replicas):
            self.forget(cluster.key)
            return Sizing(decision=decision)
        last_replicas, taken_over = count(cluster.status, "desiredReplicas"), owner.taken_over
        autoscaler = self._autoscalers.get(cluster.key)
        if autoscaler is None:
            self._pod_list.touch(cluster.key)
            ready = count(child(deployment, "status"), "readyReplicas")
            autoscaler = self._autoscalers[cluster.key] = Autoscaler(
                now,
                policy,
                replicas=replicas,
                ready=ready,
                last_replicas=last_replicas,
                taken_over=taken_over,
            )
        else:
            autoscaler.confirm(
                now, policy, replicas=replicas, last_replicas=last_replicas, taken_over=taken_over
            )
        return Sizing(decision=autoscaler.decision, shown=autoscaler.shown, owner=owner)

    def ordered(self, key: str, replicas: int) -> None:
        """Note that the Deployment now has this size."""
        if autoscaler := self._autoscalers.get(key):
            autoscaler.ordered(replicas)

    def snapshot(self, key: str) -> Snapshot | None:
        """Return the last decision about a PoseCluster, or None if this operator does not scale it."""
        autoscaler = self._autoscalers.get(key)
        if autoscaler is None:
            return None
        return replace(autoscaler.snapshot(self._monotonic()), silent=self._explained.get(key, {}))

    def silent(self, key: str, pods: Sequence[Json]) -> Silent:
        """Return the silent nodes with pods of a PoseCluster; `pods` are those that a pass has read."""
        found = with_lost(self._silent.get(key, {}), pods)
        if key in self._autoscalers:
            self._explained[key] = found
        return found

    def activity(self, key: str) -> Mapping[str, tuple[float, float]]:
        """Return by uid the number of requests in a pod, and its arrivals since the previous tick."""
        autoscaler = self._autoscalers.get(key)
        return {} if autoscaler is None else autoscaler.activity()

    async def run(self) -> None:
        """Tick every second, or less often for very many pods, until cancelled."""
        while True:
            began = self._monotonic()
            interval = await self.tick()
            await asyncio.sleep(max(0.0, interval - (self._monotonic() - began)))

    async def tick(self) -> float:
        """Scrape and decide once for every PoseCluster; return the seconds until the next tick."""
        began = self._monotonic()
        pods = {key: self._pod_list.pods_of(key) for key in self._autoscalers}
        interval = interval_seconds(sum(map(len, pods.values())), least=self._windows.tick_seconds)
        if pods:
            await self._scrape(pods, interval)
        self._metrics.show_scrape(interval=interval, seconds=self._monotonic() - began if pods else None)
        return interval

    async def _scrape(self, pods: Mapping[str, tuple[Target, ...]], interval: float) -> None:
        results = await self._scraper.scrape([target for targets in pods.values() for target in targets])
        failures = sum(isinstance(result, str) for result in results.values())
        self._metrics.count_scrapes(read=len(results) - failures, failed=failures)
        now = self._monotonic()
        self._logged = {pod: at for pod, at in self._logged.items() if now - at < _LOG_AGAIN_SECONDS}
        self._unanswered = {
            pod: self._unanswered.get(pod, now) for pod, result in results.items() if result in UNANSWERED
        }
        scraped = [target for targets in pods.values() for target in targets]
        silent = silent_nodes(now, [(one.node, self._unanswered.get(one.pod)) for one in scraped])
        stale_seconds = max(self._windows.stale_seconds, _STALE_INTERVALS * interval)
        for number, (key, targets) in enumerate(pods.items()):
            if number % _AT_ONCE == _AT_ONCE - 1:
                await asyncio.sleep(0)
            if autoscaler := self._autoscalers.get(key):
                self._note_silent(key, targets, silent)
                scrape = self._scrape_of(key, targets, results, stale_seconds)
                now = self._monotonic()
                self._log_failures(now, key, scrape.failures)
                try:
                    changed = autoscaler.tick(now, scrape)
                except Exception:  # an unexpected error in one decision must not stop the others
                    logger.exception("Scaling failed unexpectedly", extra={"fields": {"key": key}})
                    self.forget(key)  # the pass starts with a new autoscaler
                    changed = True
                if changed:
                    self._wake(key)

    def _note_silent(self, key: str, targets: tuple[Target, ...], nodes: frozenset[str]) -> None:
        """Store the silent nodes among those of these pods; wake a pass if they changed."""
        found: dict[str, tuple[str, ...]] = {}
        for target in targets:
            if target.node in nodes:
                found[target.node] = (*found.get(target.node, ()), target.name)
        if found != self._silent.get(key, {}):
            self._silent[key] = found
            self._wake(key)

    def _scrape_of(
        self,
        key: str,
        targets: tuple[Target, ...],
        results: Mapping[str, PodSample | str],
        stale_seconds: float,
    ) -> Scrape:
        read = {target: results[target.pod] for target in targets}
        return Scrape(
            pods={one.pod: None if isinstance(found, str) else found for one, found in read.items()},
            failures={one.name: found for one, found in read.items() if isinstance(found, str)},
            listed=self._pod_list.listed(key),
            stale_seconds=stale_seconds,
        )

    def _log_failures(self, now: float, key: str, failures: Mapping[str, str]) -> None:
        """Log the failure of each pod at most once a minute."""
        for pod, failure in failures.items():
            if (key, pod) not in self._logged:
                self._logged[key, pod] = now
                fields = {"key": key, "pod": pod, "failure": failure}
                logger.warning("Load of a pod could not be read", extra={"fields": fields})
