"""How many pods a load needs, compared with exact queueing theory and a simulated queue."""

import heapq
import math
import random
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from harness.simulated_pods import OBJECTIVE
from posecluster_operator.scaling.policy import Routing, ServiceLevel
from posecluster_operator.scaling.policy.target import pods_for_burst, pods_for_rate, utilisation_target

pytestmark = pytest.mark.unit

control = pytest.mark.control
SERVICE_SECONDS = 0.033
ROOMY = replace(OBJECTIVE, queue_length=10_000)
LATENCIES = (0.15, 0.25, 1.0)
WORKERS = (1, 2, 4, 8)


def erlang_c(servers: int, utilisation: float) -> float:
    """Return the exact chance that a request waits in an M/M/c queue."""
    offered, blocked = servers * utilisation, 1.0
    for server in range(1, servers + 1):
        blocked = offered * blocked / (server + offered * blocked)
    return blocked / (1.0 - utilisation * (1.0 - blocked))


def mmc_late(servers: int, utilisation: float, seconds: float, mean: float) -> float:
    """Return the exact share of an M/M/c queue that is not answered within `seconds` (Gross and Harris)."""
    waits = erlang_c(servers, utilisation)
    rate, slack = 1.0 / mean, servers * (1.0 - utilisation)
    served = math.exp(-rate * seconds)
    if math.isclose(slack, 1.0):
        return served * (1.0 + waits * rate * seconds)
    return served * (1.0 + waits * (1.0 - math.exp(-rate * seconds * (slack - 1.0))) / (slack - 1.0))


def simulated_late(
    servers: int, utilisation: float, seconds: float, *, cv: float, requests: int = 60_000
) -> float:
    """Return the share not answered in time by a FIFO queue with Poisson arrivals, lognormal service."""
    chance, now, late = random.Random(7), 0.0, 0
    sigma = math.sqrt(math.log(1.0 + cv**2))
    free = [0.0] * servers
    for _ in range(requests):
        now += chance.expovariate(servers * utilisation / SERVICE_SECONDS)
        begun = max(now, free[0])
        ended = begun + SERVICE_SECONDS * chance.lognormvariate(-(sigma**2) / 2, sigma)
        heapq.heapreplace(free, ended)
        late += ended - now > seconds
    return late / requests


# ---- against theory


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("latency", LATENCIES)
@pytest.mark.parametrize("late", [0.001, 0.01, 0.1])
def test_an_exact_markov_queue_keeps_the_objective_at_the_target(
    workers: int, latency: float, late: float
) -> None:
    objective = replace(ROOMY, workers=workers, latency_seconds=latency, late_share=late)
    target = utilisation_target(objective, service_seconds=SERVICE_SECONDS, service_cv=1.0)
    never_less = utilisation_target(
        replace(objective, latency_seconds=1e-6, late_share=0.001),
        service_seconds=SERVICE_SECONDS,
        service_cv=1.0,
    )
    assert 0.0 < never_less <= target < 1.0
    if target > never_less + 0.001:  # below, another pod buys nothing
        assert mmc_late(workers, target, latency, SERVICE_SECONDS) <= 2 * late


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("latency", LATENCIES)
def test_a_simulated_queue_keeps_the_objective_at_the_target(workers: int, latency: float) -> None:
    objective = replace(ROOMY, workers=workers, latency_seconds=latency)
    target = utilisation_target(objective, service_seconds=SERVICE_SECONDS)
    assert simulated_late(workers, target, latency, cv=0.35) <= 2 * objective.late_share


@control
def test_control_a_busier_queue_does_not_keep_it() -> None:
    target = utilisation_target(ROOMY, service_seconds=SERVICE_SECONDS)
    busier = 1.0 - (1.0 - target) / 3.0
    assert simulated_late(1, busier, ROOMY.latency_seconds, cv=0.35) > 2 * ROOMY.late_share
    assert mmc_late(1, 0.97, 0.25, SERVICE_SECONDS) > 0.02


def test_the_exact_tail_is_exact() -> None:
    assert mmc_late(1, 0.6, 0.25, 0.033) == pytest.approx(math.exp(-0.4 * 0.25 / 0.033))
    assert erlang_c(2, 0.75) == pytest.approx(0.642857, abs=1e-6)


# ---- monotone

objectives = st.builds(
    ServiceLevel,
    latency_seconds=st.floats(0.05, 5.0),
    late_share=st.floats(0.001, 0.2),
    workers=st.integers(1, 16),
    queue_length=st.integers(1, 200),
    routing=st.sampled_from(Routing),
)
services = st.floats(0.002, 1.0)
rates = st.floats(0.0, 3000.0)


@given(objectives, services, rates, rates)
def test_a_higher_rate_never_wants_fewer_pods(
    objective: ServiceLevel, service: float, one: float, other: float
) -> None:
    low, high = (
        math.ceil(pods_for_rate(rate, objective, service_seconds=service) - 1e-9)
        for rate in sorted((one, other))
    )
    assert low <= high


@given(objectives, services, rates, rates)
def test_a_larger_burst_never_wants_fewer_pods(
    objective: ServiceLevel, service: float, one: float, other: float
) -> None:
    low, high = (
        pods_for_burst(arrivals, 1.0, objective, service_seconds=service) for arrivals in sorted((one, other))
    )
    assert low <= high


@given(objectives, services, rates)
def test_the_target_covers_the_work_and_is_bounded(
    objective: ServiceLevel, service: float, rate: float
) -> None:
    work = rate * service / objective.workers
    pods = pods_for_rate(rate, objective, service_seconds=service)
    assert work <= pods + 1e-9
    assert pods <= 10 * work + 1


@given(objectives, services, rates)
def test_one_shared_queue_never_wants_more_pods_than_separate_ones(
    objective: ServiceLevel, service: float, rate: float
) -> None:
    shared, apart = (
        pods_for_rate(rate, replace(objective, routing=routing), service_seconds=service)
        for routing in (Routing.SHARED, Routing.RANDOM)
    )
    assert shared <= apart + 1e-9


@given(objectives, services, st.floats(1.0, 10.0))
def test_a_milder_objective_never_lowers_the_utilisation(
    objective: ServiceLevel, service: float, times: float
) -> None:
    assume(objective.late_share * times <= 0.2)
    milder = replace(
        objective, late_share=objective.late_share * times, latency_seconds=objective.latency_seconds * times
    )
    before, after = (utilisation_target(one, service_seconds=service) for one in (objective, milder))
    assert after >= before - 1e-5


@pytest.mark.parametrize("workers", [1, 2, 4, 8, 16])
def test_more_workers_a_pod_allow_more_utilisation(workers: int) -> None:
    less, more = (
        utilisation_target(replace(ROOMY, workers=count), service_seconds=SERVICE_SECONDS)
        for count in (workers, 2 * workers)
    )
    assert more >= less


def test_the_longer_a_burst_lasts_the_fewer_pods_the_same_requests_want() -> None:
    wanted = [
        pods_for_burst(400.0, seconds, OBJECTIVE, service_seconds=SERVICE_SECONDS)
        for seconds in (1.0, 2.0, 4.0, 8.0)
    ]
    assert sorted(wanted, reverse=True) == wanted
    assert wanted[0] > 2 * wanted[-1]


@given(objectives, services)
def test_nothing_to_do_wants_nothing(objective: ServiceLevel, service: float) -> None:
    assert pods_for_rate(0.0, objective, service_seconds=service) == 0.0
    assert pods_for_burst(0.0, 1.0, objective, service_seconds=service) == 0.0
