"""One entry and one pass in flight per key; no key is lost, and none is retried without back-off."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random

import pytest

from posecluster_operator.errors import (
    Conflict,
    Forbidden,
    KubeError,
    NamespaceTerminating,
    NotFound,
    NotLeader,
    Rejected,
    Retryable,
)
from posecluster_operator.reconcile.work_queue import Result, WorkQueue

_SOON = 5.0


@dataclass
class Passes:
    """The results for the queue to return, and how each pass ended."""

    behave: Callable[[str, int], Awaitable[Result]]
    times: dict[str, list[float]] = field(default_factory=dict)
    results: Counter[str] = field(default_factory=Counter)
    most_at_once: int = 0
    _running: Counter[str] = field(default_factory=Counter)
    _begun: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, key: str) -> Result:
        self._running[key] += 1
        self.most_at_once = max(self.most_at_once, sum(self._running.values()))
        assert self._running[key] == 1, "two passes of one key at once"
        self.times.setdefault(key, []).append(asyncio.get_running_loop().time())
        self._begun.set()
        try:
            return await self.behave(key, len(self.times[key]))
        finally:
            self._running[key] -= 1

    def done(self, result: str, _seconds: float) -> None:
        self.results[result] += 1

    async def reach(self, key: str, count: int) -> list[float]:
        async with asyncio.timeout(_SOON):
            while len(self.times.get(key, [])) < count:
                self._begun.clear()
                await self._begun.wait()
        return self.times[key]


@asynccontextmanager
async def _queue(passes: Passes, workers: int = 4) -> AsyncIterator[WorkQueue]:
    queue = WorkQueue(passes, workers=workers, on_done=passes.done, random=Random(1))
    task = asyncio.create_task(queue.run())
    try:
        yield queue
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _well(_key: str, _count: int) -> Result:
    return Result()


async def test_ten_additions_are_one_pass() -> None:
    passes = Passes(_well)
    async with _queue(passes) as queue:
        for _ in range(10):
            queue.add("a")
        await passes.reach("a", 1)
        await asyncio.sleep(0.05)
    assert len(passes.times["a"]) == 1


async def test_a_change_during_a_pass_leads_to_one_more_pass_after_it() -> None:
    release = asyncio.Event()

    async def wait(_key: str, count: int) -> Result:
        if count == 1:
            await release.wait()
        return Result()

    passes = Passes(wait)
    async with _queue(passes) as queue:
        queue.add("a")
        await passes.reach("a", 1)
        for _ in range(5):
            queue.add("a")
        await asyncio.sleep(0.05)
        assert len(passes.times["a"]) == 1
        release.set()
        await passes.reach("a", 2)
        await asyncio.sleep(0.05)
    assert len(passes.times["a"]) == 2


async def test_no_more_passes_at_once_than_workers() -> None:
    async def slow(_key: str, _count: int) -> Result:
        await asyncio.sleep(0.02)
        return Result()

    passes = Passes(slow)
    async with _queue(passes, workers=3) as queue:
        for index in range(12):
            queue.add(str(index))
        for index in range(12):
            await passes.reach(str(index), 1)
    assert passes.most_at_once == 3


async def test_the_earliest_time_wins() -> None:
    passes = Passes(_well)
    async with _queue(passes) as queue:
        queue.add_after("a", 60)
        queue.add_after("a", 0.05)
        queue.add_after("a", 30)
        await passes.reach("a", 1)
        assert queue.depth == 0
        await asyncio.sleep(0.02)
    assert len(passes.times["a"]) == 1


async def test_a_result_schedules_the_next_pass() -> None:
    async def again(_key: str, count: int) -> Result:
        return Result(0.02 if count < 3 else None)

    passes = Passes(again)
    async with _queue(passes) as queue:
        queue.add("a")
        await passes.reach("a", 3)
    assert passes.results == {"ok": 3}


async def test_failures_back_off_further_and_further_and_success_resets() -> None:
    async def fail(_key: str, count: int) -> Result:
        if count in (1, 2, 4):
            raise Rejected("apply Service a", "no")
        return Result(0.01 if count == 3 else None)

    passes = Passes(fail)
    async with _queue(passes) as queue:
        queue.add("a")
        first, second, third, fourth, fifth = await passes.reach("a", 5)
    assert 0.5 <= second - first <= 1.0
    assert 1.0 <= third - second <= 1.6
    assert 0.5 <= fifth - fourth <= 1.0
    assert passes.results["error"] == 3


@pytest.mark.parametrize(
    ("error", "result"),
    [
        (Rejected, "error"),
        (Forbidden, "error"),
        (Conflict, "conflict"),
        (NotFound, "conflict"),
        (Retryable, "retry"),
        (NamespaceTerminating, "retry"),
    ],
)
async def test_only_failures_that_need_attention_are_logged_as_errors(
    error: type[KubeError], result: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(_key: str, count: int) -> Result:
        if count == 1:
            raise error("apply Service a", "no")
        return Result()

    passes = Passes(fail)
    async with _queue(passes) as queue:
        queue.add("a")
        await passes.reach("a", 2)
    assert passes.results == {result: 1, "ok": 1}
    assert ("ERROR" in [one.levelname for one in caplog.records]) == (result == "error")


async def test_a_key_that_fails_does_not_hold_up_others() -> None:
    async def fail(key: str, _count: int) -> Result:
        if key == "bad":
            raise Rejected("apply Service a", "no")
        return Result()

    passes = Passes(fail)
    async with _queue(passes, workers=1) as queue:
        queue.add("bad")
        queue.add("good")
        bad, good = (await passes.reach("bad", 1))[0], (await passes.reach("good", 1))[0]
    assert good - bad < 0.3


async def test_retry_after_holds_even_when_the_key_is_added_again() -> None:
    async def throttled(_key: str, count: int) -> Result:
        if count == 1:
            raise Retryable("get PoseCluster a", "slow down", status=429, retry_after_seconds=0.8)
        return Result()

    passes = Passes(throttled)
    async with _queue(passes) as queue:
        queue.add("a")
        await passes.reach("a", 1)
        await asyncio.sleep(0.01)
        queue.add("a")
        first, second = await passes.reach("a", 2)
    assert second - first >= 0.8


async def test_retry_after_holds_for_an_event_during_the_pass_that_got_it() -> None:
    queue: WorkQueue

    async def throttled(key: str, count: int) -> Result:
        if count == 1:
            queue.add(key)
            raise Retryable("get PoseCluster a", "slow down", status=429, retry_after_seconds=0.8)
        return Result()

    passes = Passes(throttled)
    async with _queue(passes) as queue:
        queue.add("a")
        first, second = await passes.reach("a", 2)
    assert second - first >= 0.8


async def test_a_corrected_spec_need_not_wait_for_the_back_off() -> None:
    async def fail(_key: str, count: int) -> Result:
        if count == 1:
            raise Rejected("apply Service a", "no")
        return Result()

    passes = Passes(fail)
    async with _queue(passes) as queue:
        queue.add("a")
        await passes.reach("a", 1)
        await asyncio.sleep(0.01)
        queue.add("a")
        first, second = await passes.reach("a", 2)
    assert second - first < 0.4


async def test_conflicts_are_retried_immediately() -> None:
    async def conflict(_key: str, count: int) -> Result:
        if count <= 3:
            raise Conflict("patch status of a", "changed")
        return Result()

    passes = Passes(conflict)
    async with _queue(passes) as queue:
        queue.add("a")
        times = await passes.reach("a", 4)
    assert times[-1] - times[0] < 0.6


async def test_without_the_lease_a_key_is_dropped() -> None:
    async def standby(_key: str, _count: int) -> Result:
        raise NotLeader("not held")

    passes = Passes(standby)
    async with _queue(passes) as queue:
        queue.add("a")
        await passes.reach("a", 1)
        await asyncio.sleep(0.7)
    assert len(passes.times["a"]) == 1
    assert passes.results == {"not_leader": 1}


async def test_an_unexpected_exception_ends_one_pass_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def slip(key: str, _count: int) -> Result:
        if key == "bad":
            raise KeyError("spec")
        return Result()

    passes = Passes(slip)
    async with _queue(passes) as queue:
        queue.add("bad")
        await passes.reach("bad", 2)
        queue.add("good")
        await passes.reach("good", 1)
    assert "Reconciliation failed unexpectedly" in caplog.text
    assert "KeyError" in caplog.text


async def test_ages_and_depth_are_shown() -> None:
    release = asyncio.Event()

    async def wait(_key: str, _count: int) -> Result:
        await release.wait()
        return Result()

    passes = Passes(wait)
    async with _queue(passes, workers=1) as queue:
        queue.add("a")
        await passes.reach("a", 1)
        queue.add("b")
        await asyncio.sleep(0.05)
        assert queue.depth == 1
        assert queue.oldest_seconds() >= 0.04
        assert queue.longest_pass_seconds() >= 0.04
        release.set()
        await passes.reach("b", 1)
        await asyncio.sleep(0.01)
        assert (queue.depth, queue.oldest_seconds(), queue.longest_pass_seconds()) == (0, 0.0, 0.0)
