"""Loads to try a spec with when there is no trace: they follow from the spec's own size and objective."""

import math
from collections.abc import Callable, Mapping
from random import Random

from posecluster_operator.resource.posecluster import ScalingMode
from posecluster_operator.scaling.policy import Policy
from posecluster_operator.scaling.policy.target import pods_for_rate
from posecluster_operator.simulation.trace import Counts

SECONDS = 1_800.0  # as long as a pattern is, unless it is said
_QUIET, _BUSY = 0.3, 5.0  # of what the fewest pods can do at most: a user's first night and first morning
_WITHIN_REACH = 0.9  # of the most pods may be wanted for the busy rate, or every size would be too small
_LONGEST_BURST_SECONDS = 20.0

# of the way from quiet to busy, at a share of the whole time
_Shape = Callable[[float, float], float]


def levels(policy: Policy, *, service_seconds: float) -> tuple[float, float]:
    """Return the quiet and the busy rate in requests a second."""
    objective = policy.objective
    fixed = policy.mode is ScalingMode.FIXED
    fewest = max(1, policy.fixed_replicas if fixed else policy.min_replicas)
    most = max(1, policy.fixed_replicas if fixed else policy.max_replicas)
    one_pod = objective.workers / service_seconds
    within = _WITHIN_REACH * most

    def wanted(rate: float) -> float:
        return pods_for_rate(rate, objective, service_seconds=service_seconds)

    busy = _BUSY * fewest * one_pod
    if wanted(busy) > within:
        low, high = 0.0, busy
        for _ in range(20):  # one millionth
            middle = (low + high) / 2.0
            low, high = (middle, high) if wanted(middle) <= within else (low, middle)
        busy = low
    return min(_QUIET * fewest * one_pod, busy / 2.0), busy


def step(at: float, seconds: float) -> float:
    """Quiet, busy and quiet again, a third of the time each."""
    return 1.0 if 1.0 / 3.0 <= at / seconds < 2.0 / 3.0 else 0.0


def wave(at: float, seconds: float) -> float:
    """Two days as a sine."""
    return (1.0 - math.cos(4.0 * math.pi * at / seconds)) / 2.0


def burst(at: float, seconds: float) -> float:
    """Eight bursts, evenly spread: a sixth of the time between two, 20 s at most."""
    every = seconds / 8.0
    since = at % every - every / 2.0
    return 1.0 if 0.0 <= since < min(_LONGEST_BURST_SECONDS, every / 6.0) else 0.0


PATTERNS: Mapping[str, _Shape] = {"step": step, "wave": wave, "burst": burst}


def rates(name: str, *, quiet: float, busy: float, seconds: float) -> list[float]:
    """Return the mean rate in each second."""
    shape = PATTERNS[name]
    return [quiet + (busy - quiet) * shape(float(at), seconds) for at in range(math.ceil(seconds))]


def poisson_counts(means: list[float], random: Random) -> Counts:
    """Return how many requests come in each second when callers know nothing of each other."""
    return Counts(1, tuple(_poisson(mean, random) for mean in means))


def _poisson(mean: float, random: Random) -> int:
    """As many as fit when the gaps between them are exponential."""
    count, gaps = -1, 0.0
    while gaps < mean:
        gaps += random.expovariate(1.0)
        count += 1
    return max(0, count)
