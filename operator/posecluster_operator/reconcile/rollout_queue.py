"""The limit on rollouts that the operator starts by itself, such as those of a new default image.

The cluster says which rollouts are under way, so a restarted operator keeps to the limit. The queue only
remembers the rollouts that it has just allowed, and the PoseClusters that wait.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from posecluster_operator.builders import labels
from posecluster_operator.builders.kinds import DEPLOYMENTS
from posecluster_operator.builders.table import Ident
from posecluster_operator.errors import Forbidden, NotFound
from posecluster_operator.kube.client import Kube
from posecluster_operator.reconcile.rollout_diagnosis import Failure, judges_current_spec, template_hash
from posecluster_operator.resource.fields import Json
from posecluster_operator.resource.json_access import child, condition, count, text
from posecluster_operator.resource.reasons import ProgressingReason

_LIST_SECONDS = 10.0  # between two lists of all Deployments while the limit is reached
_COMPLETE = "NewReplicaSetAvailable"


class RolloutQueue:
    """Allows at most `limit` rollouts at a time.

    `rolling` reads the keys of all PoseClusters with a rollout under way. `wake(key)` requests a pass.
    """

    def __init__(
        self,
        *,
        limit: int,
        rolling: Callable[[], Awaitable[set[str]]],
        wake: Callable[[str], None],
        monotonic: Callable[[], float],
    ) -> None:
        self._limit = limit
        self._read, self._wake, self._monotonic = rolling, wake, monotonic
        self._rolling: set[str] = set()
        self._allowed: set[str] = set()  # not applied yet, so the cluster does not show them
        self._waiting: dict[str, None] = {}  # in the order of arrival
        self._read_at = float("-inf")
        self._lock = asyncio.Lock()

    @property
    def waiting(self) -> int:
        """Number of PoseClusters whose rollout waits."""
        return len(self._waiting)

    @property
    def failure(self) -> Failure:
        """The reason and message of `Progressing` while a rollout waits."""
        return Failure(
            ProgressingReason.ROLLOUT_QUEUED,
            "The pods are replaced later, because of the operator's settings or version: it starts no "
            f"rollout while {self._limit} or more are under way (its setting CONCURRENT_ROLLOUTS). To "
            "replace them now, change the spec.",
        )

    async def may_start(self, key: str) -> bool:
        """Return whether this PoseCluster may start a rollout now; otherwise it is woken later.

        Call `observe` after the rollout was applied, also if that failed. Raises KubeError.
        """
        async with self._lock:
            # While the limit is reached, the cluster is not listed for each PoseCluster that waits.
            if not self._is_full or self._monotonic() - self._read_at >= _LIST_SECONDS:
                self._rolling, self._read_at = await self._read(), self._monotonic()
            if self._is_full:
                self._waiting[key] = None
                return False
            self._waiting.pop(key, None)
            self._allowed.add(key)
            return True

    def observe(self, key: str, *, is_rolling: bool, is_waiting: bool = False) -> None:
        """Note the state of a PoseCluster after its pass, and wake those that may start now."""
        self._allowed.discard(key)
        (self._rolling.add if is_rolling else self._rolling.discard)(key)
        if not is_waiting:
            self._waiting.pop(key, None)
        free = self._limit - len(self._rolling | self._allowed)
        for waiting in list(self._waiting)[: max(0, free)]:
            if waiting != key:
                self._wake(waiting)

    @property
    def _is_full(self) -> bool:
        return len(self._rolling | self._allowed) >= self._limit

    def clear(self) -> None:
        """Forget everything, because another process leads."""
        self._rolling, self._allowed, self._waiting = set(), set(), {}
        self._read_at = float("-inf")


async def rolling_keys(kube: Kube, namespaces: Sequence[str]) -> set[str]:
    """Return the keys of the PoseClusters in these namespaces, or in all if empty, with a rollout under way.

    Raises Retryable. A namespace that cannot be read counts as one without rollouts.
    """
    found: list[Json] = []
    for namespace in namespaces or (None,):
        with suppress(Forbidden, NotFound):
            found += await kube.list(DEPLOYMENTS, namespace, labels=f"{labels.MANAGED_BY}={labels.MANAGER}")
    return {
        f"{metadata['namespace']}/{child(metadata, 'labels').get(labels.INSTANCE)}"
        for metadata in (one["metadata"] for one in found if is_rolling_out(one))
    }


def is_rolling_out(deployment: Json | None) -> bool:
    """Return whether the Deployment replaces pods and makes progress. Pure.

    A rollout that has exceeded its progress deadline does not count, so that it does not hold up others.
    Neither do pods that start because of a new size, or that replace lost ones.
    """
    metadata, spec, status = (child(deployment, part) for part in ("metadata", "spec", "status"))
    if metadata.get("deletionTimestamp") or spec.get("paused") or not count(spec, "replicas"):
        return False
    if deployment and not judges_current_spec(deployment):
        return True
    progressing = condition(status, "Progressing")
    return text(progressing, "status") != "False" and text(progressing, "reason") not in ("", _COMPLETE)


def any_rolling_out(live: Mapping[Ident, Json | None]) -> bool:
    """Return whether one of the Deployments among the children replaces pods and makes progress. Pure."""
    return any(kind == DEPLOYMENTS.kind and is_rolling_out(body) for (kind, _), body in live.items())


def has_old_pods(deployment: Json | None) -> bool:
    """Return whether pods of an older template are left. Pure."""
    status = child(deployment, "status")
    return count(status, "updatedReplicas") < count(status, "replicas")


def starts_rollout(manifest: Mapping[str, Any], live: Json | None) -> bool:
    """Return whether the manifest has a new template, which would replace ready pods. Pure.

    A Deployment without a ready pod has nothing to lose, and the new template may be what it needs.
    """
    new, old = template_hash(manifest), template_hash(live)
    is_new = bool(new and old) and new != old
    return is_new and count(child(live, "status"), "readyReplicas") > 0
