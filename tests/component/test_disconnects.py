"""Check 25: a client that disconnects, at any moment, frees its place and leaves nothing behind."""

import re
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness import client, processes
from harness.raw import RawConnection
from harness.recorder import RecordFigure
from harness.server import ServerProcess
from harness.stub import DETECT, Slow, inferences, send_many, wait_waiting

WORKERS = 2
CLIENTS = 50
LEAVER_MS = 3  # names the leavers' pictures in the stub's log

# The server, and a line with the number of its tasks at each SIGUSR1.
_COUNTED = """
import asyncio, os, signal, sys
from posecluster_inference.__main__ import main
def count(*_):
    os.write(2, b"TASKS %d\\n" % len(asyncio.all_tasks(asyncio.get_running_loop())))
signal.signal(signal.SIGUSR1, count)
sys.exit(main(["serve"]))
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "stub.log"


@pytest.fixture
def server(start: Callable[..., ServerProcess], log: Path) -> ServerProcess:
    return start(
        workers=WORKERS,
        engine="stub",
        queue_length=2 * CLIENTS,
        deadline_ms=60_000,
        env={"STUB_LOG": str(log)},
        command=(sys.executable, "-c", _COUNTED),
    )


def tasks(server: ServerProcess) -> int:
    """How many asyncio tasks there are now."""
    before = len(_counts(server))
    server.signal(signal.SIGUSR1)
    server.wait_until(lambda: len(_counts(server)) > before, "counted", 5)
    return _counts(server)[-1]


def _counts(server: ServerProcess) -> list[int]:
    return [int(number) for number in re.findall(r"^TASKS (\d+)$", server.logs(), re.MULTILINE)]


def in_use(server: ServerProcess) -> tuple[int, int]:
    """Tasks and descriptors once no client is connected and no worker works.

    The least of a few looks: our own questions to the admin port are tasks and descriptors too.
    """
    wait_waiting(server, queued=0, running=0)
    server.wait_until(lambda: server.metrics("connections") == 0, "without connections", 5)
    return min(tasks(server) for _ in range(8)), min(processes.descriptors(server.pid) for _ in range(8))


def leave(connections: list[RawConnection]) -> None:
    """Half of them politely, half with a reset."""
    for index, connection in enumerate(connections):
        connection.close() if index % 2 else connection.reset()


@pytest.mark.serial
@pytest.mark.acceptance(25)
def test_queued_clients_that_vanish_free_their_places(
    server: ServerProcess, log: Path, record_figure: RecordFigure, long_run: bool
) -> None:
    assert client.post(server.url + DETECT, Slow(1).picture(0)).status == 200
    baseline = in_use(server)
    freed, rounds = [], 20 if long_run else 4
    leavers = Slow(LEAVER_MS, "leaver")
    for number in range(rounds):
        with ExitStack() as stack:
            busy = Slow(900, f"busy {number}")
            stayers = send_many(server, stack, [busy.picture(index) for index in range(WORKERS)])
            wait_waiting(server, queued=0, running=WORKERS)
            pictures = [leavers.picture(number * CLIENTS + index) for index in range(CLIENTS)]
            connections = send_many(server, stack, pictures)
            wait_waiting(server, queued=CLIENTS, running=WORKERS)
            begin = time.monotonic()
            leave(connections)
            server.wait_until(lambda: server.metrics("queue_depth") == 0, "free again", 10)
            freed.append(time.monotonic() - begin)
            assert [stayer.read(5, responses=1).statuses for stayer in stayers] == [[200]] * WORKERS
    after = in_use(server)
    computed = inferences(log)["OK", LEAVER_MS]
    record_figure("queue 0 after", max(freed), bar="<= 1", unit="s", sample=rounds * CLIENTS)
    record_figure("inferences for the vanished", computed, bar="<= 1 a worker", sample=rounds * CLIENTS)
    record_figure("tasks and descriptors, before -> after", f"{baseline} -> {after}", bar="equal")
    assert max(freed) <= 1
    assert computed <= WORKERS
    assert after[0] <= baseline[0]
    assert after[1] <= baseline[1]


@pytest.mark.acceptance(25)
@pytest.mark.control
def test_queued_clients_that_stay_are_computed(server: ServerProcess, log: Path) -> None:
    """The same queue without anybody leaving: what the count above would see."""
    with ExitStack() as stack:
        send_many(server, stack, [Slow(900, "busy").picture(index) for index in range(WORKERS)])
        wait_waiting(server, queued=0, running=WORKERS)
        leavers = Slow(LEAVER_MS, "stayer")
        connections = send_many(server, stack, [leavers.picture(index) for index in range(CLIENTS)])
        wait_waiting(server, queued=CLIENTS, running=WORKERS)
        statuses = [connection.read(10, responses=1).statuses for connection in connections]
    assert statuses == [[200]] * CLIENTS
    assert inferences(log)["OK", LEAVER_MS] == CLIENTS


@pytest.mark.acceptance(25)
def test_clients_that_vanish_within_their_body_or_during_compute_leave_nothing(
    server: ServerProcess,
) -> None:
    assert client.post(server.url + DETECT, Slow(1).picture(0)).status == 200
    baseline = in_use(server)
    for number in range(3):
        with ExitStack() as stack:
            slow = Slow(80, f"compute {number}")
            connections = send_many(server, stack, [slow.picture(index) for index in range(WORKERS)])
            head = f"POST {DETECT} HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n".encode()
            for cut in range(0, len(head) + 60, 7):
                connection = stack.enter_context(RawConnection(server.address))
                connection.send((head + b"\x89PNG" * 100)[: cut + 1])
                connections.append(connection)
            opened = len(connections)
            server.wait_until(lambda n=opened: server.metrics("connections") == n, "all connected", 5)
            leave(connections)
            server.wait_until(lambda: server.metrics("connections") == 0, "all gone", 5)
    after = in_use(server)
    assert after[0] <= baseline[0]
    assert after[1] <= baseline[1]
    assert client.post(server.url + DETECT, Slow(1).picture(1)).status == 200


@pytest.mark.acceptance(25)
def test_places_freed_by_leavers_are_taken_by_others(start: Callable[..., ServerProcess]) -> None:
    """A full queue is not full any more once they have left."""
    server = start(engine="stub", queue_length=3, deadline_ms=60_000)
    with ExitStack() as stack:
        slow = Slow(1_500)
        send_many(server, stack, [slow.picture(0)])
        wait_waiting(server, queued=0, running=1)
        leavers = send_many(server, stack, [slow.picture(1 + index) for index in range(3)])
        wait_waiting(server, queued=3, running=1)
        assert client.post(server.url + DETECT, Slow(1).picture(0)).reason == "queue_full"
        leave(leavers)
        wait_waiting(server, queued=0, running=1)
        assert client.post(server.url + DETECT, Slow(1).picture(1)).status == 200
