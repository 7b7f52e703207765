"""Check 32: probes are correct in every state, and a full queue does not change them."""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from harness import client, processes
from harness.bars import bar_text
from harness.load import closed_loop, open_loop
from harness.recorder import RecordFigure
from harness.server import ServerProcess
from harness.stub import DETECT, Slow, send_many, wait_waiting

SAMPLE = 20  # a state
WORKERS = 2
LIVEZ_SECONDS = 0.1
GATED = "gated_engine:GatedEngine"
DOOMED = "gated_engine:DoomedEngine"


@dataclass(slots=True)
class Seen:
    """Answers of the probes in one state: statuses, reasons, and the slowest `/livez` in seconds."""

    live: list[int] = field(default_factory=list)
    ready: list[int] = field(default_factory=list)
    reasons: set[str | None] = field(default_factory=set)
    slowest_live: float = 0.0

    def probe(self, server: ServerProcess) -> None:
        """Ask both once."""
        begin = time.monotonic()
        self.live.append(client.get(server.admin_url + "/livez", timeout_seconds=5).status)
        self.slowest_live = max(self.slowest_live, time.monotonic() - begin)
        ready = client.get(server.admin_url + "/readyz", timeout_seconds=5)
        self.ready.append(ready.status)
        self.reasons.add(ready.reason)


def look(server: ServerProcess, times: int = SAMPLE) -> Seen:
    """Probe so many times in a row."""
    seen = Seen()
    for _ in range(times):
        seen.probe(server)
    return seen


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    folder = tmp_path / "gate"
    folder.mkdir()
    return folder


@pytest.fixture
def judge(record_figure: RecordFigure, long_run: bool) -> Callable[[str, Seen, int, str | None], None]:
    """Assert what was seen in a state; the bar on time is wide where other tests run beside this one."""

    def check(state: str, seen: Seen, ready: int, reason: str | None) -> None:
        bar = LIVEZ_SECONDS if long_run else 5 * LIVEZ_SECONDS
        record_figure(
            f"slowest /livez, {state}",
            seen.slowest_live * 1000,
            bar=bar_text(f"<= {bar * 1000:.0f} ms", f"<= {LIVEZ_SECONDS * 1000:.0f} ms"),
            unit="ms",
            sample=len(seen.live),
        )
        assert len(seen.live) >= SAMPLE
        assert set(seen.live) == {200}
        assert set(seen.ready) == {ready}
        assert seen.reasons == {reason}
        assert seen.slowest_live <= bar

    return check


@pytest.mark.acceptance(32)
def test_not_ready_until_every_worker_has_warmed_up(
    start: Callable[..., ServerProcess], gate: Path, judge: Callable[..., None]
) -> None:
    (gate / "closed").touch()
    server = start(workers=WORKERS, engine=GATED, env={"GATE": str(gate)}, ready=False)
    judge("cold start", look(server), 503, "starting")
    refused = client.post(server.url + DETECT, Slow(0).picture(0))
    assert (refused.status, refused.reason) == (503, "starting")
    assert refused.retry_after is not None
    assert server.health()["status"] == "starting"
    assert server.metrics("refused_total", reason="starting") == 1

    (gate / "closed").unlink()
    server.wait_until(lambda: server.metrics("workers", state="ready") == 1, "one of two warm", 10)
    judge("one worker of two warm", look(server), 503, "starting")

    (gate / "open").touch()
    server.wait_ready(10)
    judge("ready", look(server), 200, None)
    assert server.health()["status"] == "ready"


@pytest.mark.acceptance(32)
def test_unready_but_alive_while_all_workers_restart(
    start: Callable[..., ServerProcess], gate: Path, judge: Callable[..., None]
) -> None:
    (gate / "open").touch()
    server = start(workers=WORKERS, engine=GATED, env={"GATE": str(gate)})
    (gate / "closed").touch()
    for pid in server.worker_pids():
        os.kill(pid, signal.SIGKILL)
    server.wait_until(lambda: not server.is_ready(), "unready", 5)
    judge("no live worker", look(server), 503, "starting")
    assert server.health()["status"] == "unavailable"
    refused = client.post(server.url + DETECT, Slow(0).picture(0))
    assert (refused.status, refused.reason) == (503, "starting")
    (gate / "closed").unlink()
    took = server.wait_ready(10)
    assert took <= 5
    assert client.post(server.url + DETECT, Slow(0).picture(1)).status == 200


@pytest.mark.acceptance(32)
def test_one_dead_worker_of_two_is_no_reason_to_be_unready(
    start: Callable[..., ServerProcess], gate: Path, judge: Callable[..., None]
) -> None:
    (gate / "open").touch()
    server = start(workers=WORKERS, engine=GATED, env={"GATE": str(gate)})
    (gate / "closed").touch()
    os.kill(server.worker_pids()[0], signal.SIGKILL)
    server.wait_until(lambda: server.metrics("workers", state="ready") == 1, "one worker", 5)
    judge("one worker of two dead", look(server), 200, None)


@pytest.mark.acceptance(32)
def test_a_draining_server_is_unready_but_alive(
    start: Callable[..., ServerProcess], judge: Callable[..., None]
) -> None:
    server = start(workers=WORKERS, engine="stub", drain_delay_ms=1_500)
    server.terminate()
    server.wait_until(lambda: not server.is_ready(), "unready", 5)
    judge("draining", look(server), 503, "draining")
    assert server.health()["status"] == "draining"


@pytest.mark.acceptance(32)
async def test_probes_pass_under_overload(
    start: Callable[..., ServerProcess], judge: Callable[..., None], long_run: bool
) -> None:
    server = await asyncio.to_thread(start, workers=WORKERS, engine="stub", cache_entries=0)
    url, slow = server.url + DETECT, Slow(40, "overload")
    capacity = await closed_loop(url, slow.picture, clients=4, seconds=1.0, first_index=1_000_000)
    seconds = 600.0 if long_run else 4.0
    load = asyncio.create_task(open_loop(url, slow.picture, rate=3 * capacity.goodput, seconds=seconds))
    seen = Seen()
    while not load.done():
        await asyncio.to_thread(seen.probe, server)
        await asyncio.sleep(0.02)
    run = await load
    assert len(run.of(503)) >= 100, run.summary()
    assert run.reasons.keys() == {"queue_full"}
    judge("at 3 x C", seen, 200, None)


@pytest.mark.acceptance(32)
def test_a_full_queue_is_no_reason_to_be_unready(
    start: Callable[..., ServerProcess], judge: Callable[..., None]
) -> None:
    server = start(engine="stub", queue_length=4, deadline_ms=60_000)
    with ExitStack() as stack:
        send_many(server, stack, [Slow(3_000).picture(index) for index in range(5)])
        wait_waiting(server, queued=4, running=1)
        judge("full queue", look(server), 200, None)
        wait_waiting(server, queued=4, running=1)


@pytest.mark.acceptance(32)
def test_liveness_fails_when_workers_cannot_start_any_more(start: Callable[..., ServerProcess]) -> None:
    """`/livez` fails only if every slot has died repeatedly and no worker is available."""
    server = start(engine=DOOMED, ready=False)
    statuses: list[int] = []

    def is_dead() -> bool:
        with suppress(ConnectionError):
            statuses.append(client.get(server.admin_url + "/livez", timeout_seconds=5).status)
        return statuses[-1:] == [503]

    server.wait_until(is_dead, "beyond repair", 45)
    assert statuses[0] == 200
    assert server.metrics("worker_restarts_total", cause="start") >= 12
    assert processes.read(server.pid) is not None
