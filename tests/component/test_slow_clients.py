"""Check 14: clients that send or read slowly are ended in time, without affecting others."""

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace

import pytest

from engines.stub_engine import Command, command_png
from harness import client, processes
from harness.bars import bar_text
from harness.faults import is_right
from harness.hostile_requests import picture, request, sized
from harness.load import percentile
from harness.raw import Exchange, RawConnection, exchange
from harness.server import ServerProcess

_HEADERS, _BODIES, _READERS = 200, 200, 50
_POLITE = 100
_STEP_SECONDS = 0.1
_GET = request(line=b"GET /healthz HTTP/1.1")
_LONG_ANSWER = request(line=b"GET /openapi.json HTTP/1.1")
_LEEWAY_SECONDS = 1.0


@dataclass(slots=True)
class _Slow:
    """A slow client: `piece` is sent again and again; `gone` is when the server had ended it."""

    connection: RawConnection
    piece: bytes
    every_seconds: float
    next_at: float
    reads: bool
    since: float
    gone: float | None = None

    def step(self, now: float) -> None:
        """Send a piece if it is time, read if this client reads, and note the end."""
        if self.gone is not None:
            return
        try:
            if now >= self.next_at:
                self.next_at = now + self.every_seconds
                self.connection.socket.send(self.piece)
            if self.reads and self.connection.socket.recv(65_536) == b"":
                self.gone = now
        except BlockingIOError:
            pass
        except OSError:
            self.gone = now


@dataclass(slots=True)
class _Crowd:
    """All slow clients, fed by one thread."""

    headers: list[_Slow] = field(default_factory=list)
    bodies: list[_Slow] = field(default_factory=list)
    readers: list[_Slow] = field(default_factory=list)
    started: float = 0.0

    def seconds(self, kind: list[_Slow]) -> float:
        """How long the last of these lived; infinite while one lives."""
        return max((one.gone or float("inf")) - one.since for one in kind)

    def alive(self) -> int:
        return sum(one.gone is None for one in (*self.headers, *self.bodies, *self.readers))


@contextmanager
def _crowd(server: ServerProcess, *, header_seconds: float) -> Iterator[_Crowd]:
    crowd, over = _Crowd(), threading.Event()
    with ExitStack() as stack:

        def connect(first: bytes, piece: bytes, every: float, reads: bool = True) -> _Slow:
            small = 0 if reads else 4_096
            connection = stack.enter_context(RawConnection(server.address, receive_buffer=small))
            connection.send(first)
            connection.socket.setblocking(False)
            now = time.monotonic()
            return _Slow(connection, piece, every, now + every, reads, since=now)

        crowd.started = time.monotonic()
        body_head = request(b"Content-Length: 100000")
        crowd.headers = [connect(b"GET / HTTP/1.1\r\nX: ", b"a", header_seconds) for _ in range(_HEADERS)]
        crowd.bodies = [connect(body_head, b"x" * 10, 0.1) for _ in range(_BODIES)]
        crowd.readers = [connect(_LONG_ANSWER * 8, _LONG_ANSWER, 0.5, reads=False) for _ in range(_READERS)]

        def feed() -> None:
            while not over.wait(_STEP_SECONDS):
                for one in (*crowd.headers, *crowd.bodies, *crowd.readers):
                    one.step(time.monotonic())

        feeder = threading.Thread(target=feed)
        feeder.start()
        try:
            yield crowd
        finally:
            over.set()
            feeder.join()


def _polite(server: ServerProcess, name: str) -> list[float]:
    """The latencies of a client that sends one picture after the other."""
    latencies = []
    for number in range(_POLITE):
        comment = f"{name} {number}".encode()
        started = time.monotonic()
        reply = client.post(server.url + "/v1/detect", command_png(Command.OK, 5, comment))
        latencies.append(time.monotonic() - started)
        assert is_right(reply, Command.OK, 5, comment)
    return latencies


@pytest.mark.serial
@pytest.mark.acceptance(14)
@pytest.mark.hostile("H-12")
@pytest.mark.timeout(90)
def test_slow_clients_are_ended_without_affecting_others(start, record_figure, long_run):
    fast = 1 if long_run else 5
    header_seconds, other_seconds = 5 / fast, 10 / fast
    server = start(
        engine="stub",
        header_timeout_ms=int(header_seconds * 1_000),
        body_timeout_ms=int(other_seconds * 1_000),
        write_timeout_ms=int(other_seconds * 1_000),
    )
    calm = percentile(_polite(server, "calm"), 0.95)
    baseline = processes.descriptors(server.pid)
    with _crowd(server, header_seconds=header_seconds) as crowd:
        busy = percentile(_polite(server, "busy"), 0.95)
        bound = 3 * (other_seconds + _LEEWAY_SECONDS)
        server.wait_until(lambda: crowd.alive() == 0, "rid of the slow ones", bound)
        headers, bodies = crowd.seconds(crowd.headers), crowd.seconds(crowd.bodies)
        readers = crowd.seconds(crowd.readers)
        server.wait_until(lambda: processes.descriptors(server.pid) <= baseline, "at its baseline")
    rise_ms = 5 if long_run else 100
    bar = bar_text(
        f"<= +{rise_ms} ms", "<= +5 ms", "the slow clients are threads of the polite one's process"
    )
    record_figure("polite p95, rise", (busy - calm) * 1_000, bar=bar, unit="ms", sample=_POLITE)
    slow = (
        ("header", headers, header_seconds, 6, _HEADERS),
        ("body", bodies, other_seconds, 11, _BODIES),
        ("unread answer", readers, other_seconds, 11, _READERS),
    )
    for name, seconds, limit, listed, sample in slow:
        bar = bar_text(f"<= {limit + _LEEWAY_SECONDS:g} s", f"<= {listed} s", "a fifth of the default timers")
        record_figure(f"slow {name} gone", seconds, bar=bar, unit="s", sample=sample)
    assert busy <= calm + rise_ms / 1_000
    assert headers <= header_seconds + _LEEWAY_SECONDS
    assert bodies <= other_seconds + _LEEWAY_SECONDS
    assert readers <= other_seconds + _LEEWAY_SECONDS
    assert server.metrics("connections") == 0
    assert "Traceback" not in server.logs()


def _upload(
    server: ServerProcess, body: bytes, piece: int, every_seconds: float, *, first: int = 0
) -> Exchange:
    """Send `first` bytes of a body, then the rest in pieces; return the response and its time."""
    started = time.monotonic()
    with RawConnection(server.address, timeout_seconds=20) as connection:
        sent = first
        connection.send(request(b"Content-Length: %d" % len(body)) + body[:first])
        while sent < len(body) and not connection.peer_closed():
            answer = connection.read(every_seconds, limit_bytes=0)
            if answer.data or answer.closed:
                break
            connection.send(body[sent : sent + piece])
            sent += piece
        else:
            answer = connection.read(5, responses=1)
        return replace(answer, seconds=time.monotonic() - started)


@pytest.mark.acceptance(14)
@pytest.mark.hostile("H-12")
def test_only_bodies_that_make_progress_are_waited_for(start, long_run):
    """A line of 2 Mbit/s passes at any length; 100 B/s, and a pause behind a fast start, do not."""
    server = start(engine="stub")
    large = picture().ljust((5_000 if long_run else 2_800) * 1_000, b"\0")
    with ThreadPoolExecutor(4) as clients:
        steady = clients.submit(_upload, server, large, 25_000, 0.1)
        dribbled = clients.submit(_upload, server, large, 10, 0.1)
        paused = clients.submit(_upload, server, large, 1, 30.0, first=1_000_000)
        unread = clients.submit(_refused_upload, server)
    assert steady.result().statuses == [200]
    assert steady.result().seconds > 10.5  # longer than any pause may be
    for slow in (dribbled.result(), paused.result()):
        assert slow.statuses == [408]
        assert slow.seconds <= 11
        detail = json.loads(slow.responses[0].body)["detail"]
        assert detail == (
            "The body arrived too slowly: send 50000 bytes a second after the first 10 s, "
            "and the whole body within 60 s."
        )
    assert unread.result() == 404


def _refused_upload(server: ServerProcess) -> int:
    """The status that a client sees that first sends its whole body, over 2 s, and then reads."""
    with RawConnection(server.address, timeout_seconds=20) as connection:
        connection.send(request(b"Content-Length: 500000", line=b"POST /nowhere HTTP/1.1"))
        for _ in range(20):
            assert connection.send(bytes(25_000))
            time.sleep(0.1)  # the client's own rate
        return connection.read(5, responses=1).statuses[0]


@pytest.mark.acceptance(14)
@pytest.mark.control
@pytest.mark.hostile("H-12")
def test_without_the_timers_slow_clients_stay(start):
    hours = 10_000_000
    server = start(engine="stub", header_timeout_ms=hours, body_timeout_ms=hours, write_timeout_ms=hours)
    with _crowd(server, header_seconds=1.0) as crowd:
        end = crowd.started + 10 / 5 + _LEEWAY_SECONDS
        server.wait_until(lambda: time.monotonic() > end, "past every bound")
        assert crowd.alive() == _HEADERS + _BODIES + _READERS


@pytest.mark.serial
@pytest.mark.acceptance(14)
@pytest.mark.hostile("H-12")
def test_at_the_connection_limit_new_clients_are_refused_and_probes_answer(start, record_figure):
    server = start(engine="stub")
    baseline = processes.descriptors(server.pid)
    with ExitStack() as stack:
        for _ in range(512):
            idle = stack.enter_context(RawConnection(server.address))
            idle.send(_GET)
            assert idle.read(5, responses=1).statuses == [200]
        slowest = 0.0
        for _ in range(20):
            seen = exchange(server.address, _GET, deadline_seconds=3)
            assert seen.statuses == [503]
            assert seen.closed
            assert b'"queue_full"' in seen.data
            assert 1 <= int(seen.responses[0].headers["retry-after"]) <= 60
            for path in ("/livez", "/readyz"):
                started = time.monotonic()
                assert client.get(server.admin_url + path).status == 200
                slowest = max(slowest, time.monotonic() - started)
        idle.close()
        server.wait_until(lambda: server.metrics("connections") < 512, "one place free")
        assert exchange(server.address, _GET, responses=1).statuses == [200]
    record_figure("probe at 512 idle", slowest * 1_000, bar="<= 100 ms", unit="ms", sample=40)
    assert slowest <= 0.1
    server.wait_until(lambda: processes.descriptors(server.pid) <= baseline, "at its baseline")


@pytest.mark.acceptance(14)
@pytest.mark.hostile("H-12")
def test_an_idle_connection_ends_and_a_half_open_one_frees_its_place(start):
    server = start(engine="stub", idle_timeout_ms=500, header_timeout_ms=1_000)
    with RawConnection(server.address) as idle:
        idle.send(_GET)
        assert idle.read(3, responses=1).statuses == [200]
        assert idle.read(3).closed
    with RawConnection(server.address) as half_open:
        half_open.send(sized(command_png(Command.OK, 100, b"half"), b"X-Mine: a"))
        half_open.finish_sending()
        assert half_open.read(3).closed
    server.wait_until(lambda: server.metrics("connections") == 0, "rid of both")


@pytest.mark.hostile("H-11")
def test_a_body_cut_at_any_byte_frees_its_place(start):
    server = start(engine="stub", body_timeout_ms=1_000, header_timeout_ms=1_000)
    data = sized(picture())
    baseline = processes.descriptors(server.pid)
    for end in range(1, len(data)):
        with RawConnection(server.address) as connection:
            connection.send(data[:end])
            connection.reset() if end % 2 else connection.finish_sending()
            if end % 2 == 0:
                assert connection.read(3).statuses == []
    server.wait_until(lambda: server.metrics("connections") == 0, "rid of them")
    server.wait_until(lambda: processes.descriptors(server.pid) <= baseline, "at its baseline")
    assert exchange(server.address, sized(picture()), responses=1).statuses == [200]
    assert "Traceback" not in server.logs()


@pytest.mark.hostile("H-11")
def test_bodies_shorter_or_longer_than_declared_are_handled(start):
    server = start(engine="stub", body_timeout_ms=500, header_timeout_ms=500)
    body = picture()
    short = exchange(server.address, request(b"Content-Length: %d" % (len(body) + 1)) + body)
    assert short.statuses == [408]
    assert short.closed
    long = exchange(server.address, sized(body) + b"surplus\r\n\r\n")
    assert long.statuses in ([200, 400], [400])  # the surplus is the start of a bad request
    assert long.closed
