"""The tick: scrape every pod of the PoseClusters in `Auto`, decide each size, wake those with news.

The pass that is woken decides again, from the same samples and with the truth that it read: nothing is
done that only the tick believed.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from posecluster_operator.autoscaler import (
    Decision,
    PodSample,
    Policy,
    Samples,
    State,
    decide,
)
from posecluster_operator.autoscaler.demand import STALE_SECONDS
from posecluster_operator.autoscaler.explanation import Known
from posecluster_operator.autoscaler.memory import Memory
from posecluster_operator.autoscaler.policy import policy_of
from posecluster_operator.autoscaler.shown import Shown, next_shown
from posecluster_operator.children import SizeOwner
from posecluster_operator.fields import Json
from posecluster_operator.fleet import Fleet
from posecluster_operator.metrics import Metrics
from posecluster_operator.models import PoseCluster, ScalingMode
from posecluster_operator.observed import child, count
from posecluster_operator.scraper import Scraper, Target, interval_seconds

logger = logging.getLogger(__name__)

_STALE_INTERVALS = 2.5  # of a stretched interval, so that one lost scrape makes no pod unreadable
_WAKE_AGAIN_SECONDS = 10.0
_TELL_AGAIN_SECONDS = 60.0
_AT_ONCE = 50  # decisions between two looks at the event loop


@dataclass(slots=True)
class _Entry:
    """One PoseCluster in `Auto`. `before` and `after`: its memory as of the last tick."""

    policy: Policy
    samples: Samples
    at: float
    before: Memory = field(default_factory=Memory)
    after: Memory = field(default_factory=Memory)
    last: Mapping[str, PodSample] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)
    told: Mapping[str, float] = field(default_factory=dict)  # when a pod's failure was logged
    decision: Decision | None = None
    shown: Shown | None = None
    woken: tuple[int, float] | None = None  # for which size, and when


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizing:
    """What a pass is to do, and what the status is to show (None: what it shows now)."""

    decision: Decision
    shown: Shown | None = None
    owner: SizeOwner = field(default_factory=SizeOwner)


class Scaler:
    """Knows the PoseClusters that passes have told it of."""

    def __init__(
        self,
        fleet: Fleet,
        scraper: Scraper,
        *,
        metrics: Metrics,
        monotonic: Callable[[], float],
        wake: Callable[[str], None],
    ) -> None:
        self._fleet, self._scraper, self._metrics = fleet, scraper, metrics
        self._monotonic, self._wake = monotonic, wake
        self._entries: dict[str, _Entry] = {}

    @property
    def active(self) -> bool:
        """Whether there is anything to scale."""
        return bool(self._entries)

    def forget(self, key: str) -> None:
        """Stop to look at a PoseCluster: it is gone or paused."""
        self._entries.pop(key, None)

    def forget_all(self) -> None:
        """Stop to look at any: another operator does."""
        self._entries.clear()

    def decide(self, cluster: PoseCluster, deployment: Json | None, owner: SizeOwner | None = None) -> Sizing:
        """Decide for a pass, which has just read these; from now on the tick looks at it too.

        `owner` None: the operator sets the size.
        """
        owner = owner or SizeOwner()
        now, policy = self._monotonic(), policy_of(cluster)
        replicas = None if deployment is None else count(child(deployment, "spec"), "replicas")
        if policy.mode is ScalingMode.FIXED:
            self.forget(cluster.key)
            samples = Samples(replicas=replicas, ready=0)
            return Sizing(decision=decide(now, samples, State(policy=policy)))
        ready = count(child(deployment, "status"), "readyReplicas")
        entry = self._entries.get(cluster.key)
        if entry is None:
            self._fleet.touch()
            entry = _Entry(policy=policy, samples=Samples(replicas=replicas, ready=ready), at=now)
            self._entries[cluster.key] = entry
        entry.policy = policy
        if entry.samples.taken_over and not owner.taken_over:
            entry.before = Memory()  # handed back: a whole window is watched before the size may fall
        if replicas is None:  # the Deployment was deleted: it had the size that it needed
            had = count(cluster.status, "desiredReplicas")
            entry.policy = policy = replace(policy, fixed_replicas=max(policy.fixed_replicas, had))
        entry.samples = replace(entry.samples, replicas=replicas, taken_over=owner.taken_over)
        state = State(policy=policy, memory=entry.before)
        entry.decision = decision = decide(entry.at, entry.samples, state)
        entry.after = decision.state.memory
        self._show(now, entry, decision, resized=replicas not in (None, decision.replicas))
        return Sizing(decision=decision, shown=entry.shown, owner=owner)

    def ordered(self, key: str, replicas: int) -> None:
        """Hear that the Deployment has this size now."""
        if entry := self._entries.get(key):
            entry.samples = replace(entry.samples, replicas=replicas)
            entry.woken = None
            entry.before = replace(
                entry.before, lowered_at=entry.after.lowered_at, doublings=entry.after.doublings
            )

    def known(self, key: str) -> Known | None:
        """Return what there is to explain of a PoseCluster; None: it is not sized here."""
        entry = self._entries.get(key)
        if entry is None or entry.decision is None:
            return None
        return Known(
            policy=entry.policy,
            samples=entry.samples,
            decision=entry.decision,
            failures=entry.failures,
            at=entry.at,
            now=self._monotonic(),
        )

    def activity(self, key: str) -> Mapping[str, tuple[float, float]]:
        """Return how busy pods are, by uid: requests in the pod now, and arrivals since the tick before."""
        entry = self._entries.get(key)
        if entry is None:
            return {}
        before = entry.before.pods
        return {
            uid: (pod.queued + pod.running, pod.arrivals - before[uid].arrivals if uid in before else 0.0)
            for uid, pod in entry.last.items()
        }

    async def run(self) -> None:
        """Tick for ever: every second, less often when there are very many pods."""
        while True:
            began = self._monotonic()
            interval = await self.tick()
            await asyncio.sleep(max(0.0, interval - (self._monotonic() - began)))

    async def tick(self) -> float:
        """Look at every PoseCluster once; return the seconds from this tick to the next."""
        began = self._monotonic()
        pods = {key: self._fleet.pods_of(key) for key in self._entries}
        interval = interval_seconds(sum(map(len, pods.values())))
        if pods:
            await self._look_at(pods, interval)
        self._metrics.show_scrape(interval=interval, seconds=self._monotonic() - began if pods else None)
        return interval

    async def _look_at(self, pods: Mapping[str, tuple[Target, ...]], interval: float) -> None:
        results = await self._scraper.scrape([target for targets in pods.values() for target in targets])
        failures = sum(isinstance(result, str) for result in results.values())
        self._metrics.count_scrapes(read=len(results) - failures, failed=failures)
        stale_seconds = max(STALE_SECONDS, _STALE_INTERVALS * interval)
        for number, (key, targets) in enumerate(pods.items()):
            if number % _AT_ONCE == _AT_ONCE - 1:
                await asyncio.sleep(0)
            if entry := self._entries.get(key):
                self._look(key, entry, targets, results, stale_seconds)

    def _look(
        self,
        key: str,
        entry: _Entry,
        targets: tuple[Target, ...],
        results: Mapping[str, PodSample | str],
        stale_seconds: float,
    ) -> None:
        """Take a tick's answers in, decide, and wake the key if there is news."""
        now = self._monotonic()
        answers = {target.pod: results[target.pod] for target in targets}
        read = {uid: answer for uid, answer in answers.items() if not isinstance(answer, str)}
        # a silent pod's last sample counts until it is stale
        silent = {uid: entry.last[uid] for uid in answers if uid not in read and uid in entry.last}
        failed = {target.name: str(answers[target.pod]) for target in targets if target.pod not in read}
        entry.told = _tell_failures(now, key, entry.told, failed)
        entry.failures, entry.last = failed, read | silent
        # what a step does to the hold counts when the step was made: see `ordered`
        entry.before = replace(
            entry.after, lowered_at=entry.before.lowered_at, doublings=entry.before.doublings
        )
        entry.at = now
        entry.samples = replace(
            entry.samples,
            # not listed yet: the Deployment's own number, which the pass read
            ready=len(targets) if self._fleet.listed else max(entry.samples.ready, len(targets)),
            pods=tuple(entry.last.values()),
            listed=self._fleet.listed,
            stale_seconds=stale_seconds,
        )
        state = State(policy=entry.policy, memory=entry.before)
        entry.decision = decision = decide(now, entry.samples, state)
        entry.after = decision.state.memory
        resized = entry.samples.replicas not in (None, decision.replicas)
        due = resized and _is_due(now, entry.woken, decision.replicas)
        if due:
            entry.woken = (decision.replicas, now)
        if self._show(now, entry, decision, resized=due) or due:
            self._wake(key)

    def _show(self, now: float, entry: _Entry, decision: Decision, *, resized: bool) -> bool:
        """Choose what the status shows; return whether that is new."""
        before = entry.shown
        entry.shown = next_shown(now, decision, before, resized=resized)
        return entry.shown is not before


def _is_due(now: float, woken: tuple[int, float] | None, replicas: int) -> bool:
    """Whether to wake a key for a size: at once, but while its passes are refused not every second."""
    return woken is None or woken[0] != replicas or now - woken[1] >= _WAKE_AGAIN_SECONDS


def _tell_failures(
    now: float, key: str, told: Mapping[str, float], failures: Mapping[str, str]
) -> dict[str, float]:
    """Log each pod's failure once a minute at most; return when each was."""
    recent = {pod: at for pod, at in told.items() if now - at < _TELL_AGAIN_SECONDS}
    for pod, failure in failures.items():
        if pod not in recent:
            recent[pod] = now
            fields = {"key": key, "pod": pod, "failure": failure}
            logger.warning("Pod's load cannot be read", extra={"fields": fields})
    return recent
