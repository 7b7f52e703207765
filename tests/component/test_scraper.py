"""The scraper against real server processes: right figures under load and after a restart, and its cost."""

import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness import client
from harness.server import ServerProcess, start_server
from harness.stub import DETECT, Slow, send_many, wait_waiting
from posecluster_operator.scaling.policy.demand import PodSample
from posecluster_operator.scaling.scraper import SCRAPE_SECONDS, Scraper, Target

Start = Callable[..., ServerProcess]
PASSES = 100


@pytest.fixture
async def scraper() -> AsyncIterator[Scraper]:
    made = Scraper(monotonic=time.monotonic)
    yield made
    await made.close()


def target(server: ServerProcess) -> Target:
    return Target(pod="uid", name="pod", host="127.0.0.1", port=server.admin_port)


async def read(scraper: Scraper, server: ServerProcess) -> PodSample:
    answer = (await scraper.scrape([target(server)]))["uid"]
    assert isinstance(answer, PodSample), answer
    return answer


async def test_a_servers_figures_are_read_under_load(start: Start, scraper: Scraper) -> None:
    server = start(workers=1, engine="stub", queue_length=2, deadline_ms=30_000, latency_objective_ms=100)
    idle = await read(scraper, server)
    assert (idle.arrivals, idle.completed, idle.busy_seconds, idle.queued, idle.running) == (0, 0, 0, 0, 0)
    with ExitStack() as stack:
        waiting = send_many(server, stack, [Slow(700).picture(index) for index in range(3)])
        wait_waiting(server, queued=2, running=1)
        refused = [client.post(server.url + DETECT, Slow(1, "no").picture(n)).status for n in range(4)]
        assert refused == [503] * 4
        loaded = await read(scraper, server)
        assert (loaded.queued, loaded.running) == (2, 1)
        assert (loaded.arrivals, loaded.refused, loaded.late) == (7, 4, 4)
        assert [one.read(5, responses=1).statuses for one in waiting] == [[200]] * 3
    server.wait_until(lambda: server.metrics("completed_total") == 3, "all done")
    assert client.post(server.url + DETECT, b"no picture at all").status == 415
    after = await read(scraper, server)
    assert (after.queued, after.running) == (0, 0)
    assert (after.arrivals, after.completed, after.refused, after.late) == (7, 3, 4, 7)
    assert after.busy_seconds == server.metrics("busy_seconds_total") >= 3 * 0.7
    assert after.started == idle.started
    assert idle.at < loaded.at < after.at <= time.monotonic()
    assert loaded.continues(idle)
    assert after.continues(loaded)
    assert after.credible(time.monotonic())


async def test_a_restarted_server_is_recognised(tmp_path: Path, scraper: Scraper) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with start_server(engine="stub", folder=tmp_path, admin_port=port) as server:
        assert client.post(server.url + DETECT, Slow(0).picture(0)).status == 200
        before = await read(scraper, server)
        gone = target(server)
    assert await scraper.scrape([gone]) == {"uid": "connection refused"}
    with start_server(engine="stub", folder=tmp_path, admin_port=port) as server:
        after = await read(scraper, server)
    assert (before.arrivals, after.arrivals) == (1, 0)
    assert after.started > before.started
    assert not after.continues(before)


@pytest.mark.serial
async def test_a_scrape_costs_what_the_interval_counts_with(start: Start, scraper: Scraper) -> None:
    """The operator's own time; the best of five, for other processes share its caches."""
    server = start(engine="stub")
    targets = [
        Target(pod=str(uid), name="pod", host="127.0.0.1", port=server.admin_port) for uid in range(10)
    ]
    await scraper.scrape(targets)
    costs = []
    for _ in range(5):
        before = time.thread_time()
        for _ in range(PASSES // len(targets)):
            answers = await scraper.scrape(targets)
            assert all(isinstance(answer, PodSample) for answer in answers.values())
        costs.append((time.thread_time() - before) / PASSES)
    print(f"CPU time of a scrape: {min(costs) * 1000:.3f} ms")
    assert min(costs) < 3 * SCRAPE_SECONDS
