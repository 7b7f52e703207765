"""Simulation of one policy over all arrivals."""

import math
from array import array
from bisect import bisect_left
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

from posecluster_operator.scaling.policy import Samples
from posecluster_operator.simulation.arrivals import Arrivals, stream
from posecluster_operator.simulation.pods import PodModel, SimulatedPods, offer_all

FLIP_SECONDS = 60.0  # a change that is reversed within this time had no benefit


class Sizer(Protocol):
    """A policy, which is called every `period_seconds`; never for `math.inf`."""

    period_seconds: float

    def size(self, now: float, samples: Samples) -> int:
        """Return the desired number of pods."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The outcome. `sizes`: (time, desired pods), from 0; `latencies`: of requests that were not refused."""

    seconds: float
    refused: int
    latency_seconds: float
    latencies: "array[float]"
    pod_seconds: float
    sizes: tuple[tuple[float, int], ...]

    @property
    def requests(self) -> int:
        """The number of all requests."""
        return len(self.latencies) + self.refused

    @property
    def late_share(self) -> float:
        """The share of requests that were refused or slower than the objective."""
        slow = sum(1 for latency in self.latencies if latency > self.latency_seconds)
        return (self.refused + slow) / self.requests

    @property
    def pod_hours(self) -> float:
        """The total pod time in hours, from the creation of each pod to its end."""
        return self.pod_seconds / 3_600.0

    @property
    def changes(self) -> int:
        """The number of changes of size."""
        return len(self.sizes) - 1

    @property
    def flips(self) -> int:
        """The number of changes that reverse the previous one within FLIP_SECONDS."""
        steps = [(after[0], after[1] - before[1]) for before, after in pairwise(self.sizes)]
        return sum(
            (by > 0) != (then > 0) and later - at < FLIP_SECONDS
            for (at, by), (later, then) in pairwise(steps)
        )

    @property
    def mean_size(self) -> float:
        """The mean of the desired pods over time."""
        ends = [at for at, _ in self.sizes[1:]] + [self.seconds]
        return sum(size * (end - at) for (at, size), end in zip(self.sizes, ends, strict=True)) / self.seconds

    def latency_at(self, share: float) -> float:
        """Return the quantile `share` of the latencies in seconds, or nan if there are none."""
        if not self.latencies:
            return math.nan
        return sorted(self.latencies)[min(len(self.latencies) - 1, int(share * len(self.latencies)))]


def simulate(arrivals: Arrivals, model: PodModel, sizer: Sizer, *, size: int, seed: int) -> Outcome:
    """Return the outcome of a policy that starts with `size` ready pods."""
    pods = SimulatedPods(model, size, stream(seed, "starts"))
    sizes = [(0.0, size)]
    latencies = array("d")
    refused = index = asked = 0
    now, next_ask = 0.0, sizer.period_seconds
    while now < arrivals.seconds:
        now = min(next_ask, pods.next_ready, arrivals.seconds)
        upto = bisect_left(arrivals.times, now, index)
        requests = zip(
            arrivals.times[index:upto],
            arrivals.services[index:upto],
            arrivals.picks[index:upto],
            strict=True,
        )
        refused += offer_all(pods, model.routing, requests, latencies)
        index = upto
        pods.advance(now)
        if now == next_ask and now < arrivals.seconds:
            wanted = sizer.size(now, pods.samples(now))
            if wanted != pods.size:
                pods.resize(now, wanted)
                sizes.append((now, wanted))
            asked += 1
            next_ask = (asked + 1) * sizer.period_seconds
    return Outcome(
        seconds=arrivals.seconds,
        refused=refused,
        latency_seconds=model.latency_seconds,
        latencies=latencies,
        pod_seconds=pods.pod_seconds(arrivals.seconds),
        sizes=tuple(sizes),
    )
