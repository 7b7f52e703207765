"""Workers that die, stop or send malformed data at the worst moment of a start, renewal, drain or answer."""

import asyncio
import os
import resource
import signal
import time
from contextlib import suppress

import cv2
import numpy as np
import pytest

from engines.stub_engine import Command, command_png
from harness import client, processes
from harness.faults import busy, is_right, live_pids, posting, probing, waiting, work
from harness.server import ROOT, run_to_end
from posecluster_inference.server.workers.process import Ended, Limits, WorkerProcess
from posecluster_inference.worker.messages import WorkerConfig

FIRST_FRAME = 70  # the argument from which fault_engines.WrongFrames counts


def _good(server, argument=1):
    return is_right(
        client.post(server.url + "/v1/detect", command_png(Command.OK, argument)), Command.OK, argument
    )


def _starting(server):
    return [one["pid"] for one in server.health()["workers"] if one["state"] == "starting" and one["pid"]]


def test_workers_killed_before_they_were_ready_are_replaced(start):
    server = start(workers=2, engine="stub", ready=False)
    server.wait_until(lambda: len(_starting(server)) == 2, "both spawned")
    for pid in _starting(server):
        os.kill(pid, signal.SIGKILL)
    server.wait_ready(10)
    assert _good(server)


def test_all_workers_killed_during_requests_are_replaced(start):
    server = start(workers=4, engine="stub")
    with posting(server) as poster:
        jobs = [(1_500 + index, b"") for index in range(4)]
        replies = [poster.post(command_png(Command.OK, *job)) for job in jobs]
        # requests posted together arrive in any order: a short one must not get a worker before a long one
        server.wait_until(lambda: busy(server) == 4, "all at work")
        more = [(5, b"%d" % index) for index in range(8)]
        replies += [poster.post(command_png(Command.OK, *job)) for job in more]
        jobs += more
        server.wait_until(lambda: waiting(server) == 8, "eight queued")
        killed = live_pids(server)
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        server.wait_until(lambda: not server.is_ready(), "unready without a worker")
        assert client.get(server.admin_url + "/livez").status == 200
        refused = client.post(server.url + "/v1/detect", command_png(Command.OK, 1, b"too early"))
        assert (refused.status, refused.reason) == (503, "starting")
        assert refused.retry_after
        assert all(
            is_right(reply.result(), Command.OK, *job) for job, reply in zip(jobs, replies, strict=True)
        )
    server.wait_until(lambda: len(live_pids(server)) == 4, "all replaced")
    assert not set(live_pids(server)) & set(killed)
    assert server.metrics("worker_restarts_total", cause="crash") == 4


def test_a_worker_killed_while_its_successor_warms_up(start):
    server = start(workers=1, engine="stub", recycle_requests=5, recycle_growth_percent=0)
    old = live_pids(server)[0]
    for argument in range(1, 30):
        assert _good(server, argument)
        if _starting(server):
            break
    successor = _starting(server)
    assert len(successor) == 1
    os.kill(old, signal.SIGKILL)
    server.wait_until(lambda: live_pids(server) == successor, "the successor has its place")
    assert _good(server, 40)
    assert server.metrics("worker_restarts_total", cause="crash") == 1
    assert len(processes.children(server.pid)) == 1


def test_a_successor_that_dies_leaves_the_old_worker_in_use(start):
    server = start(workers=1, engine="stub", recycle_requests=5, recycle_growth_percent=0)
    old = live_pids(server)
    for argument in range(1, 30):
        assert _good(server, argument)
        if _starting(server):
            break
    os.kill(_starting(server)[0], signal.SIGKILL)
    server.wait_until(lambda: server.worker_pids() == old, "the successor is forgotten")
    for argument in range(50, 100):
        assert _good(server, argument)
    assert server.worker_pids() == old, "no further one is tried at once"
    index = 100

    def renewed():
        nonlocal index
        index += 1
        return _good(server, index) and live_pids(server) != old

    server.wait_until(renewed, "renewed after a while", 15)


@pytest.mark.acceptance(3)
def test_a_crash_while_draining_is_tried_again(start, tmp_path):
    log = tmp_path / "work"
    server = start(workers=2, engine="stub", drain_delay_ms=300, env={"STUB_LOG": str(log)})
    with posting(server) as poster:
        reply = poster.post(command_png(Command.OK, 1_500))
        server.wait_until(lambda: bool(work(log)), "at work")
        server.terminate()
        server.wait_until(lambda: server.health()["status"] == "draining", "draining")
        time.sleep(0.4)  # past the drain delay: now the server only waits for this request
        os.kill(work(log)[0].pid, signal.SIGKILL)
        assert is_right(reply.result(), Command.OK, 1_500)
    assert server.wait(5) == 0
    assert len(work(log)) == 2


def test_a_worker_killed_while_it_sends_a_large_answer(start, tmp_path, seed):
    log = tmp_path / "work"
    server = start(workers=1, engine="stub", env={"STUB_LOG": str(log)})
    noise = np.random.default_rng(seed).integers(0, 256, (800, 1_000, 3), np.uint8)
    body = cv2.imencode(".png", noise)[1].tobytes()  # and so has the answer some MiB
    with posting(server) as poster:
        reply = poster.post(body, {"Accept": "image/png"})
        server.wait_until(lambda: bool(work(log)), "at work")
        server.signal(signal.SIGSTOP)  # so that the pipe is not read
        victim = work(log)[0].pid
        _wait_blocked(victim)
        os.kill(victim, signal.SIGKILL)
        server.signal(signal.SIGCONT)
        answer = reply.result()
    assert answer.status == 200
    assert answer.body.startswith(b"\x89PNG")
    assert len(work(log)) == 2
    assert server.metrics("worker_restarts_total", cause="crash") == 1


def _wait_blocked(pid):
    """Wait until a process sleeps and uses no more processor time: its pipe is full."""
    end, calm, before = time.monotonic() + 10, 0, -1.0
    while calm < 10 and time.monotonic() < end:
        now = processes.cpu_seconds(pid)
        calm = calm + 1 if now == before and processes.read(pid).state == "S" else 0
        before = now
        time.sleep(0.02)
    assert calm >= 10


@pytest.mark.parametrize("state", ["starting", "idle", "busy", "stopped"])
def test_workers_die_with_their_server(start, tmp_path, state):
    log = tmp_path / "work"
    server = start(workers=2, engine="stub", ready=state != "starting", env={"STUB_LOG": str(log)})
    server.wait_until(lambda: len(processes.children(server.pid)) == 2, "spawned")
    workers = processes.children(server.pid)
    with posting(server) as poster:
        if state == "busy":
            gone = [poster.post(command_png(Command.HANG, index)) for index in range(2)]
            server.wait_until(lambda: len(work(log)) == 2, "at work")
        elif state == "stopped":
            for worker in workers:
                os.kill(worker.pid, signal.SIGSTOP)
        server.kill()
        server.wait(5)
        assert processes.wait_gone(workers, 3.0) == []
        if state == "busy":
            assert all(isinstance(reply.exception(), OSError) for reply in gone)


_WRONG = (
    "garbage",
    "array",
    "nothing",
    "ready again",
    "fatal late",
    "old answer",
    "no times",
    "not a number",
    "negative",
    "text",
    "stages",
    "sizes",
    "not JSON",
    "another member",
    "endless",
    "picture",
)


def test_a_worker_that_sends_malformed_data_is_replaced(start):
    server = start(workers=2, engine="fault_engines:WrongFrames", env={"FAULT_FRAMES": ",".join(_WRONG)})
    with posting(server) as poster:
        for number, frame in enumerate(_WRONG):
            server.wait_until(lambda: bool(live_pids(server)), "one lives")
            others = [poster.post(command_png(Command.OK, 20, b"%d %d" % (number, i))) for i in range(2)]
            reply = poster.post(command_png(Command.OK, FIRST_FRAME + number)).result()
            assert (reply.status, reply.reason) == (503, "worker_crashed"), frame
            for i, other in enumerate(others):
                assert is_right(other.result(), Command.OK, 20, b"%d %d" % (number, i)), frame
            assert server.metrics("worker_restarts_total", cause="crash") == 2 * (number + 1), frame
        server.wait_until(lambda: bool(live_pids(server)), "one lives")
        assert _good(server, 9)
    assert "Traceback" not in server.logs()
    assert "Fatal error" not in server.logs()


@pytest.mark.acceptance(10)
def test_an_answer_too_many_reaches_no_other_caller(start):
    """The pipe holds the second answer when the next request is given out."""
    server = start(workers=1, engine="fault_engines:WrongFrames", env={"FAULT_FRAMES": "answer twice"})
    with posting(server) as poster:
        first = poster.post(command_png(Command.OK, 1_000))
        server.wait_until(lambda: busy(server) == 1, "at work")
        wrong = poster.post(command_png(Command.OK, FIRST_FRAME))
        server.wait_until(lambda: waiting(server) == 1, "queued")
        others = [poster.post(command_png(Command.OK, 20, b"%d" % index)) for index in range(4)]
        assert is_right(first.result(), Command.OK, 1_000)
        assert is_right(wrong.result(), Command.OK, FIRST_FRAME)
        assert all(is_right(one.result(), Command.OK, 20, b"%d" % i) for i, one in enumerate(others))
    assert server.metrics("worker_restarts_total", cause="crash") == 1


@pytest.mark.parametrize(
    ("engine", "says"),
    [
        ("no_such_module:Engine", "POSECLUSTER_ENGINE"),
        ("stub_engine:NoSuchClass", "POSECLUSTER_ENGINE"),
        ("stub_engine", "POSECLUSTER_ENGINE"),
        ("fault_engines:RefusesToLoad", "The stub's model was taken away."),
    ],
)
def test_an_engine_that_cannot_be_loaded_ends_the_start_with_one_line(engine, says, tmp_path):
    (tmp_path / "fault").touch()
    done = run_to_end("serve", engine=engine, workers=2, env={"FAULT_FILE": str(tmp_path / "fault")})
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if not line.startswith("20")]  # log lines have a date
    assert len(errors) == 1, done.stderr
    assert says in errors[0]
    assert "Traceback" not in done.stderr


def test_workers_that_cannot_start_any_more_are_tried_with_pauses(start, tmp_path):
    fault = tmp_path / "fault"
    server = start(workers=2, engine="fault_engines:RefusesToLoad", env={"FAULT_FILE": str(fault)})
    fault.touch()
    for pid in live_pids(server):
        os.kill(pid, signal.SIGKILL)
    server.wait_until(lambda: server.metrics("worker_restarts_total", cause="start") >= 3, "tried again")
    before, since = server.metrics("worker_restarts_total"), time.monotonic()
    server.wait_until(lambda: time.monotonic() - since > 3, "three seconds have passed")
    assert server.metrics("worker_restarts_total") - before <= 8
    assert server.process.poll() is None
    fault.unlink()
    server.wait_ready(10)
    assert _good(server)


def test_without_descriptors_for_a_worker_the_server_waits_for_them(start):
    """Spawning then fails immediately: it must be neither abandoned nor retried without a pause."""
    server = start(workers=1, engine="stub")
    old = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    victim = live_pids(server)[0]
    with probing(server):
        pass  # everything that the server opens once is open now
    limit = processes.descriptors(server.pid)
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (limit, old[1]))
    try:
        os.kill(victim, signal.SIGKILL)
        since, cpu = time.monotonic(), processes.cpu_seconds(server.pid)
        while time.monotonic() - since < 2:
            with suppress(OSError):
                client.get(server.admin_url + "/livez", timeout_seconds=0.2)
        assert processes.cpu_seconds(server.pid) - cpu < 1.0
    finally:
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, old)
    server.wait_ready(15)
    assert _good(server)


def test_a_server_stopped_before_it_was_ready_ends_quickly(start):
    """Each moment of a start: no worker is forgotten, and the end does not take long."""
    for milliseconds in (0, 20, 100, 300):
        server = start(workers=2, engine="stub", ready=False, drain_delay_ms=0)
        time.sleep(milliseconds / 1000)  # the moment is the case
        since = time.monotonic()
        server.terminate()
        assert server.wait(10) == 0
        assert time.monotonic() - since < 4.0, milliseconds


class _Told:
    """A listener that only notes the end."""

    def __init__(self):
        self.ended = asyncio.Event()

    def worker_ready(self, worker):
        pass

    def worker_answered(self, worker, answer):
        raise AssertionError("nothing was asked")

    def worker_ended(self, worker):
        self.ended.set()


@pytest.mark.parametrize("turns", [0, 1, 2])
async def test_a_worker_that_is_stopped_before_it_has_a_pipe_ends(monkeypatch, turns):
    """The pool may stop in the very turn of the loop in which it has spawned a worker."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "inference"))
    told = _Told()
    limits = {
        "max_people": 1,
        "max_pixels": 1,
        "max_side_pixels": 1,
        "memory_share_bytes": 1,
        "sandbox": True,
    }
    config = WorkerConfig(
        engine="", task="unknown", variant="", model_path="", **limits
    )  # it ends immediately
    worker = WorkerProcess(told, config, Limits(start_seconds=60, hang_seconds=60))
    started = asyncio.create_task(worker.start())
    for _ in range(turns):
        await asyncio.sleep(0)
    worker.stop(Ended.STOPPED)
    await started
    async with asyncio.timeout(5):
        await told.ended.wait()
    assert worker.ended is Ended.STOPPED
