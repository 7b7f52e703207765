"""Check 5: at three times its capacity the server still answers at capacity and refuses the rest fast.

The stub engine sleeps, so that capacity depends on the number of workers and not on this machine's
processors.
"""

import asyncio
import statistics
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace

import pytest

from harness import client
from harness.bars import bar_text
from harness.load import Load, Outcome, closed_loop, open_loop, percentile
from harness.recorder import RecordFigure
from harness.server import ServerProcess
from harness.stub import DETECT, Slow, send_many, wait_waiting

WORKERS = 2
SERVICE_MS = 40
DEADLINE_MS = 1_000
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Bar:
    """What the check asks; `refused_p99` and `recovered_share` are wide where other tests run beside it."""

    goodput: float
    refused_p99: float
    recovered_share: float
    accepted: int = 200
    refused: int = 200
    sent_share: float = 0.95
    rss_bytes: int = 64 * MIB

    def shown(self, name: str) -> str:
        """One of the three figures as it is recorded."""
        return bar_text(self._texts()[name], _LISTED._texts()[name])

    def _texts(self) -> dict[str, str]:
        return {
            "goodput": f">= {self.goodput}",
            "refused_p99": f"<= {self.refused_p99 * 1000:.0f} ms",
            "recovered_share": f"<= {1 + self.recovered_share}",
        }


_LISTED = Bar(0.9, 0.05, 0.10)


@dataclass(slots=True)
class Overload:
    """What a run at three times capacity showed; times in seconds, capacity in answers a second."""

    capacity: float
    load: Load
    grown_bytes: int
    p50_before: float
    p50_after: float

    @property
    def goodput(self) -> float:
        """Right answers that came while the schedule ran, by its length: none from the tail after it."""
        in_time = [o for o in self.load.right if o.start + o.latency <= self.load.seconds]
        return len(in_time) / self.load.seconds

    @property
    def refused(self) -> list[Outcome]:
        return self.load.of(503)

    def faults(self, bar: Bar) -> list[str]:
        """Name each figure that misses the bar."""
        found = {
            "sent": self.load.sent_share < bar.sent_share,
            "accepted sample": len(self.load.right) < bar.accepted,
            "refused sample": len(self.refused) < bar.refused,
            "other answers": set(self.load.statuses) - {200, 503} != set(),
            "wrong answers": len(self.load.of(200)) != len(self.load.right),
            "goodput": self.goodput < bar.goodput * self.capacity,
            "accepted p99": percentile([o.latency for o in self.load.right], 0.99) * 1000 > DEADLINE_MS,
            "refused p99": self._refused_p99 > bar.refused_p99,
            "Retry-After": not _retry_after_is_usable(self.refused),
            "memory": self.grown_bytes > bar.rss_bytes,
            "recovery": self.p50_after > self.p50_before * (1 + bar.recovered_share),
        }
        return [name for name, is_fault in found.items() if is_fault]

    @property
    def _refused_p99(self) -> float:
        return percentile([o.latency for o in self.refused], 0.99) if self.refused else 0.0


def _retry_after_is_usable(refused: list[Outcome]) -> bool:
    values = {o.retry_after for o in refused}
    return len(values) >= 2 and all(value is not None and 1 <= value <= 60 for value in values)


async def overload(server: ServerProcess, *, seconds: float, capacity_seconds: float) -> Overload:
    """Measure capacity and the latency of one client, overload, and measure that latency again."""
    url, slow = server.url + DETECT, Slow(SERVICE_MS)
    capacity = await closed_loop(
        url, slow.picture, clients=2 * WORKERS, seconds=capacity_seconds, first_index=1_000_000
    )
    before = await closed_loop(url, slow.picture, clients=1, count=25, first_index=2_000_000)
    rss = await asyncio.to_thread(server.rss_with_workers)
    load = await open_loop(
        url, slow.picture, rate=3 * capacity.goodput, seconds=seconds, check=slow.check, timeout_seconds=60
    )
    grown = await asyncio.to_thread(server.rss_with_workers) - rss
    # the tail of the overload is over when nothing waits: the wait is on that fact, not on 5 seconds
    await asyncio.to_thread(wait_waiting, server, queued=0, running=0)
    after = await closed_loop(url, slow.picture, clients=1, count=25, first_index=3_000_000)
    return Overload(capacity.goodput, load, grown, _median(before), _median(after))


def _median(load: Load) -> float:
    return statistics.median(outcome.latency for outcome in load.of(200))


@pytest.fixture
def overloaded(start: Callable[..., ServerProcess]) -> Callable[..., ServerProcess]:
    def start_it(**settings: object) -> ServerProcess:
        usual = {"workers": WORKERS, "deadline_ms": DEADLINE_MS, "cache_entries": 0}
        return start(engine="stub", **{**usual, **settings})

    return start_it


@pytest.mark.serial
@pytest.mark.acceptance(5)
async def test_three_times_capacity_is_answered_at_capacity_and_refused_fast(
    overloaded: Callable[..., ServerProcess], record_figure: RecordFigure, long_run: bool
) -> None:
    server = await asyncio.to_thread(overloaded)
    seconds, capacity_seconds = (60.0, 5.0) if long_run else (7.0, 2.0)
    run = await overload(server, seconds=seconds, capacity_seconds=capacity_seconds)
    refused_p99 = percentile([o.latency for o in run.refused], 0.99)
    share, sample = run.goodput / run.capacity, len(run.load.outcomes)
    # beside other tests the generator itself waits for a processor
    bar = _LISTED if long_run else Bar(0.85, 0.25, 0.5)
    record_figure("goodput / C", share, bar=bar.shown("goodput"), sample=len(run.load.right))
    record_figure(
        "refused p99", refused_p99 * 1000, bar=bar.shown("refused_p99"), unit="ms", sample=len(run.refused)
    )
    record_figure("accepted p99", run.load.latency(0.99, 200) * 1000, bar=f"<= {DEADLINE_MS}", unit="ms")
    record_figure("memory added", run.grown_bytes / MIB, bar="<= 64", unit="MiB", sample=sample)
    recovered = run.p50_after / run.p50_before
    record_figure("p50 after / before", recovered, bar=bar.shown("recovered_share"), sample=25)
    assert run.faults(bar) == [], f"{run.load.summary()} C {run.capacity:.1f} refused p99 {refused_p99:.3f}"
    arrivals = await asyncio.to_thread(server.metrics, "arrivals_total")
    assert arrivals >= sample, "refused requests are demand too"


@pytest.mark.serial
@pytest.mark.acceptance(5)
@pytest.mark.control
async def test_an_unbounded_queue_lets_answers_come_too_late(
    overloaded: Callable[..., ServerProcess],
) -> None:
    """The same checks on a server that accepts everything: no refusals, and answers after the deadline."""
    server = await asyncio.to_thread(overloaded, queue_length=100_000, deadline_ms=60_000)
    run = await overload(server, seconds=2.0, capacity_seconds=1.0)
    faults = run.faults(replace(_LISTED, accepted=50, refused=50))
    assert {"accepted p99", "refused sample"} <= set(faults), run.load.summary()


@pytest.mark.serial
@pytest.mark.acceptance(5)
def test_retry_after_grows_with_the_queue_and_is_jittered(
    overloaded: Callable[..., ServerProcess], record_figure: RecordFigure
) -> None:
    """One worker at 100 ms a request: half a second of work ahead, and six seconds of it."""
    seen: dict[int, list[int]] = {}
    for places in (5, 60):
        server = overloaded(workers=1, queue_length=places, deadline_ms=60_000)
        with ExitStack() as stack:
            slow = Slow(2_000, f"first {places}")
            send_many(server, stack, [slow.picture(0)])
            wait_waiting(server, queued=0, running=1)
            send_many(server, stack, [slow.picture(1 + index) for index in range(places)])
            wait_waiting(server, queued=places, running=1)
            replies = [client.post(server.url + DETECT, slow.picture(1_000 + index)) for index in range(30)]
        assert [reply.status for reply in replies] == [503] * 30
        assert {reply.reason for reply in replies} == {"queue_full"}
        seen[places] = [reply.retry_after or 0 for reply in replies]
    record_figure("Retry-After at 5 / 60 waiting", f"{set(seen[5])} / {set(seen[60])}", bar="grows", unit="s")
    for values in seen.values():
        assert len(set(values)) >= 2
        assert max(values) - min(values) <= 4  # 2 of jitter; the measured throughput moves too
        assert all(1 <= value <= 60 for value in values)
    assert min(seen[60]) > max(seen[5])
