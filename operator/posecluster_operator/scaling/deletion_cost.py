"""Deletion costs, by which a step down removes the least busy pods."""

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence

from posecluster_operator.errors import KubeError
from posecluster_operator.kube.client import Kube
from posecluster_operator.kube.kinds import PODS
from posecluster_operator.resource.fields import Json
from posecluster_operator.resource.json_access import child, text
from posecluster_operator.scaling.pods import is_active, is_ready

logger = logging.getLogger(__name__)

COST = "controller.kubernetes.io/pod-deletion-cost"
_LOW = "-1"  # a pod without the annotation costs 0
_AT_ONCE = 8
_SETTING_SECONDS = 3.0


def costs(
    pods: Sequence[Json],
    activity: Mapping[str, tuple[float, float]],
    *,
    removed: int,
    leaving: Collection[str] = (),
) -> dict[str, str | None]:
    """Return the deletion costs to set, by pod name; None removes the cost of an earlier step. Pure.

    `activity` is by uid: requests in the pod, and arrivals in the last second. A pod with unknown activity
    counts as the busiest. `leaving`: uids of pods that are removed before all other ready pods. The
    controller removes pods that are not ready first.
    """
    busiest = (float("inf"), 0.0)
    active = [pod for pod in pods if is_active(pod)]
    ready = [pod for pod in active if is_ready(pod)]

    def turn(pod: Json) -> tuple[bool, tuple[float, float], str]:
        uid = pod["metadata"]["uid"]
        return uid not in leaving, activity.get(uid, busiest), pod["metadata"]["name"]

    ready.sort(key=turn)
    going = {pod["metadata"]["name"] for pod in ready[: max(0, removed - (len(active) - len(ready)))]}
    wanted: dict[str, str | None] = {}
    for pod in active:
        name = pod["metadata"]["name"]
        cost = _LOW if name in going else None
        if (text(child(pod, "metadata", "annotations"), COST) or None) != cost:
            wanted[name] = cost
    return wanted


async def set_costs(kube: Kube, namespace: str, wanted: Mapping[str, str | None]) -> None:
    """Set these costs within 3 s, because the change of size waits for them.

    Failures are logged. A busier pod may then be removed, which loses no request.
    """
    slots = asyncio.Semaphore(_AT_ONCE)

    async def one(name: str, cost: str | None) -> None:
        async with slots:
            await kube.patch(PODS, namespace, name, {"metadata": {"annotations": {COST: cost}}})

    try:
        async with asyncio.timeout(_SETTING_SECONDS):
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
