"""Check 8: after SIGTERM the server is unready, serves for the delay, finishes its work, and exits with 0."""

import http.client
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from harness import client
from harness.client import Reply
from harness.recorder import RecordFigure
from harness.server import ServerProcess
from harness.stub import DETECT, Slow, send, send_many, wait_waiting

WORKERS = 2
STAGGERED_MS = 600  # six of them keep two workers at work for 1.8 s, longer than the short delay
PROMPT = Slow(5, "prompt")
LEEWAY_SECONDS = 2.0  # of the bar: after the delay and the longest request
CLOSING = "close"

# What aiohttp does by itself on SIGTERM: the plain way that people start with.
_PLAIN_AIOHTTP = """
import asyncio, socket
from aiohttp import web
async def detect(request):
    await request.read()
    print("at work", flush=True)
    await asyncio.sleep(0.4)
    return web.Response(text="done")
app = web.Application()
app.router.add_post("/v1/detect", detect)
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
web.run_app(app, sock=listener, print=None)
"""


def kept(server: ServerProcess) -> http.client.HTTPConnection:
    """A connection that has had one answer and is open."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    reply = ask(connection, "GET", "/healthz")
    assert reply.status == 200
    assert reply.headers.get("Connection") != CLOSING
    return connection


def ask(connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None = None) -> Reply:
    """One exchange on a connection that stays open if the server lets it."""
    connection.request(method, path, body=body)
    answer = connection.getresponse()
    return Reply(answer.status, answer.headers, answer.read())


def readiness(server: ServerProcess) -> int:
    return client.get(server.admin_url + "/readyz", timeout_seconds=5).status


def post_all(server: ServerProcess, pool: ThreadPoolExecutor, slow: Slow, count: int) -> list[Future[Reply]]:
    """Post pictures 0 to `count`, each from a thread of its own."""
    return [
        pool.submit(client.post, server.url + DETECT, slow.picture(index), timeout_seconds=20)
        for index in range(count)
    ]


@pytest.mark.acceptance(8)
def test_sigterm_drains_and_exits_in_order(
    start: Callable[..., ServerProcess], record_figure: RecordFigure, long_run: bool
) -> None:
    delay = 15.0 if long_run else 0.8
    unready, ended = [], []
    for number in range(5):
        server = start(workers=WORKERS, engine="stub", drain_delay_ms=int(delay * 1000))
        with ThreadPoolExecutor(8) as pool:
            slow = Slow(STAGGERED_MS, f"staggered {number}")
            idle = kept(server)
            answers = post_all(server, pool, slow, 6)
            wait_waiting(server, queued=4, running=2)
            begin = time.monotonic()
            server.terminate()
            server.wait_until(lambda s=server: readiness(s) == 503, "unready", 5)
            unready.append(time.monotonic() - begin)

            on_idle = pool.submit(ask, idle, "POST", DETECT, PROMPT.picture(number))
            on_new = pool.submit(client.post, server.url + DETECT, PROMPT.picture(100 + number))
            server.terminate()  # changes nothing
            for index, reply in ((number, on_idle.result(20)), (100 + number, on_new.result(20))):
                assert reply.status == 200, reply.body
                assert reply.headers["Connection"] == CLOSING
                assert PROMPT.is_answer(index, reply.body)
            replies = [answer.result(20) for answer in answers]
        assert [reply.status for reply in replies] == [200] * 6
        assert all(slow.is_answer(index, reply.body) for index, reply in enumerate(replies))
        assert server.wait(30) == 0, server.logs()[-2_000:]
        ended.append(time.monotonic() - begin)
    record_figure("unready after SIGTERM", max(unready), bar="<= 0.5", unit="s", sample=5)
    record_figure("ended after the delay", max(ended) - delay, bar="<= longest + 2", unit="s", sample=5)
    assert max(unready) <= 0.5
    assert min(ended) >= delay
    # the longest request here waited for two others in its worker
    assert max(ended) <= delay + 3 * STAGGERED_MS / 1000 + LEEWAY_SECONDS


@pytest.mark.acceptance(8)
def test_after_the_delay_open_connections_are_refused_and_work_is_finished(
    start: Callable[..., ServerProcess],
) -> None:
    """The last steps: the port is closed, an open connection gets 503 draining, exit 0."""
    server = start(workers=1, engine="stub", drain_delay_ms=200)
    with ExitStack() as stack:
        idle = kept(server)
        (long,) = send_many(server, stack, [Slow(2_500).picture(0)])
        wait_waiting(server, queued=0, running=1)
        server.terminate()

        def is_closed() -> bool:
            try:
                socket.create_connection(server.address, timeout=1).close()
            except ConnectionRefusedError:
                return True
            return False

        server.wait_until(is_closed, "closed to new connections", 3)
        server.terminate()
        reply = ask(idle, "POST", DETECT, PROMPT.picture(0))
        assert (reply.status, reply.reason) == (503, "draining")
        assert reply.headers["Connection"] == CLOSING
        assert reply.retry_after is not None
        assert 1 <= reply.retry_after <= 60
        answer = long.read(10, responses=1)
    assert answer.statuses == [200]
    assert server.wait(10) == 0


@pytest.mark.smoke
@pytest.mark.acceptance(8)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_pod_ends_after_the_delay(
    start: Callable[..., ServerProcess], record_figure: RecordFigure, number: signal.Signals
) -> None:
    """SIGINT is a person at a terminal: without the delay."""
    delay = 0.6 if number is signal.SIGTERM else 0.0
    server = start(workers=WORKERS, engine="stub", drain_delay_ms=600)
    idle = kept(server)  # an open connection that says nothing must not hold the end up
    begin = time.monotonic()
    server.signal(number)
    assert server.wait(20) == 0
    took = time.monotonic() - begin
    idle.close()
    record_figure(f"idle pod ended after {number.name} and delay", took - delay, bar="<= 2", unit="s")
    assert delay <= took <= delay + LEEWAY_SECONDS


@pytest.mark.acceptance(8)
def test_sigterm_while_the_workers_start_ends_with_0(start: Callable[..., ServerProcess]) -> None:
    server = start(workers=WORKERS, engine="stub", drain_delay_ms=0, ready=False)
    server.terminate()
    begin = time.monotonic()
    assert server.wait(20) == 0, server.logs()[-2_000:]
    assert time.monotonic() - begin <= 5 + LEEWAY_SECONDS


@pytest.mark.acceptance(8)
def test_a_body_on_its_way_at_the_end_of_the_delay_is_still_answered(
    start: Callable[..., ServerProcess],
) -> None:
    """Its head was here in time, so it was taken."""
    server = start(workers=1, engine="stub", drain_delay_ms=300)
    picture = PROMPT.picture(0)
    with send(server, PROMPT.picture(1)) as first:  # the server has seen a whole request before the signal
        assert first.read(5, responses=1).statuses == [200]
        head = f"POST {DETECT} HTTP/1.1\r\nHost: test\r\nContent-Length: {len(picture)}\r\n\r\n".encode()
        first.send(head + picture[:10])
        server.terminate()
        server.wait_until(lambda: readiness(server) == 503, "unready", 5)
        first.send(picture[10:-10])
        server.wait_until(lambda: "Draining" in server.logs(), "draining", 5)
        first.send(picture[-10:])
        seen = first.read(10, responses=1)
    assert seen.statuses == [200]
    assert seen.responses[0].headers["connection"] == CLOSING
    assert server.wait(10) == 0


@pytest.mark.acceptance(8)
def test_signals_up_to_the_very_end_change_nothing(start: Callable[..., ServerProcess]) -> None:
    """Also while Python itself shuts down, when its signal handlers are gone."""
    server = start(workers=1, engine="stub", drain_delay_ms=100)
    end, sent = time.monotonic() + 20, 0
    while server.process.poll() is None:
        server.terminate()
        sent += 1
        assert time.monotonic() < end
        time.sleep(0.0005)
    assert server.process.returncode == 0
    assert sent >= 20


@pytest.mark.acceptance(8)
@pytest.mark.control
def test_aiohttps_own_handling_refuses_new_connections() -> None:
    """Without a drain delay, requests that an outdated endpoint list still sends here are refused."""
    with subprocess.Popen(
        [sys.executable, "-c", _PLAIN_AIOHTTP], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            url = f"http://127.0.0.1:{port}{DETECT}"
            with ThreadPoolExecutor(1) as pool:
                answer = pool.submit(client.post, url, b"picture")
                assert process.stdout.readline() == "at work\n"
                process.terminate()
                lost = _first_failure(url, end=time.monotonic() + 3)
                assert answer.result(10).status == 200
        finally:
            process.kill()
    assert lost is not None, "a plain server lost nothing: the check beside this proves nothing"


def _first_failure(url: str, end: float) -> Exception | None:
    while time.monotonic() < end:
        try:
            client.post(url, b"picture", timeout_seconds=2)
        except (OSError, http.client.HTTPException) as error:
            return error
    return None


def test_the_answers_of_a_drain_are_logged_once(start: Callable[..., ServerProcess]) -> None:
    server = start(workers=1, engine="stub", drain_delay_ms=0, log_format="json")
    server.terminate()
    assert server.wait(10) == 0
    messages = [json.loads(line)["message"] for line in server.logs().splitlines()]
    assert messages.count("Draining") == 1
    assert messages[-1] == "Stopped"
