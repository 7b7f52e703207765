"""The ready pods of all PoseClusters, from one LIST per watched namespace, a few seconds old at most."""

import asyncio
import logging
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from posecluster_operator.admin.namespaces import Namespaces
from posecluster_operator.builders import labels
from posecluster_operator.builders.environment import ADMIN_PORT
from posecluster_operator.builders.table import ChildRow
from posecluster_operator.errors import Forbidden, KubeError
from posecluster_operator.kube.back_off import back_off_seconds
from posecluster_operator.kube.client import Kube
from posecluster_operator.kube.kinds import PODS
from posecluster_operator.resource.fields import Json
from posecluster_operator.resource.json_access import child, text
from posecluster_operator.scaling.pods import belongs_to, is_active, is_ready, node_of
from posecluster_operator.scaling.scraper import Target

logger = logging.getLogger(__name__)

_LIST_PODS = f"list {PODS.plural}"
FRESH_SECONDS = 5.0
_LEAST_SECONDS = 0.5  # minimum time between two lists of a namespace
_BELIEVED_SECONDS = 2 * FRESH_SECONDS  # how long a list is used while the API server is unavailable
_LISTING_SHARE = 0.05  # maximum share of the time for listing, for very many pods
_FIRST_BACK_OFF_SECONDS = 1.0
_LONGEST_BACK_OFF_SECONDS = 15.0


@dataclass(slots=True)
class _Pods:
    """The ready pods of one watched namespace by the key of their PoseCluster, as of the time `at`."""

    at: float = -math.inf
    by_key: dict[str, tuple[Target, ...]] = field(default_factory=dict)
    touched: asyncio.Event = field(default_factory=asyncio.Event)
    failures: int = 0


class PodList:
    """Maintains the list of the pods of one child of each PoseCluster while `run` runs.

    Each watched namespace is listed separately, so that a failure in one does not affect the others.
    `row`: the Deployment that the autoscaler sizes. `wanted` returns whether the list is needed.
    """

    def __init__(
        self,
        kube: Kube,
        row: ChildRow,
        *,
        namespaces: Namespaces,
        monotonic: Callable[[], float],
        wanted: Callable[[], bool],
    ) -> None:
        self._kube, self._row, self._namespaces = kube, row, namespaces
        self._monotonic, self._wanted = monotonic, wanted
        self._selector = f"{labels.MANAGED_BY}={labels.MANAGER},{labels.COMPONENT}={row.component}"
        self._pods = {name: _Pods() for name in namespaces.names}

    def touch(self, key: str) -> None:
        """Request a new list soon, because pods of this PoseCluster may have changed."""
        self._of(key).touched.set()

    def listed(self, key: str) -> bool:
        """Return whether the list with the pods of this PoseCluster is recent enough to be complete."""
        return self._monotonic() - self._of(key).at <= _BELIEVED_SECONDS

    def pods_of(self, key: str) -> tuple[Target, ...]:
        """Return the ready pods of `namespace/name` in the last list."""
        return self._of(key).by_key.get(key, ())

    async def run(self) -> None:
        """List pods after `touch`, and at least every 5 s, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for namespace, pods in self._pods.items():
                tasks.create_task(self._run(namespace, pods), name=f"pod list {namespace}")

    def _of(self, key: str) -> _Pods:
        return self._pods[self._namespaces.of(key)]

    async def _run(self, namespace: str, pods: _Pods) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(FRESH_SECONDS - _LEAST_SECONDS):
                    await pods.touched.wait()
            pause = _LEAST_SECONDS
            # a denied list is repeated until it is allowed, even if no PoseCluster is known any more
            if self._wanted() or self._namespaces.is_denied(namespace, _LIST_PODS):
                pods.touched.clear()  # later changes may be missing in this list
                pause = await self._list(namespace, pods)
            await asyncio.sleep(pause)

    async def _list(self, namespace: str, pods: _Pods) -> float:
        """List once; return the minimum time until the next list."""
        began = self._monotonic()
        try:
            found = await self._kube.list(PODS, namespace or None, labels=self._selector)
        except KubeError as error:
            return self._put_off(namespace, pods, error)
        self._namespaces.allow(namespace, _LIST_PODS)
        pods.at, pods.by_key, pods.failures = began, _by_key(found, self._row), 0
        share = _LISTING_SHARE / len(self._pods)
        return max(_LEAST_SECONDS, (self._monotonic() - began) / share)

    def _put_off(self, namespace: str, pods: _Pods, error: KubeError) -> float:
        pods.failures += 1
        seconds = back_off_seconds(
            pods.failures, first=_FIRST_BACK_OFF_SECONDS, longest=_LONGEST_BACK_OFF_SECONDS
        )
        seconds = max(seconds, error.retry_after_seconds)
        pods.touched.set()
        if isinstance(error, Forbidden):
            self._namespaces.deny(namespace, _LIST_PODS, error)
        else:
            fields = {"error": error, "seconds": round(seconds, 1)}
            logger.warning("Pods could not be listed", extra={"fields": fields})
        return seconds


def _by_key(pods: Sequence[Json], row: ChildRow) -> dict[str, tuple[Target, ...]]:
    """Return ready pods that are not being deleted, by the key of their PoseCluster."""
    found: dict[str, list[Target]] = {}
    for pod in pods:
        metadata, address = pod["metadata"], text(child(pod, "status"), "podIP")
        name = child(metadata, "labels").get(labels.INSTANCE)
        if name and address and is_active(pod) and is_ready(pod) and belongs_to(pod, row.name(name)):
            target = Target(
                pod=metadata["uid"],
                name=metadata["name"],
                host=address,
                port=ADMIN_PORT,
                node=node_of(pod),
            )
            found.setdefault(f"{metadata['namespace']}/{name}", []).append(target)
    return {key: tuple(targets) for key, targets in found.items()}
