"""The port for probes and metrics: slow and many clients end in time and do not keep probes from answers."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from harness import processes
from harness.admin_crowd import crowd, get
from harness.raw import RawConnection, exchange
from harness.recorder import RecordFigure
from harness.server import ServerProcess
from posecluster_common import admin_port
from posecluster_common.admin_port import MAX_CONNECTIONS, AdminPort

pytestmark = pytest.mark.component

_MEBIBYTE = b"a" * (1 << 20)
_FIRST, _NEXT, _UNREAD = 0.5, 1.0, 0.7  # seconds, in place of the constants of the product
_LEEWAY_SECONDS = 1.0
Serve = Callable[[float], tuple[str, int]]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Serve `/small` and `/large` on an AdminPort, with its times multiplied by `factor`."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    ports: list[AdminPort] = []

    async def small(_request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def large(_request: web.Request) -> web.Response:
        return web.Response(body=_MEBIBYTE)

    async def open_port() -> tuple[str, int]:
        app = web.Application()
        app.router.add_get("/small", small)
        app.router.add_get("/large", large)
        ports.append(AdminPort(app, close_seconds=0.1))
        (address,) = await ports[-1].start("127.0.0.1", 0, port_setting="PORT")
        return address

    def start(factor: float) -> tuple[str, int]:
        for name, seconds in (("FIRST_REQUEST", _FIRST), ("NEXT_REQUEST", _NEXT), ("UNREAD", _UNREAD)):
            monkeypatch.setattr(admin_port, f"_{name}_SECONDS", seconds * factor)
        return asyncio.run_coroutine_threadsafe(open_port(), loop).result(5)

    yield start
    for port in ports:
        asyncio.run_coroutine_threadsafe(port.stop(), loop).result(5)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(5)
    loop.close()


def test_slow_heads_and_idle_connections_end(serve: Serve) -> None:
    with crowd(serve(1), "/small", size=10) as slow:
        assert slow.alive() == 30
        assert slow.seconds_until_gone(10) < _NEXT + _LEEWAY_SECONDS


def test_a_head_that_arrives_byte_by_byte_is_not_waited_for(serve: Serve) -> None:
    address = serve(1)
    head = get("/small", f"X-Slow: {'a' * 1_000}")
    with RawConnection(address) as connection:
        sent = connection.dribble(head, every_seconds=0.02, deadline_seconds=10)
        assert 0 < sent < len(head) // 2
    with RawConnection(address) as connection:  # also behind a request that was answered
        connection.send(get("/small"))
        assert connection.read(5, responses=1).statuses == [200]
        assert 0 < connection.dribble(head, every_seconds=0.02, deadline_seconds=10) < len(head) // 2


def test_a_client_that_does_not_read_is_ended(serve: Serve) -> None:
    with RawConnection(serve(1), receive_buffer=4_096) as connection:
        connection.send(get("/large") * 8)
        connection.socket.settimeout(0)
        threading.Event().wait(_UNREAD + _LEEWAY_SECONDS)  # the client's own pause
        seen = connection.read(5)
        assert seen.closed
        assert len(seen.data) < 8 * len(_MEBIBYTE)


@pytest.mark.control
def test_without_the_limits_in_time_slow_clients_stay(serve: Serve) -> None:
    address = serve(1_000)
    with crowd(address, "/small", size=10) as slow:
        assert slow.seconds_until_gone(2 * (_NEXT + _LEEWAY_SECONDS)) == 2 * (_NEXT + _LEEWAY_SECONDS)
        assert slow.alive() == 30
    with RawConnection(address, receive_buffer=4_096) as connection:
        connection.send(get("/large") * 8)
        threading.Event().wait(_UNREAD + _LEEWAY_SECONDS)  # the client's own pause
        assert not connection.read(1).closed


def test_above_the_cap_the_connection_that_waited_longest_makes_room(serve: Serve) -> None:
    address = serve(1_000)
    with crowd(address, "/small", size=MAX_CONNECTIONS) as slow:
        assert slow.alive() == MAX_CONNECTIONS
        assert [one.peer_closed() for one in slow.connections[-MAX_CONNECTIONS:]] == [False] * MAX_CONNECTIONS
        slow.slowest_probe("/small")
        assert slow.alive() == MAX_CONNECTIONS - 1  # the first probe took a place, and the others that place


@pytest.mark.control
def test_below_the_cap_no_connection_is_closed(serve: Serve) -> None:
    with crowd(serve(1_000), "/small", size=MAX_CONNECTIONS // 3 - 1) as slow:
        slow.slowest_probe("/small")
        assert slow.alive() == len(slow.connections)


@pytest.mark.parametrize(("behind", "answers"), [(8, 9), (5_000, 1)])
def test_pipelined_requests_are_bounded(serve: Serve, behind: int, answers: int) -> None:
    requests = get("/small") * behind + get("/small", "Connection: close")
    seen = exchange(serve(1_000), requests)
    assert seen.statuses == [200] * answers
    assert seen.closed


def test_a_body_is_not_awaited_and_a_large_or_broken_head_is_refused(serve: Serve) -> None:
    address = serve(1_000)
    endless = b"POST /small HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000000\r\n\r\n"
    seen = exchange(address, endless + bytes(100))
    assert (seen.statuses, seen.closed) == ([405], True)
    for head in (
        get("/small", *(f"X-{index}: a" for index in range(100))),
        get("/small", f"X-Long: {'a' * 10_000}"),
        b"BROKEN\r\n\r\n",
    ):
        seen = exchange(address, head)
        assert (seen.statuses, seen.closed) == ([400], True)
    assert exchange(address, get("/small"), responses=1).statuses == [200]


def test_probes_of_the_server_are_answered_beside_slow_clients(
    start: Callable[..., ServerProcess], record_figure: RecordFigure
) -> None:
    server = start(engine="stub")
    parts = urlsplit(server.admin_url)
    assert parts.hostname is not None
    assert parts.port is not None
    before = processes.descriptors(server.pid)
    with crowd((parts.hostname, parts.port), "/livez", size=100) as slow:
        slowest = max(slow.slowest_probe(path) for path in ("/livez", "/readyz", "/metrics"))
        assert processes.descriptors(server.pid) <= before + MAX_CONNECTIONS
        gone = slow.seconds_until_gone(30)
    record_figure(
        "admin probe beside 300 slow clients", slowest * 1_000, bar="<= 500 ms", unit="ms", sample=60
    )
    record_figure("slow admin clients gone", gone, bar="<= 16 s", unit="s", sample=300)
    assert slowest <= 0.5
    assert gone <= 16
    assert "Traceback" not in server.logs()
