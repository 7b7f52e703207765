"""A busy pod closes kept connections, so that their clients reach pods that were added.

Pods are real servers behind a balancer that, like a Service, chooses a pod for each connection.
"""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection

import pytest

from harness import client
from harness.balancer import Answer, Balancer
from harness.caller import Caller
from harness.pods import Pods
from harness.probers import Traffic, probing
from harness.raw import RawConnection
from harness.recorder import RecordFigure
from harness.server import ServerProcess
from harness.stub import DETECT, Slow

PODS, WORKERS, SERVICE_MS = 4, 2, 80
PROBERS = 20
SHARE = 0.7  # of the capacity of all pods, so 2.8 times what the first pod can do
FULL_SECONDS = 3.0  # with one pod, before the others are added
REACHED_SECONDS = 10.0
MEASURE_SECONDS = 5.0  # afterwards
LEAST_SHARE = 0.05  # of the arrivals, for each pod
REFUSED_MORE = 0.03  # than with one connection per request
LEAST = 200
OLD_SECONDS = 0.01  # a connection is old after 1 ms in some tests

Start = Callable[..., ServerProcess]


@dataclass(frozen=True, slots=True)
class ScaleUp:
    """What was answered when three pods had been added to a full one; times are monotonic."""

    fleet: list[ServerProcess]
    added: float
    settled: float
    answers: list[Answer]
    traffic: Traffic

    def first_answer_seconds(self, pod: ServerProcess) -> float:
        """Time until the pod got its first request; infinite if it got none."""
        starts = [one.started for one in self.answers if one.pid == pod.pid]
        return min(starts, default=float("inf")) - self.added

    def settled_share(self, pod: ServerProcess) -> float:
        """Share of the pod in all requests after the time to settle."""
        counts = Counter(one.pid for one in self.answers if one.started >= self.settled)
        return counts[pod.pid] / counts.total()

    def refused_share(self, begin: float, end: float = float("inf")) -> float:
        meanwhile = [one for one in self.answers if begin <= one.started < end]
        assert meanwhile, "no requests"
        return sum(one.status == 503 for one in meanwhile) / len(meanwhile)

    @property
    def closed(self) -> int:
        return int(sum(pod.metrics("connections_closed_total", reason="busy") for pod in self.fleet))


def scale_up(
    start: Start,
    rng: random.Random,
    *,
    kept: bool,
    settle_seconds: float = REACHED_SECONDS,
    **settings: object,
) -> ScaleUp:
    """One pod gets more than it can do; then three more pods, which are ready, are added."""
    with Balancer(random.Random(rng.random())) as balancer:
        pods = Pods(balancer, lambda: start(engine="stub", workers=WORKERS, queue_length=8, **settings))
        fleet = pods.launch(1)
        others = [pods.start() for _ in range(PODS - 1)]
        every = PROBERS * SERVICE_MS / 1000 / (SHARE * PODS * WORKERS)
        new, old = (0, PROBERS) if kept else (PROBERS, 0)
        with probing(
            balancer.address,
            lambda number: Slow(SERVICE_MS, f"prober {number}"),
            new=new,
            kept=old,
            every_seconds=every,
        ) as traffic:
            time.sleep(FULL_SECONDS)
            added = time.monotonic()
            for pod in others:
                balancer.add(pod)
            time.sleep(settle_seconds + MEASURE_SECONDS)
        seen = ScaleUp([*fleet, *others], added, added + settle_seconds, balancer.answers, traffic)
    assert [one for one in traffic.asked if one.error] == []
    assert {one.status for one in seen.answers} <= {200, 503}
    assert seen.refused_share(added - FULL_SECONDS, added) > 0.3, "the first pod was not full"
    return seen


@pytest.mark.timeout(120)
def test_callers_of_a_busy_pod_reach_added_pods(
    start: Start, rng: random.Random, record_figure: RecordFigure
) -> None:
    seen = scale_up(start, rng, kept=True)
    control = scale_up(start, rng, kept=False, settle_seconds=0)
    reached = max(seen.first_answer_seconds(pod) for pod in seen.fleet[1:])
    least = min(seen.settled_share(pod) for pod in seen.fleet)
    refused, usual = seen.refused_share(seen.settled), control.refused_share(control.settled)
    sample = sum(one.started >= seen.settled for one in seen.answers)
    record_figure(
        "added pods reached on kept connections", reached, bar=f"<= {REACHED_SECONDS:.0f} s", unit="s"
    )
    record_figure("smallest share of a pod", least, bar=f">= {LEAST_SHARE}", sample=sample)
    bar = f"<= {REFUSED_MORE} more than on new connections ({usual:.3f})"
    record_figure("refused share after that", refused, bar=bar, sample=sample)
    record_figure("connections closed", seen.closed, bar="> 0", sample=f"{PROBERS} connections")
    assert reached <= REACHED_SECONDS
    assert least >= LEAST_SHARE
    assert refused <= usual + REFUSED_MORE
    assert sample >= LEAST
    assert seen.closed > 0


@pytest.mark.control
@pytest.mark.timeout(60)
def test_without_the_setting_added_pods_get_nothing(start: Start, rng: random.Random) -> None:
    seen = scale_up(start, rng, kept=True, settle_seconds=1.0, busy_connection_age_ms=0)
    assert {one.pid for one in seen.answers} == {seen.fleet[0].pid}
    assert seen.refused_share(seen.settled) > 0.3
    assert seen.closed == 0


def test_connections_to_a_pod_that_is_not_busy_stay_open(start: Start) -> None:
    server = start(engine="stub", workers=WORKERS, busy_connection_age_ms=200)
    half = 6 * 0.02 / (0.5 * WORKERS)  # of 6 probers, for half of the capacity
    with probing(
        server.address, lambda number: Slow(20, f"prober {number}"), new=0, kept=6, every_seconds=half
    ) as traffic:
        server.wait_until(lambda: len(traffic.asked) >= LEAST, f"asked {LEAST} times", 30)
    assert traffic.failures == []
    assert not any(one.last for one in traffic.asked)
    assert server.metrics("connections_closed_total") == 0


# --- how a busy server closes a connection ---


@contextmanager
def busy(server: ServerProcess) -> Iterator[Traffic]:
    """Keep all workers busy, on new connections, until the server counts as busy."""
    with (
        probing(
            server.address, lambda number: Slow(50, f"load {number}"), new=WORKERS + 2, kept=0
        ) as traffic,
        Caller(server) as caller,
    ):
        server.wait_until(
            lambda: caller.ask("GET", "/v1/model").headers.get("Connection") == "close", "busy", 20
        )
        yield traffic


def test_every_kind_of_response_announces_the_close(start: Start) -> None:
    server = start(engine="stub", workers=WORKERS, busy_connection_age_ms=1)
    picture = Slow(0, "cached").picture(0)
    assert client.post(server.url + DETECT, picture).status == 200
    with busy(server) as traffic:
        before = server.metrics("connections_closed_total", reason="busy")
        for method, path, body, status in (
            ("GET", "/v1/model", None, 200),
            ("HEAD", "/v1/model", None, 200),
            ("OPTIONS", DETECT, None, 204),
            ("GET", "/nothing", None, 404),
            ("POST", "/nothing", picture, 404),  # its body is not read by the handler
            ("POST", DETECT, picture, 200),  # from the cache
            ("POST", f"{DETECT}?draw=png", Slow(0, "drawn").picture(0), 200),
        ):
            with closing(HTTPConnection(*server.address, timeout=10)) as connection:
                connection.connect()
                time.sleep(OLD_SECONDS)
                connection.request(method, path, body)
                answer = connection.getresponse()
                answer.read()  # complete, or it raises
                assert answer.status == status, (method, path)
                assert answer.headers["Connection"] == "close", (method, path)
        assert server.metrics("connections_closed_total", reason="busy") >= before + 7
    assert traffic.failures == []


def test_http_1_0_and_pipelined_requests_are_answered_completely(start: Start) -> None:
    server = start(engine="stub", workers=WORKERS, busy_connection_age_ms=1)
    with busy(server):
        with RawConnection(server.address) as connection:
            time.sleep(OLD_SECONDS)
            connection.send(b"GET /v1/model HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
            old = connection.read(5)
        assert old.statuses == [200]
        assert old.responses[0].headers.get("connection") in (None, "close")
        assert old.closed
        with RawConnection(server.address) as connection:
            time.sleep(OLD_SECONDS)
            connection.send(b"GET /v1/model HTTP/1.1\r\nHost: a\r\n\r\n" * 5)
            seen = connection.read(5)
    assert seen.statuses == [200] * 5
    assert [one.headers.get("connection") for one in seen.responses] == [None] * 4 + ["close"]
    assert seen.closed


def test_the_admin_port_keeps_its_connections(start: Start) -> None:
    server = start(engine="stub", workers=WORKERS, busy_connection_age_ms=1)
    with busy(server), RawConnection((server.host, server.admin_port)) as connection:
        for path in (b"/metrics", b"/readyz", b"/healthz"):
            connection.send(b"GET " + path + b" HTTP/1.1\r\nHost: a\r\n\r\n")
            seen = connection.read(0.5)
            assert seen.statuses == [200]
            assert "connection" not in seen.responses[0].headers
            assert not seen.closed
