"""Check 15: a worker that hangs fails only its own request, and is replaced."""

import os
import signal
import time

import pytest

from engines.stub_engine import Command, command_png
from harness.faults import is_right, live_pids, posting, probing, work

_ROUNDS = 5
_OTHERS = 20


@pytest.mark.acceptance(15)
@pytest.mark.timeout(150)
def test_a_stopped_worker_fails_only_its_own_request(start, tmp_path, record_figure, long_run):
    log = tmp_path / "work"
    limit = 5.0 if long_run else 1.0
    server = start(workers=2, engine="stub", hang_limit_ms=int(limit * 1000), env={"STUB_LOG": str(log)})
    answered, replaced = [], []
    for round_number in range(_ROUNDS):
        held = 500 + round_number  # long enough to be stopped at work, shorter than the limit
        with posting(server) as poster, probing(server) as seen:
            started = time.monotonic()
            victim_reply = poster.post(command_png(Command.OK, held))
            server.wait_until(lambda: any(one.argument == held for one in work(log)), "at work")  # noqa: B023
            victim = next(one for one in work(log) if one.argument == held)
            os.kill(victim.pid, signal.SIGSTOP)
            assert time.monotonic_ns() - victim.at < held * 1_000_000, "the victim was provably at work"
            jobs = [(5, b"%d %d" % (round_number, index)) for index in range(_OTHERS)]
            others = [(job, poster.post(command_png(Command.OK, *job))) for job in jobs[:-5]]
            reply = victim_reply.result()
            answered.append(time.monotonic() - started)
            others += [(job, poster.post(command_png(Command.OK, *job))) for job in jobs[-5:]]
            gone = time.monotonic()
            server.wait_until(
                lambda: len(set(live_pids(server)) - {victim.pid}) == 2,  # noqa: B023
                "replaced",
            )
            replaced.append(time.monotonic() - gone)
            assert all(is_right(other.result(), Command.OK, *job) for job, other in others)
        assert (reply.status, reply.reason) == (504, "worker_hung")
        assert answered[-1] <= limit + 0.5
        assert answered[-1] >= limit
        assert replaced[-1] <= 5.0
        assert sum(one.argument == held for one in work(log)) == 1, "not tried again"
        assert set(seen.statuses) == {200}
        assert server.metrics("worker_restarts_total", cause="hang") == round_number + 1
    record_figure("504 after", max(answered), bar=f"<= {limit + 0.5} s", unit="s", sample=_ROUNDS)
    record_figure(
        "replaced", max(replaced), bar="<= 5 s", unit="s", sample=f"{_ROUNDS}, {_OTHERS} others each"
    )


@pytest.mark.acceptance(15)
@pytest.mark.control
def test_without_the_limit_the_caller_waits_for_the_deadline(start, tmp_path):
    log = tmp_path / "work"
    server = start(
        workers=2, engine="stub", hang_limit_ms=60_000, deadline_ms=2_000, env={"STUB_LOG": str(log)}
    )
    with posting(server) as poster:
        reply = poster.post(command_png(Command.HANG))
        server.wait_until(lambda: bool(work(log)), "at work")
        victim = work(log)[0].pid
        os.kill(victim, signal.SIGSTOP)
        assert (reply.result().status, reply.result().reason) == (504, "deadline")
    assert victim in live_pids(server), "and the worker is lost to all others"
    os.kill(victim, signal.SIGKILL)


@pytest.mark.acceptance(15)
def test_a_worker_that_was_stopped_while_idle_is_found_by_its_next_request(start):
    server = start(workers=1, engine="stub", hang_limit_ms=500)
    victim = live_pids(server)[0]
    os.kill(victim, signal.SIGSTOP)
    with posting(server) as poster:
        reply = poster.post(command_png(Command.OK)).result()
        assert (reply.status, reply.reason) == (504, "worker_hung")
        server.wait_until(lambda: bool(set(live_pids(server)) - {victim}), "replaced")
        assert is_right(poster.post(command_png(Command.OK)).result(), Command.OK)


@pytest.mark.acceptance(15)
def test_a_picture_that_hung_two_workers_reaches_no_third(start):
    server = start(workers=1, engine="stub", hang_limit_ms=500)
    with posting(server) as poster:
        hanging = command_png(Command.HANG)
        for _ in range(2):
            reply = poster.post(hanging).result()
            assert (reply.status, reply.reason) == (504, "worker_hung")
            server.wait_until(
                lambda: is_right(poster.post(command_png(Command.OK)).result(), Command.OK), "back"
            )
        reply = poster.post(hanging).result()
    assert (reply.status, reply.reason) == (422, "undecodable")
    assert server.metrics("worker_restarts_total", cause="hang") == 2


@pytest.mark.acceptance(15)
def test_a_stopped_worker_does_not_hold_up_the_server_end(start):
    server = start(workers=2, engine="stub")
    os.kill(live_pids(server)[0], signal.SIGSTOP)
    started = time.monotonic()
    server.terminate()
    assert server.wait(10) == 0
    assert time.monotonic() - started < 5.0
