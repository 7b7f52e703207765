"""Check 4: a picture that kills workers can kill only two; the pool survives twenty such pictures."""

import asyncio
import os
import re
import signal
import time
from collections import Counter
from datetime import datetime

import pytest

from engines.stub_engine import Command, command_png
from harness import client
from harness.faults import is_right, live_pids, posting, work
from harness.load import Load, closed_loop
from harness.stub import Slow

_WORKERS = 4
_TIMES = 20
_GOOD = 500
_GOOD_CLIENTS = 6
_GOOD_MS = 10
_SERIES = (0, 1, 1, 2, 3)
_LONG_SERIES = (0, 1, 1, 2, 3, 5, 8, 13)
_LOG_LINE = re.compile(r"^(\S+) \w+ Worker (ready|ended) pid=(\d+)", re.MULTILINE)


async def _good_until(over: asyncio.Event, url: str) -> list[Load]:
    """Good requests, all different, at least `_GOOD` of them and until the poison is over."""
    loads, sent, good = [], 0, Slow(_GOOD_MS)
    while sent < _GOOD or not over.is_set():
        loads.append(
            await closed_loop(
                url, good.picture, clients=_GOOD_CLIENTS, count=100, check=good.check, first_index=sent
            )
        )
        sent += 100
    return loads


async def _under_good_load(url, poison):
    """What `poison()` returns, and the good requests' ends meanwhile."""
    over = asyncio.Event()
    good = asyncio.create_task(_good_until(over, url))
    try:
        replies = await asyncio.to_thread(poison)
    finally:
        over.set()
        loads = await good
    ends = Counter()
    for load in loads:
        ends["right"] += len(load.right)
        ends.update(
            outcome.reason or outcome.error or "wrong" for outcome in load.outcomes if not outcome.right
        )
    return replies, ends


def _outages(log: str) -> list[float]:
    """Seconds of each time without a live worker, after the first was ready."""
    live, since, found = set(), None, []
    for moment, event, pid in _LOG_LINE.findall(log):
        at = datetime.fromisoformat(moment).timestamp()
        if event == "ready":
            live.add(pid)
            if since is not None:
                found.append(at - since)
                since = None
        elif pid in live:
            live.discard(pid)
            since = at if not live else None
    return found


@pytest.mark.acceptance(4)
async def test_equal_poison_costs_two_workers_in_all(start, tmp_path, record_figure):
    log = tmp_path / "work"
    server = start(workers=_WORKERS, engine="stub", env={"STUB_LOG": str(log)})
    url = server.url + "/v1/detect"
    body = command_png(Command.SEGV)

    def poison():
        with posting(server) as poster:  # some at the same time, then one after the other
            replies = [reply.result() for reply in [poster.post(body) for _ in range(5)]]
        return replies + [client.post(url, body) for _ in range(_TIMES - len(replies))]

    replies, good = await _under_good_load(url, poison)
    reasons = Counter(reply.reason for reply in replies)
    assert set(reasons) == {"worker_crashed", "undecodable"}
    assert all(reply.status == {"worker_crashed": 503, "undecodable": 422}[reply.reason] for reply in replies)
    assert sum(one.command == "SEGV" for one in work(log)) == 2
    assert server.metrics("worker_restarts_total", cause="crash") == 2
    assert set(good) == {"right"}
    assert good["right"] >= _GOOD
    record_figure(
        "equal bytes: workers lost", 2, bar="2 in all", sample=f"{_TIMES} poison, {good['right']} good"
    )


@pytest.mark.serial
@pytest.mark.acceptance(4)
@pytest.mark.timeout(240)
async def test_different_poison_is_tried_twice_each_and_good_requests_go_on(
    start, tmp_path, record_figure, long_run
):
    """Each is sent when three workers are available: 20 take about 70 s, because restart delays grow."""
    log = tmp_path / "work"
    server = start(workers=_WORKERS, engine="stub", env={"STUB_LOG": str(log)})
    times = _TIMES if long_run else _TIMES // 2
    crashes, good = await _different_poison(server, log, times, at_least_live=3)
    total = sum(good.values())
    refused = total - good["right"]
    assert crashes >= 20
    assert total >= _GOOD
    assert set(good) <= {"right", "starting", "worker_crashed"}
    assert refused <= total / 100, good
    assert _outages(server.logs()) == []
    record_figure(
        "different bytes: good requests refused",
        100 * refused / total,
        bar="<= 1 %",
        unit="%",
        sample=f"{crashes} crashes, {total} good",
    )


@pytest.mark.acceptance(4)
@pytest.mark.timeout(240)
async def test_after_poison_without_a_pause_a_worker_is_back_within_one_start(
    start, tmp_path, record_figure, long_run
):
    """Each is sent as soon as a worker is available, so that the pool is down repeatedly."""
    log = tmp_path / "work"
    server = start(workers=_WORKERS, engine="stub", env={"STUB_LOG": str(log)})
    times = _TIMES if long_run else _TIMES // 2
    crashes, good = await _different_poison(server, log, times, at_least_live=1)
    assert crashes >= 2 * times - 2
    assert set(good) <= {"right", "starting", "worker_crashed"}
    outages = _outages(server.logs())
    assert len(outages) >= 3
    assert max(outages) <= 5.0
    url = server.url + "/v1/detect"
    server.wait_until(lambda: bool(live_pids(server)), "a worker lives")
    assert is_right(client.post(url, command_png(Command.OK, 1)), Command.OK, 1)
    record_figure(
        "longest time without a live worker",
        max(outages),
        bar="one worker start",
        unit="s",
        sample=f"{crashes} crashes, {len(outages)} times",
    )
    record_figure(
        "poison without a pause: good requests refused",
        100 * (1 - good["right"] / sum(good.values())),
        bar="none set",
        unit="%",
        sample=sum(good.values()),
    )


async def _different_poison(server, log, times, at_least_live):
    """Crashes that `times` different pictures caused, and the ends of good requests meanwhile."""
    url = server.url + "/v1/detect"

    def poison():
        replies = []
        for index in range(times):
            server.wait_until(lambda: len(live_pids(server)) >= at_least_live, "enough workers live", 60)
            replies.append(client.post(url, command_png(Command.SEGV, index)))
        return replies

    replies, good = await _under_good_load(url, poison)
    assert {(reply.status, reply.reason) for reply in replies} <= {
        (503, "worker_crashed"),
        (503, "starting"),
        (422, "undecodable"),
    }
    tries = Counter(one.argument for one in work(log) if one.command == "SEGV")
    assert max(tries.values()) <= 2
    crashes = sum(tries.values())
    assert server.metrics("worker_restarts_total", cause="crash") == crashes
    return crashes, good


@pytest.mark.acceptance(4)
def test_the_delays_of_a_slot_follow_the_series(start, record_figure, long_run):
    server = start(workers=2, engine="stub")
    bystander, victim = live_pids(server)
    series = _LONG_SERIES if long_run else _SERIES
    seen = []
    for expected in series:
        os.kill(victim, signal.SIGKILL)
        killed = time.monotonic()

        def others(old=victim):
            return [pid for pid in server.worker_pids() if pid not in (bystander, old)]

        server.wait_until(lambda: bool(others()), "spawned again", expected + 10)
        seen.append(time.monotonic() - killed)
        assert expected - 0.05 <= seen[-1] <= expected + 1.0, seen
        victim = others()[0]  # killed before it has started: that counts as well
    server.wait_until(lambda: len(live_pids(server)) == 2, "both live", 30)
    assert bystander in live_pids(server)
    record_figure(
        "delays", " ".join(f"{delay:.1f}" for delay in seen), bar=" ".join(map(str, series)), unit="s"
    )
