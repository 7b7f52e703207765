"""The ready pods of all PoseClusters, from one LIST that is at most a few seconds old."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from posecluster_operator.builders import labels
from posecluster_operator.builders.environment import ADMIN_PORT
from posecluster_operator.builders.table import ChildRow
from posecluster_operator.errors import KubeError
from posecluster_operator.kube.back_off import back_off_seconds
from posecluster_operator.kube.client import Kube
from posecluster_operator.kube.kinds import PODS
from posecluster_operator.resource.fields import Json
from posecluster_operator.resource.json_access import child, condition, text
from posecluster_operator.scaling.scraper import Target
from posecluster_operator.scaling.silence import node_of

logger = logging.getLogger(__name__)

FRESH_SECONDS = 5.0
_LEAST_SECONDS = 0.5  # minimum time between two lists
_BELIEVED_SECONDS = 2 * FRESH_SECONDS  # how long a list is used while the API server is unavailable
_LISTING_SHARE = 0.05  # maximum share of the time for listing, for very many pods
_FIRST_BACK_OFF_SECONDS = 1.0
_LONGEST_BACK_OFF_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class _Listing:
    at: float
    pods: dict[str, tuple[Target, ...]]


class PodList:
    """Maintains the list of the pods of one child of each PoseCluster while `run` runs.

    `row`: the Deployment that the autoscaler sizes. `wanted` returns whether the list is needed.
    """

    def __init__(
        self,
        kube: Kube,
        row: ChildRow,
        *,
        namespaces: Sequence[str],
        monotonic: Callable[[], float],
        wanted: Callable[[], bool],
    ) -> None:
        self._kube, self._row, self._namespaces = kube, row, namespaces
        self._monotonic, self._wanted = monotonic, wanted
        self._selector = f"{labels.MANAGED_BY}={labels.MANAGER},{labels.COMPONENT}={row.component}"
        self._listing: _Listing | None = None
        self._touched = asyncio.Event()
        self._failures = 0

    def touch(self) -> None:
        """Request a new list soon, because pods may have changed."""
        self._touched.set()

    @property
    def listed(self) -> bool:
        """Whether the list is recent enough to be complete."""
        return self._listing is not None and self._monotonic() - self._listing.at <= _BELIEVED_SECONDS

    def pods_of(self, key: str) -> tuple[Target, ...]:
        """Return the ready pods of `namespace/name` in the last list."""
        return () if self._listing is None else self._listing.pods.get(key, ())

    async def run(self) -> None:
        """List pods after `touch`, and at least every 5 s, until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(FRESH_SECONDS - _LEAST_SECONDS):
                    await self._touched.wait()
            pause = _LEAST_SECONDS
            if self._wanted():
                self._touched.clear()  # later changes may be missing in this list
                pause = await self._list()
            await asyncio.sleep(pause)

    async def _list(self) -> float:
        """List once; return the minimum time until the next list."""
        began = self._monotonic()
        try:
            found = [
                pod
                for namespace in self._namespaces or (None,)
                for pod in await self._kube.list(PODS, namespace, labels=self._selector)
            ]
        except KubeError as error:
            return self._put_off(error)
        self._failures = 0
        self._listing = _Listing(began, _by_key(found, self._row))
        return max(_LEAST_SECONDS, (self._monotonic() - began) / _LISTING_SHARE)

    def _put_off(self, error: KubeError) -> float:
        self._failures += 1
        seconds = back_off_seconds(
            self._failures, first=_FIRST_BACK_OFF_SECONDS, longest=_LONGEST_BACK_OFF_SECONDS
        )
        seconds = max(seconds, error.retry_after_seconds)
        self.touch()
        fields = {"error": error, "seconds": round(seconds, 1)}
        logger.warning("Pods could not be listed", extra={"fields": fields})
        return seconds


def _by_key(pods: Sequence[Json], row: ChildRow) -> dict[str, tuple[Target, ...]]:
    """Return ready pods that are not being deleted, by the key of their PoseCluster."""
    found: dict[str, list[Target]] = {}
    for pod in pods:
        metadata, status = pod["metadata"], child(pod, "status")
        address = text(status, "podIP")
        name = child(metadata, "labels").get(labels.INSTANCE)
        if not name or not address or metadata.get("deletionTimestamp") or not _is_child(pod, row.name(name)):
            continue
        if text(condition(status, "Ready"), "status") == "True":
            target = Target(
                pod=metadata["uid"],
                name=metadata["name"],
                host=address,
                port=ADMIN_PORT,
                node=node_of(pod),
            )
            found.setdefault(f"{metadata['namespace']}/{name}", []).append(target)
    return {key: tuple(targets) for key, targets in found.items()}


def _is_child(pod: Json, deployment: str) -> bool:
    """Return whether a ReplicaSet of this Deployment owns the pod; any client can write labels."""
    return any(
        owner.get("kind") == "ReplicaSet"
        and str(owner.get("name", "")).startswith(f"{deployment}-")
        and owner.get("controller")
        for owner in pod["metadata"].get("ownerReferences") or ()
    )
