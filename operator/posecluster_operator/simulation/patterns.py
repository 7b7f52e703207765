"""Synthetic loads, which are derived from the spec's size and objective."""

import math
from collections.abc import Callable, Mapping
from random import Random

from posecluster_operator.resource.posecluster import ScalingMode
from posecluster_operator.scaling.policy import Policy
from posecluster_operator.scaling.policy.target import pods_for_rate
from posecluster_operator.simulation.trace import Counts

SECONDS = 1_800.0  # the default duration of a pattern
_QUIET, _BUSY = 0.3, 5.0  # relative to the capacity of the minimum size
_WITHIN_REACH = (
    0.9  # the busy rate may need this share of the maximum size, so that some size meets the objective
)
_LONGEST_BURST_SECONDS = 20.0

# a function of time and duration: 0 for the quiet rate, 1 for the busy rate
_Shape = Callable[[float, float], float]


def levels(policy: Policy, *, service_seconds: float) -> tuple[float, float]:
    """Return the quiet and the busy rate in requests per second."""
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
        for _ in range(20):  # to one millionth
            middle = (low + high) / 2.0
            low, high = (middle, high) if wanted(middle) <= within else (low, middle)
        busy = low
    return min(_QUIET * fewest * one_pod, busy / 2.0), busy


def step(at: float, seconds: float) -> float:
    """Return a step: quiet, busy and quiet again, for a third of the time each."""
    return 1.0 if 1.0 / 3.0 <= at / seconds < 2.0 / 3.0 else 0.0


def wave(at: float, seconds: float) -> float:
    """Return a sine with two periods."""
    return (1.0 - math.cos(4.0 * math.pi * at / seconds)) / 2.0


def burst(at: float, seconds: float) -> float:
    """Return eight evenly spaced bursts, each a sixth of a period, at most 20 s."""
    every = seconds / 8.0
    since = at % every - every / 2.0
    return 1.0 if 0.0 <= since < min(_LONGEST_BURST_SECONDS, every / 6.0) else 0.0


PATTERNS: Mapping[str, _Shape] = {"step": step, "wave": wave, "burst": burst}


def rates(name: str, *, quiet: float, busy: float, seconds: float) -> list[float]:
    """Return the mean rate in each second."""
    shape = PATTERNS[name]
    return [quiet + (busy - quiet) * shape(float(at), seconds) for at in range(math.ceil(seconds))]


def poisson_counts(means: list[float], random: Random) -> Counts:
    """Return Poisson-distributed counts for each second."""
    return Counts(1, tuple(_poisson(mean, random) for mean in means))


def _poisson(mean: float, random: Random) -> int:
    """Return a Poisson-distributed number, by counting exponential gaps."""
    count, gaps = -1, 0.0
    while gaps < mean:
        gaps += random.expovariate(1.0)
        count += 1
    return max(0, count)
