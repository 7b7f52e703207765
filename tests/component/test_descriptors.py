"""Limits on descriptors: the server starts with those of a login shell, and never runs out of them."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from harness import client, processes
from harness.limits import descriptor_limits, limited
from harness.raw import RawConnection, post
from harness.recorder import RecordFigure
from harness.server import ROOT, ServerProcess, environment
from harness.stub import DETECT, Slow

SERVE = (sys.executable, "-m", "posecluster_inference", "serve")
Start = Callable[..., ServerProcess]
LOWERED = "WARNING Lowered the connection limit to fit the limit on open files"
OUT_OF = ("Too many open files", "out of system resource")


def test_a_login_shells_soft_limit_is_raised(start: Start) -> None:
    server = start(engine="stub", command=limited(SERVE, soft=512))
    _, hard = descriptor_limits(os.getpid())
    assert descriptor_limits(server.pid) == (hard, hard)
    [worker] = server.worker_pids()
    assert descriptor_limits(worker) == ("1024", hard), "select() in a library must go on working"
    assert "WARNING" not in server.logs()
    assert server.metrics("connections_limit") == 512


@pytest.mark.parametrize(("limit", "connections"), [(1_024, 512), (294, 100)])
def test_a_small_hard_limit_lowers_the_cap_with_one_warning(
    start: Start, limit: int, connections: int
) -> None:
    server = start(engine="stub", workers=2, command=limited(SERVE, soft=limit, hard=limit))
    assert server.metrics("connections_limit") == connections
    assert server.logs().count("WARNING") == (connections < 512)
    assert (f"{LOWERED} max_connections={connections} wanted=512" in server.logs()) == (connections < 512)
    assert client.post(server.url + DETECT, Slow(0).picture(0)).status == 200


def test_a_limit_too_small_to_serve_ends_the_start_in_one_line() -> None:
    ended = subprocess.run(
        limited(SERVE, soft=64, hard=64),
        env=environment({"engine": "stub"}),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert ended.returncode == 1
    [line] = ended.stderr.splitlines()
    assert line.startswith(
        "posecluster-inference: POSECLUSTER_MAX_CONNECTIONS=512: the limit on open files is 64"
    )
    assert "at least 224" in line, "with one worker"
    assert "ulimit -Hn" in line


@pytest.mark.parametrize("limit", [1_024, 294])
def test_a_flood_of_connections_leaves_descriptors_for_all_else(
    start: Start, record_figure: RecordFigure, limit: int
) -> None:
    """Probes are answered, pictures computed and a killed worker is replaced, on both ports' reserve."""
    server = start(
        engine="stub",
        workers=2,
        header_timeout_ms=60_000,
        idle_timeout_ms=60_000,
        command=limited(SERVE, soft=limit, hard=limit),
    )
    most, cap = [0], round(server.metrics("connections_limit"))
    over = threading.Event()

    def count() -> None:
        while not over.wait(0.001):
            most[0] = max(most[0], processes.descriptors(server.pid))

    counting = threading.Thread(target=count)
    counting.start()
    try:
        with ExitStack() as stack:
            crowd = [stack.enter_context(RawConnection(server.address)) for _ in range(cap)]
            server.wait_until(lambda: server.metrics("connections") == cap, "full")
            # beyond the cap, all at the same time: each gets a refusal or is closed
            for _ in range(limit):
                stack.enter_context(RawConnection(server.address))
            before = server.worker_pids()
            os.kill(before[0], signal.SIGKILL)
            server.wait_until(lambda: len(set(server.worker_pids()) - set(before)) == 1, "a new worker")
            server.wait_until(lambda: server.metrics("workers", state="ready") == 2, "both ready")
            assert server.is_ready()
            assert crowd[0].send(post(DETECT, Slow(0).picture(1)))
            assert crowd[0].read(10, responses=1).statuses == [200]
    finally:
        over.set()
        counting.join()
    record_figure(f"most descriptors, limit {limit}", most[0], bar=f"<= {limit}", sample=cap + limit)
    assert cap < most[0] <= limit
    server.wait_until(lambda: server.metrics("connections") == 0, "empty")
    assert not any(text in server.logs() for text in OUT_OF)
