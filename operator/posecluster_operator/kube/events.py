"""Events (events.k8s.io/v1) on PoseClusters, written in the background, aggregated and rate-limited.

Equal Events on the same object are merged into one whose `series` counts them, written at most once a
minute. Events that cannot be written are dropped, because conditions contain the same information.
"""

import asyncio
import logging
import time
import uuid
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from posecluster_common.token_buckets import TokenBuckets
from posecluster_operator.errors import (
    Conflict,
    KubeError,
    NamespaceTerminating,
    NotFound,
    NotLeader,
    Retryable,
)
from posecluster_operator.kube.client import Kube
from posecluster_operator.kube.kinds import EVENTS
from posecluster_operator.resource.notice import Notice
from posecluster_operator.resource.posecluster import API_VERSION, KIND, PoseCluster

logger = logging.getLogger(__name__)

REPORTING_CONTROLLER = "posecluster.io/operator"
_ACTION = "Reconcile"
_BURST, _SECONDS_A_TOKEN = 10.0, 60.0  # rate limit of Events and their updates, per object
_SERIES_SECONDS = 60.0  # between two updates of a series
_SILENCE_SECONDS = 360.0  # ends a series, as in client-go
_MOST_WAITING, _MOST_SERIES, _MOST_BUDGETS = 1_000, 2_000, 2_000
_TRIES, _AGAIN_SECONDS, _LONGEST_AWAY_SECONDS = 2, 1.0, 10.0
# Limits of the API server: bytes of a note, characters of an instance and of a name without its suffix.
_LONGEST_NOTE, _LONGEST_INSTANCE, _LONGEST_STEM = 1_024, 128, 200

_Key = tuple[str, str, str, str]


@dataclass(slots=True)
class _Series:
    """An Event that was written, with its count; `behind`: the count has not been written yet."""

    namespace: str
    name: str
    uid: str
    written: float
    last: float
    last_time: str
    count: int = 1
    behind: bool = False


class Recorder:
    """Writes Events in the background; `instance` names this process in them."""

    def __init__(self, kube: Kube, *, instance: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._kube, self._instance, self._clock = kube, instance[:_LONGEST_INSTANCE], clock
        self._waiting: deque[tuple[PoseCluster, Notice, str]] = deque(maxlen=_MOST_WAITING)
        self._series: OrderedDict[_Key, _Series] = OrderedDict()
        self._budgets = TokenBuckets(burst=_BURST, per_second=1 / _SECONDS_A_TOKEN, most_keys=_MOST_BUDGETS)
        self._wake = asyncio.Event()
        self._failing: set[str] = set()  # namespaces in which the last Event could not be written

    def emit(self, cluster: PoseCluster, notice: Notice) -> None:
        """Queue an Event without waiting. If the queue is full, the oldest Event is dropped."""
        self._waiting.append((cluster, notice, _micro_time()))
        self._wake.set()

    async def run(self) -> None:
        """Write Events and overdue updates of series until cancelled."""
        while True:
            while self._waiting:
                await self._record(*self._waiting.popleft())
            await self._catch_up()
            self._wake.clear()
            # Nothing is awaited between this check and the wait, so that no Event is missed.
            if self._waiting:
                continue
            try:
                async with asyncio.timeout(self._seconds_to_next()):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _record(self, cluster: PoseCluster, notice: Notice, when: str) -> None:
        key = (cluster.uid, notice.type, notice.reason, notice.note)
        series, now = self._series.get(key), self._clock()
        if series is not None and now - series.last < _SILENCE_SECONDS:
            series.count, series.last, series.last_time, series.behind = series.count + 1, now, when, True
            self._series.move_to_end(key)
            return
        if not self._may_write(cluster.uid):
            return
        name = f"{cluster.name[:_LONGEST_STEM]}.{uuid.uuid4().hex[:16]}"
        body = _event(cluster, notice, name=name, when=when, instance=self._instance)
        if not await self._try(cluster.namespace, lambda: self._kube.create(EVENTS, cluster.namespace, body)):
            return
        self._series[key] = _Series(cluster.namespace, name, cluster.uid, now, now, when)
        self._series.move_to_end(key)
        if len(self._series) > _MOST_SERIES:
            self._series.popitem(last=False)

    async def _catch_up(self) -> None:
        """Write overdue counts of series, and forget series that have ended."""
        now = self._clock()
        for key, series in list(self._series.items()):
            if series.behind and now - series.written >= _SERIES_SECONDS:
                series.written, series.behind = now, False
                if self._may_write(series.uid):
                    patch = {"series": {"count": series.count, "lastObservedTime": series.last_time}}
                    await self._try(series.namespace, self._patching(series, patch))
            elif not series.behind and now - series.last >= _SILENCE_SECONDS:
                del self._series[key]

    def _patching(self, series: _Series, patch: dict[str, Any]) -> Callable[[], Any]:
        return lambda: self._kube.patch(EVENTS, series.namespace, series.name, patch)

    def _seconds_to_next(self) -> float | None:
        due = [series.written + _SERIES_SECONDS for series in self._series.values() if series.behind]
        return max(0.0, min(due) - self._clock()) if due else None

    def _may_write(self, uid: str) -> bool:
        """Spend one token of this object; return False if its rate limit is reached."""
        has_one, _left = self._budgets.spend(uid, self._clock())
        return has_one

    async def _try(self, namespace: str, write: Callable[[], Any]) -> bool:
        """Write, with one retry if the API server is unavailable; return whether it succeeded."""
        for left in reversed(range(_TRIES)):
            try:
                await write()
            except NotLeader:
                return False  # The holder of the Lease writes the Event.
            except (NotFound, Conflict, NamespaceTerminating):
                return False  # The Event expired, the first try succeeded, or the namespace is being deleted.
            except KubeError as error:
                if isinstance(error, Retryable) and left:
                    await asyncio.sleep(
                        min(max(_AGAIN_SECONDS, error.retry_after_seconds), _LONGEST_AWAY_SECONDS)
                    )
                    continue
                if namespace not in self._failing:
                    logger.warning("Events are dropped", extra={"fields": {"error": str(error)}})
                self._failing.add(namespace)
                return False
            else:
                self._failing.discard(namespace)
                return True
        return False


def _event(cluster: PoseCluster, notice: Notice, *, name: str, when: str, instance: str) -> dict[str, Any]:
    return {
        "apiVersion": EVENTS.api_version,
        "kind": EVENTS.kind,
        "metadata": {"name": name, "namespace": cluster.namespace},
        "eventTime": when,
        "reportingController": REPORTING_CONTROLLER,
        "reportingInstance": instance,
        "action": _ACTION,
        "type": notice.type,
        "reason": notice.reason,
        "note": notice.note.encode()[:_LONGEST_NOTE].decode(errors="ignore"),
        "regarding": {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "namespace": cluster.namespace,
            "name": cluster.name,
            "uid": cluster.uid,
        },
    }


def _micro_time() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
