"""Callers with the heaviest pictures leave an ordinary caller its share of the workers."""

import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import pytest

from harness.bars import bar_text
from harness.hostile_pictures import large_png
from harness.load import Load, closed_loop
from harness.pictures import unique_png
from harness.recorder import RecordFigure
from harness.server import ServerProcess
from harness.stub import DETECT, Slow

SERVICE_MS = 45  # of an ordinary picture; a heavy one takes ten times as long
POLITE = Slow(SERVICE_MS, "polite")
SECONDS, FIRST_IN_FIRST_OUT_SECONDS = 6.0, 8.0
# the same server, but one that takes every picture for an ordinary one: first in, first out
FIRST_IN_FIRST_OUT = """
import sys
from posecluster_inference import __main__
from posecluster_inference.server.workers import costs
costs.Costs.estimate = lambda self, header, kind: costs.ORDINARY
sys.argv[1:] = ["serve"]
sys.exit(__main__.main())
"""


@cache
def _large() -> bytes:
    return large_png(5_000, 5_000)


def heavy(index: int) -> bytes:
    """Picture number `index` of 25 megapixels."""
    return unique_png(_large(), index)


@dataclass(frozen=True, slots=True)
class Shared:
    """Latencies in seconds of an ordinary caller: on its own, beside four like it, beside four heavy ones."""

    p50_alone: float
    p95_beside_light: float
    p95_beside_heavy: float
    heavy: Load

    @property
    def bar(self) -> float:
        return self.p95_beside_light + 2 * self.p50_alone


async def share(server: ServerProcess, seconds: float = SECONDS) -> Shared:
    """Measure one ordinary caller on its own, beside four others like it, and beside four heavy ones."""
    url = server.url + DETECT

    async def polite(first: int, length: float) -> Load:
        load = await closed_loop(
            url, POLITE.picture, clients=1, seconds=length, first_index=first, check=POLITE.check
        )
        assert len(load.right) == len(load.outcomes) >= 3, load.summary()
        return load

    alone = await polite(0, 1.5)
    other = Slow(SERVICE_MS, "other")
    beside_light, _ = await asyncio.gather(
        polite(100_000, seconds / 2), closed_loop(url, other.picture, clients=4, seconds=seconds / 2)
    )
    beside_heavy, heavy_load = await asyncio.gather(
        polite(200_000, seconds),
        closed_loop(url, heavy, clients=4, seconds=seconds, headers={"Accept": "image/webp"}),
    )
    return Shared(alone.latency(0.5), beside_light.latency(0.95), beside_heavy.latency(0.95), heavy_load)


@pytest.mark.serial
@pytest.mark.parametrize("workers", [1, 2])
async def test_four_heavy_callers_leave_an_ordinary_one_its_share(
    start: Callable[..., ServerProcess], record_figure: RecordFigure, long_run: bool, workers: int
) -> None:
    server = await asyncio.to_thread(start, engine="stub", workers=workers, cache_entries=0)
    seen = await share(server)
    # beside other tests a processor is shared, and each request takes longer now and then
    bar = seen.bar if long_run else seen.bar + 3 * seen.p50_alone
    record_figure(
        f"polite p95 beside heavy callers, {workers} workers",
        seen.p95_beside_heavy * 1000,
        bar=bar_text(f"<= {bar * 1000:.0f}", f"<= {seen.bar * 1000:.0f}"),
        unit="ms",
        sample=len(seen.heavy.outcomes),
    )
    assert seen.p95_beside_heavy <= bar, seen
    # one worker gives them a fifth of its time; what that cannot answer in time is refused immediately
    assert set(seen.heavy.statuses) <= {200, 504}, seen.heavy.summary()
    assert len(seen.heavy.right) >= workers, "heavy callers have their share, too"


@pytest.mark.serial
@pytest.mark.control
async def test_first_in_first_out_makes_the_ordinary_caller_wait(start: Callable[..., ServerProcess]) -> None:
    server = await asyncio.to_thread(
        start,
        engine="stub",
        workers=2,
        cache_entries=0,
        command=(sys.executable, "-c", FIRST_IN_FIRST_OUT),
    )
    seen = await share(server, FIRST_IN_FIRST_OUT_SECONDS)
    assert seen.p95_beside_heavy > seen.bar + 3 * seen.p50_alone, seen


@pytest.mark.serial
async def test_a_queue_full_of_heavy_pictures_takes_ordinary_ones(
    start: Callable[..., ServerProcess],
) -> None:
    server = await asyncio.to_thread(start, engine="stub", workers=1, queue_length=4, cache_entries=0)
    url = server.url + DETECT
    heavy_load, polite = await asyncio.gather(
        closed_loop(url, heavy, clients=8, seconds=4.0),
        closed_loop(url, POLITE.picture, clients=1, seconds=4.0, check=POLITE.check),
    )
    assert heavy_load.reasons["queue_full"] > 0, heavy_load.summary()
    assert polite.statuses == {200: len(polite.outcomes)}, polite.summary()
