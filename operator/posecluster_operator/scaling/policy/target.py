"""How many pods a load needs to meet the latency objective, by queueing theory.

There are two rules, of which the larger result applies:

- `pods_for_rate`: a steady rate. Each queue is an M/G/c queue; random splitting of Poisson
  arrivals is Poisson. P(wait > t) = P(wait > 0) exp(-2 c (1 - rho) t / (S (1 + cs2))): the
  heavy-traffic exponential tail (Kingman 1962; Whitt, "Approximations for the GI/G/m queue",
  1993), with P(wait > 0) = rho^(sqrt(2 (c + 1)) - 1) (Sakasegawa 1977). An answer is late when
  wait and service together exceed the objective, so both distributions are added up (the service
  time's is a gamma distribution of the assumed cv). With one shared queue
  c is all workers, and the rule becomes square-root staffing (Halfin and Whitt 1981).
- `pods_for_burst`: a number of arrivals within some seconds. The pods can hold back what is
  waited for within the objective or fits into the queues: workers (d + b) >= S A(d), the arrival
  envelope (Cruz 1991; InferLine 2020; Qiu and Knightly 2001 measure the peak envelope as here). A
  Service throws each request onto a random pod: one pod gets m, give or take sqrt(m (1 + cs2)).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from statistics import NormalDist

ASSUMED_CV = (
    0.5  # coefficient of variation of the service time: between steady inference (0.35) and exponential (1)
)

# share of requests in bursts, in which more may be late (tuned: 0.2 to 0.5 work)
BURST_PORTION = 1.0 / 3.0
# part of the late share for the steady rate; the rest is for bursts and rises (tuned: 0.25 to 0.4 work)
STEADY_PORTION = 1.0 / 3.0
# Below it, waits are rare (M/G/1: 40 %) and short, so that lateness results from the service time.
LEAST_UTILISATION = 0.4


class Routing(StrEnum):
    """How requests reach pods."""

    RANDOM = "Random"  # a Service: separate queues
    SHARED = "Shared"  # a gateway with one queue, or the least loaded pod


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceLevel:
    """The latency objective in seconds, the share of requests that may be late, and the capacity of a pod."""

    latency_seconds: float
    late_share: float
    workers: int
    queue_length: int
    routing: Routing = Routing.RANDOM

    @property
    def sigmas(self) -> float:
        """Standard deviations that only `late_share` exceeds."""
        return NormalDist().inv_cdf(1.0 - self.late_share)


def wait_allowed(objective: ServiceLevel, *, service_seconds: float, service_cv: float = ASSUMED_CV) -> float:
    """Return the seconds a request may wait: the objective less a long service time, or a full queue.

    It is at least one service time, because more pods cannot meet a shorter objective.
    """
    slow = service_seconds * (1.0 + objective.sigmas * service_cv)
    queue = objective.queue_length * service_seconds / objective.workers
    return max(min(objective.latency_seconds - slow, queue), service_seconds / objective.workers)


@lru_cache(maxsize=1024)
def service_times(mean_seconds: float, service_cv: float) -> tuple[tuple[float, float], ...]:
    """Return 64 (seconds, share of the requests) of a gamma distribution; the shares add up to 1."""
    shape = 1.0 / max(service_cv, 0.1) ** 2
    step = mean_seconds * (1.0 + 8.0 * service_cv) / 64.0
    seconds = [(index + 0.5) * step for index in range(64)]
    logs = [(shape - 1.0) * math.log(x) - shape * x / mean_seconds for x in seconds]
    weights = [math.exp(log - max(logs)) for log in logs]
    total = sum(weights)
    return tuple((x, weight / total) for x, weight in zip(seconds, weights, strict=True))


def late_share(
    utilisation: float,
    *,
    servers: int,
    objective: ServiceLevel,
    services: Iterable[tuple[float, float]],
    service_seconds: float,
    service_cv: float,
) -> float:
    """Return the share of requests whose wait and service in one M/G/c queue exceed the objective.

    No wait is longer than a full queue. A request that finds the queue full is refused, and counts as late.
    """
    if utilisation >= 1.0:
        return 1.0
    waits: float = utilisation ** (math.sqrt(2.0 * (servers + 1)) - 1.0)
    decay = 2.0 * servers * (1.0 - utilisation) / (service_seconds * (1.0 + service_cv**2))
    longest = objective.queue_length * service_seconds / objective.workers
    late = 0.0
    for seconds, share in services:
        spare = objective.latency_seconds - seconds
        late += share * (1.0 if spare < 0.0 else waits * math.exp(-decay * min(spare, longest)))
    return late


@lru_cache(maxsize=1024)
def _utilisation_target(
    objective: ServiceLevel, servers: int, service_seconds: float, service_cv: float
) -> float:
    services = service_times(service_seconds, service_cv)
    low, high = 0.0, 1.0
    for _ in range(12):  # to 0.0002
        middle = (low + high) / 2.0
        late = late_share(
            middle,
            servers=servers,
            objective=objective,
            services=services,
            service_seconds=service_seconds,
            service_cv=service_cv,
        )
        low, high = (middle, high) if late <= objective.late_share * STEADY_PORTION else (low, middle)
    return max(low, LEAST_UTILISATION)


def utilisation_target(
    objective: ServiceLevel, *, service_seconds: float, pods: int = 1, service_cv: float = ASSUMED_CV
) -> float:
    """Return the highest utilisation of the workers at which a steady rate keeps its part of the late share.

    Service times are rounded to three digits, so that the search is done once for each.
    """
    servers = objective.workers * (pods if objective.routing is Routing.SHARED else 1)
    return _utilisation_target(objective, servers, float(f"{service_seconds:.2e}"), service_cv)


def pods_for_rate(
    arrivals_per_second: float,
    objective: ServiceLevel,
    *,
    service_seconds: float,
    service_cv: float = ASSUMED_CV,
) -> float:
    """Return the pods that a steady rate needs, as a fraction to be rounded up."""
    work = arrivals_per_second * service_seconds / objective.workers

    def wanted(pods: int) -> float:
        return work / utilisation_target(
            objective, service_seconds=service_seconds, pods=pods, service_cv=service_cv
        )

    most = wanted(1)
    if objective.routing is Routing.RANDOM:
        return most
    # With one queue, more pods may be busier. Find the fewest that suffice at their utilisation.
    low, high = 1, max(1, math.ceil(most))
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if wanted(middle) <= middle else (middle + 1, high)
    return max(wanted(low), low - 1.0)


def pods_for_burst(
    arrivals: float,
    seconds: float,
    objective: ServiceLevel,
    *,
    service_seconds: float,
    service_cv: float = ASSUMED_CV,
) -> float:
    """Return the pods that process the arrivals of `seconds` in time, as a fraction to be rounded up."""
    wait = wait_allowed(objective, service_seconds=service_seconds, service_cv=service_cv)
    room = objective.workers * (seconds + wait) / service_seconds  # requests a pod can answer in time
    if objective.routing is Routing.SHARED:
        return arrivals / room
    sigmas = NormalDist().inv_cdf(1.0 - min(0.5, objective.late_share / BURST_PORTION))
    spread = sigmas * math.sqrt(1.0 + service_cv**2)
    root = (math.sqrt(spread**2 + 4.0 * room) - spread) / 2.0  # m + spread sqrt(m) = room
    return arrivals / root**2
