"""Simulated pods agree with queueing theory, and lose no request."""

import math
from array import array
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posecluster_operator.scaling.policy import Routing, Samples
from posecluster_operator.simulation.arrivals import Arrivals, draw
from posecluster_operator.simulation.baselines import Fixed
from posecluster_operator.simulation.pods import START_JITTER, Pod, PodModel, SimulatedPods
from posecluster_operator.simulation.run import Outcome, simulate
from posecluster_operator.simulation.trace import Counts

pytestmark = pytest.mark.unit

SERVICE = 0.1
ENDLESS = 10**9


def model(*, workers: int = 1, places: int = ENDLESS, routing: Routing = Routing.RANDOM) -> PodModel:
    return PodModel(
        workers=workers,
        places=places,
        latency_seconds=0.25,
        deadline_seconds=float(ENDLESS),
        start_seconds=4.0,
        drain_seconds=15.0,
        routing=routing,
    )


def poisson(rate: float, *, requests: int = 80_000, cv: float | None = None) -> Arrivals:
    """A Poisson stream; services are exponential, or lognormal with that cv."""
    random = Random(7)
    times, now = array("d"), 0.0
    for _ in range(requests):
        now += random.expovariate(rate)
        times.append(now)
    sigma = math.sqrt(math.log(1.0 + (cv or 1.0) ** 2))
    mu = math.log(SERVICE) - sigma**2 / 2.0
    service = (
        random.expovariate(1.0 / SERVICE) if cv is None else random.lognormvariate(mu, sigma) for _ in times
    )
    services = array("d", service)
    return Arrivals(now + 1.0, times, services, array("d", (random.random() for _ in times)))


def fixed(arrivals: Arrivals, pods: PodModel, size: int = 1) -> Outcome:
    return simulate(arrivals, pods, Fixed(), size=size, seed=1)


def mean_wait(outcome: Outcome) -> float:
    return sum(outcome.latencies) / len(outcome.latencies) - SERVICE


def erlang_c(servers: int, load: float) -> float:
    """The share that has to wait in M/M/c, with `load` = arrivals x service."""
    last = load**servers / math.factorial(servers) * servers / (servers - load)
    return last / (sum(load**k / math.factorial(k) for k in range(servers)) + last)


@pytest.mark.parametrize("cv", [0.35, 0.5, 1.0])
def test_one_worker_waits_as_pollaczek_and_khinchine_say(cv: float) -> None:
    rho = 0.7
    expected = rho * SERVICE * (1.0 + cv**2) / (2.0 * (1.0 - rho))
    assert mean_wait(fixed(poisson(rho / SERVICE, cv=cv), model())) == pytest.approx(expected, rel=0.06)


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_several_workers_wait_as_erlang_says(workers: int) -> None:
    load = 0.8 * workers
    expected = erlang_c(workers, load) * SERVICE / (workers - load)
    outcome = fixed(poisson(load / SERVICE), model(workers=workers))
    assert mean_wait(outcome) == pytest.approx(expected, rel=0.08)


def test_shared_routing_is_one_queue_and_random_routing_is_several() -> None:
    """Four pods of one worker: M/M/4 when shared, four times M/M/1 at random, which waits far longer."""
    load = 0.8 * 4
    arrivals = poisson(load / SERVICE)
    shared = fixed(arrivals, model(routing=Routing.SHARED), size=4)
    assert mean_wait(shared) == pytest.approx(erlang_c(4, load) * SERVICE / (4 - load), rel=0.08)
    alone = fixed(arrivals, model(), size=4)
    assert mean_wait(alone) == pytest.approx(0.8 * SERVICE / (1.0 - 0.8), rel=0.08)


def test_a_full_queue_refuses_as_often_as_theory_says() -> None:
    """M/M/1/K with K = one in work and the waiting places."""
    rho, places = 0.9, 3
    outcome = fixed(poisson(rho / SERVICE), model(places=places))
    expected = (1.0 - rho) * rho ** (places + 1) / (1.0 - rho ** (places + 2))
    assert outcome.refused / outcome.requests == pytest.approx(expected, rel=0.05)


class Scripted:
    """Orders sizes by turns, every second."""

    period_seconds = 1.0

    def __init__(self, sizes: list[int]) -> None:
        self.sizes, self.seen = sizes, list[Samples]()

    def size(self, now: float, samples: Samples) -> int:
        self.seen.append(samples)
        return self.sizes[int(now) % len(self.sizes)]


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 6), min_size=1, max_size=12),
    workers=st.integers(1, 3),
    places=st.integers(1, 8),
    routing=st.sampled_from(Routing),
    rate=st.integers(1, 60),
    seed=st.integers(),
)
def test_every_request_is_answered_or_refused(
    sizes: list[int], workers: int, places: int, routing: Routing, rate: int, seed: int
) -> None:
    arrivals = draw(Counts(1, (rate,) * 20), service_seconds=0.2, service_cv=0.5, seed=seed)
    pods = model(workers=workers, places=places, routing=routing)
    sizer = Scripted(sizes)
    outcome = simulate(arrivals, pods, sizer, size=2, seed=seed)
    assert len(outcome.latencies) + outcome.refused == outcome.requests == len(arrivals.times) == 20 * rate
    for samples in sizer.seen:
        assert samples.replicas is not None
        assert samples.ready == len(samples.pods) <= samples.replicas
        for pod in samples.pods:
            assert pod.arrivals == pod.completed + pod.refused + pod.running + pod.queued
            assert pod.running <= workers
            assert pod.queued <= places


def test_the_size_follows_what_is_ordered_up_and_down() -> None:
    arrivals = draw(Counts(1, (5,) * 6), service_seconds=0.1, service_cv=0.5, seed=1)
    outcome = simulate(arrivals, model(), Scripted([2, 5, 5, 1, 1, 0]), size=2, seed=1)
    assert outcome.sizes == ((0.0, 2), (1.0, 5), (3.0, 1), (5.0, 0))


def test_a_removed_pod_gets_nothing_more_drains_and_finishes_what_it_has() -> None:
    pods = SimulatedPods(model(), 2, Random(1))
    busy, idle = pods.serving
    for _ in range(3):
        assert busy.offer(0.0, 10.0) is not None
    pods.resize(1.0, 1)
    assert pods.serving == [busy], "the idlest goes"
    assert idle.ended_at == 16.0, "drained"
    pods.resize(2.0, 0)
    assert pods.serving == []
    assert busy.ended_at == 30.0, "after its last answer"
    assert pods.pod_seconds(100.0) == 46.0
    assert pods.pod_seconds(20.0) == 36.0


def test_a_new_pod_is_paid_at_once_and_serves_after_its_start() -> None:
    pods = SimulatedPods(model(), 1, Random(1))
    pods.resize(10.0, 3)
    assert (pods.size, len(pods.serving)) == (3, 1)
    assert 10.0 + 4.0 * (1.0 - START_JITTER) <= pods.next_ready <= 10.0 + 4.0 * (1.0 + START_JITTER)
    pods.advance(pods.next_ready)
    assert (pods.size, len(pods.serving)) == (3, 2)
    pods.advance(10.0 + 4.0 * (1.0 + START_JITTER))
    assert len(pods.serving) == 3
    assert pods.next_ready == math.inf
    assert pods.pod_seconds(20.0) == 40.0


def test_pods_that_start_go_first_and_cost_no_drain() -> None:
    pods = SimulatedPods(model(), 1, Random(1))
    pods.resize(10.0, 3)
    pods.resize(11.0, 1)
    assert (pods.size, len(pods.serving)) == (1, 1)
    assert pods.pod_seconds(20.0) == 22.0


def test_a_request_that_would_wait_beyond_its_deadline_is_refused() -> None:
    pods = PodModel(
        workers=1, places=100, latency_seconds=1, deadline_seconds=2.0, start_seconds=0, drain_seconds=0
    )
    pod = Pod(pods, 0, ordered_at=0.0, ready_at=0.0)
    assert [pod.offer(0.0, 1.0) for _ in range(4)] == [1.0, 2.0, 3.0, None]
    late = pod.sample(10.0)
    assert (late.arrivals, late.completed, late.refused, late.late) == (4, 3, 1, 3)
    assert late.busy_seconds == 3.0


def test_without_a_ready_pod_everything_is_refused_and_late() -> None:
    arrivals = draw(Counts(1, (5, 5)), service_seconds=0.1, service_cv=0.5, seed=1)
    outcome = fixed(arrivals, model(), size=0)
    assert (outcome.refused, outcome.late_share, outcome.pod_hours) == (10, 1.0, 0.0)
    assert math.isnan(outcome.latency_at(0.99))


def outcome_of(*sizes: tuple[float, int]) -> Outcome:
    return Outcome(
        seconds=100.0,
        refused=1,
        latency_seconds=0.25,
        latencies=array("d", [0.2, 0.3, 0.25]),
        pod_seconds=7_200.0,
        sizes=sizes,
    )


def test_the_figures_of_an_outcome() -> None:
    outcome = outcome_of((0.0, 1), (10.0, 3), (20.0, 2), (90.0, 4), (95.0, 5))
    assert outcome.changes == 4
    assert outcome.flips == 1, "down at 20 after up at 10; up at 90 comes later than a minute"
    assert outcome.mean_size == pytest.approx((10 + 30 + 140 + 20 + 25) / 100)
    assert outcome.pod_hours == 2.0
    assert outcome.late_share == 0.5, "one refused, one slow; 0.25 is in time"
    assert outcome.latency_at(0.5) == 0.25
    assert outcome_of((0.0, 1)).flips == 0
