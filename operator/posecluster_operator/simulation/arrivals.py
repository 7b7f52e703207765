"""Time, service time and pod of each request, drawn once, so that all policies get the same requests."""

import math
from array import array
from bisect import bisect_left
from dataclasses import dataclass
from random import Random

from posecluster_operator.errors import InvalidInput
from posecluster_operator.simulation.trace import Counts

MOST_REQUESTS = 3_000_000  # 100 MiB, and some seconds per simulated policy


@dataclass(frozen=True, slots=True)
class Arrivals:
    """All requests: `times` ascend and are below `seconds`; `picks`, from 0 to below 1, select the pod."""

    seconds: float
    times: "array[float]"
    services: "array[float]"
    picks: "array[float]"

    def rate(self, begin: float, end: float) -> float:
        """Return the requests per second between two times."""
        return (bisect_left(self.times, end) - bisect_left(self.times, begin)) / (end - begin)


def stream(seed: int, name: str) -> Random:
    """Return a random generator for one purpose, independent of those for other purposes."""
    return Random(f"{seed} {name}")  # noqa: S311 - for a simulation


def draw(
    counts: Counts, *, service_seconds: float, service_cv: float, seed: int, seconds: float | None = None
) -> Arrivals:
    """Return the requests, at uniformly random times within each bin, with lognormal service times.

    Raises InvalidInput if there are none or too many.
    """
    check_total(sum(counts.requests))
    when, work, where = (stream(seed, name) for name in ("arrivals", "services", "picks"))
    end = min(counts.seconds, math.inf if seconds is None else seconds)
    times = array("d")
    for index, count in enumerate(counts.requests):
        begin = index * counts.bin_seconds
        times.extend(sorted(begin + counts.bin_seconds * when.random() for _ in range(count)))
    while times and times[-1] >= end:
        times.pop()
    if not times:
        raise InvalidInput(
            "no request arrives within the simulated time: set a longer --duration or a larger --scale"
        )
    sigma = math.sqrt(math.log(1.0 + service_cv**2))
    mu = math.log(service_seconds) - sigma**2 / 2.0
    return Arrivals(
        seconds=end,
        times=times,
        services=array("d", (work.lognormvariate(mu, sigma) for _ in times)),
        picks=array("d", (where.random() for _ in times)),
    )


def check_total(requests: float) -> None:
    """Raise InvalidInput if there are too many requests."""
    if requests > MOST_REQUESTS:
        raise InvalidInput(
            f"{requests:,.0f} requests are too many, at most {MOST_REQUESTS:,} are possible: "
            "set a shorter --duration or a smaller --scale"
        )


def scaled(counts: Counts, factor: float, *, seed: int) -> Counts:
    """Return the counts multiplied by a factor, each rounded up or down at random to keep the mean."""
    if factor == 1.0:
        return counts
    check_total(factor * sum(counts.requests))
    random = stream(seed, "scale")
    return Counts(
        counts.bin_seconds, tuple(int(factor * count + random.random()) for count in counts.requests)
    )
