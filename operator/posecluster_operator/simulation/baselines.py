"""Alternative policies: a fixed number of pods, and Kubernetes' HorizontalPodAutoscaler on CPU."""

import math
from collections.abc import Sequence

from posecluster_operator.scaling.policy import Samples

TARGET_PERCENT = 50
SYNC_SECONDS = 15.0
_TOLERANCE = 0.1
_STABILISATION_SECONDS = 300.0
_MOST_ADDED, _MOST_FACTOR = 4, 2  # in 15 s: by four pods or to twice as many, whichever is more


class Fixed:
    """Keeps the initial size."""

    period_seconds = math.inf

    def size(self, now: float, samples: Samples) -> int:
        """Is never called, because the period is infinite."""
        raise AssertionError(now)


def recommended(
    usage: Sequence[int],
    *,
    replicas: int,
    unready: int,
    request_millicores: int,
    target_percent: int = TARGET_PERCENT,
) -> int:
    """Return the replicas that an HPA recommends for the CPU usage (millicores) of its measured pods.

    Kubernetes' formula, from its documentation, "Horizontal Pod Autoscaling", "Algorithm details", and
    kubernetes/kubernetes:pkg/controller/podautoscaler/replica_calculator.go (GetResourceReplicas):
    ceil(pods * utilisation / target), without a change within a tenth of the target. Utilisation is the usage
    of all pods relative to their requests, in whole percent. A pod without a full measurement since it became
    ready is ignored; for a step up it counts as idle, and a step that this would reverse is dropped.
    """
    if not usage:
        return replicas
    ratio = _utilisation(usage, len(usage), request_millicores) / target_percent
    pods = len(usage)
    if unready and ratio > 1.0:
        pods += unready
        ratio = _utilisation(usage, pods, request_millicores) / target_percent
        if ratio < 1.0:
            return replicas
    if abs(1.0 - ratio) <= _TOLERANCE + 1e-9:
        return replicas
    wanted = math.ceil(ratio * pods - 1e-9)
    if unready and ratio > 1.0 and wanted < replicas:
        return replicas
    return wanted


def _utilisation(usage: Sequence[int], pods: int, request_millicores: int) -> int:
    return 100 * sum(usage) // (pods * request_millicores)


class Hpa:
    """An HPA with Kubernetes' default behaviour, evaluated every 15 s.

    It scales up at once within its limits, and down to the highest recommendation of the last 300 s, as in
    horizontal.go: normalizeDesiredReplicasWithBehaviors, calculateScaleUpLimitWithScalingRules. It measures
    the last 15 s, whereas the measurements of metrics-server are up to 15 s older.
    """

    period_seconds = SYNC_SECONDS

    def __init__(
        self, *, least: int, most: int, size: int, request_millicores: int, limit_millicores: int
    ) -> None:
        self._least, self._most = max(1, least), most
        self._request, self._limit = request_millicores, limit_millicores
        self._busy: dict[str, float] = {}
        self._recommendations = [(0.0, size)]  # an HPA starts with the current size

    def size(self, now: float, samples: Samples) -> int:
        """Return the size after this sync."""
        replicas = samples.replicas or 0
        usage = self._usage(samples)
        wanted = recommended(
            usage,
            replicas=replicas,
            unready=replicas - len(usage),
            request_millicores=self._request,
        )
        wanted = max(self._least, min(self._most, wanted))
        kept = [one for one in self._recommendations if one[0] > now - _STABILISATION_SECONDS]
        self._recommendations = [*kept, (now, wanted)]
        if wanted > replicas:
            return min(wanted, max(_MOST_FACTOR * replicas, replicas + _MOST_ADDED))
        return min(replicas, max(size for _, size in self._recommendations))

    def _usage(self, samples: Samples) -> list[int]:
        """Return the millicores, at most the limit, of each pod that was ready for the last 15 s."""
        before, self._busy = self._busy, {pod.name: pod.busy_seconds for pod in samples.pods}
        return [
            min(self._limit, round(1_000 * (pod.busy_seconds - before.get(pod.name, 0.0)) / SYNC_SECONDS))
            for pod in samples.pods
            if pod.name in before or pod.started <= pod.at - SYNC_SECONDS
        ]
