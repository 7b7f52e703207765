"""On the way down the idlest pods go: their deletion cost is lowered just before the size is."""

import asyncio
import logging
from collections.abc import Mapping, Sequence

from posecluster_operator.errors import KubeError
from posecluster_operator.kube.client import PODS, Kube
from posecluster_operator.resource.fields import Json
from posecluster_operator.resource.json_access import child, condition, text

logger = logging.getLogger(__name__)

COST = "controller.kubernetes.io/pod-deletion-cost"
_LOW = "-1"  # a pod without the annotation costs 0
_AT_ONCE = 8
_MARKING_SECONDS = 3.0


def costs(
    pods: Sequence[Json], activity: Mapping[str, tuple[float, float]], *, removed: int
) -> dict[str, str | None]:
    """Return the deletion costs to set, by pod name; None removes one that an earlier step left. Pure.

    `activity` is by uid: requests in the pod, arrivals of the last second. A pod whose activity is not known
    counts as the busiest. Pods that are not ready go first anyway; the controller sees to that.
    """
    busiest = (float("inf"), 0.0)
    staying = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]
    ready = [pod for pod in staying if text(condition(pod.get("status"), "Ready"), "status") == "True"]
    ready.sort(key=lambda pod: (activity.get(pod["metadata"]["uid"], busiest), pod["metadata"]["name"]))
    going = {pod["metadata"]["name"] for pod in ready[: max(0, removed - (len(staying) - len(ready)))]}
    wanted: dict[str, str | None] = {}
    for pod in staying:
        name = pod["metadata"]["name"]
        cost = _LOW if name in going else None
        if (text(child(pod, "metadata", "annotations"), COST) or None) != cost:
            wanted[name] = cost
    return wanted


async def mark(kube: Kube, namespace: str, wanted: Mapping[str, str | None]) -> None:
    """Set these costs, in three seconds at most: the size must not wait for them.

    What fails is told in the log: a busier pod goes then, which loses no request.
    """
    slots = asyncio.Semaphore(_AT_ONCE)

    async def one(name: str, cost: str | None) -> None:
        async with slots:
            await kube.patch(PODS, namespace, name, {"metadata": {"annotations": {COST: cost}}})

    try:
        async with asyncio.timeout(_MARKING_SECONDS):
            results = await asyncio.gather(*(one(*item) for item in wanted.items()), return_exceptions=True)
    except TimeoutError:
        logger.warning(
            "Deletion costs could not all be set in time", extra={"fields": {"namespace": namespace}}
        )
        return
    for result in results:
        if isinstance(result, KubeError):
            logger.warning("Deletion cost could not be set", extra={"fields": {"error": result}})
        elif isinstance(result, BaseException):
            raise result
