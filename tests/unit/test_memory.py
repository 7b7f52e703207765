"""The memory watch reports tight and short memory; the workers' shares fit the limit."""

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posecluster_inference.machine.cgroup import Cgroup, MemoryUse
from posecluster_inference.machine.cpu import resident_bytes
from posecluster_inference.machine.memory import MemoryWatch, worker_share_bytes

MIB = 1 << 20
NOWHERE = Cgroup(Path("/nonexistent"))


@pytest.mark.parametrize(
    ("use", "tight", "short"),
    [
        (None, False, False),
        (MemoryUse(10**9, None), False, False),
        (MemoryUse(919, 1_000), False, False),
        (MemoryUse(920, 1_000), True, False),
        (MemoryUse(949, 1_000), True, False),
        (MemoryUse(950, 1_000), True, True),
        (MemoryUse(1_200, 1_000), True, True),
    ],
    ids=str,
)
def test_memory_is_tight_at_92_percent_and_short_at_95(
    use: MemoryUse | None, tight: bool, short: bool
) -> None:
    watch = MemoryWatch(NOWHERE, use)
    assert (watch.is_tight, watch.is_short) == (tight, short)


def test_under_a_limit_the_group_is_described() -> None:
    watch = MemoryWatch(NOWHERE, MemoryUse(7, 1_000))
    assert watch.describe(process_bytes=3) == {"used_bytes": 7, "limit_bytes": 1_000}


@pytest.mark.parametrize("use", [None, MemoryUse(7, None)])
def test_without_a_limit_our_processes_and_the_machine_are_described(use: MemoryUse | None) -> None:
    described = MemoryWatch(NOWHERE, use).describe(process_bytes=1_000 * MIB)
    assert 1_000 * MIB + MIB < described["used_bytes"] < 1_000 * MIB + 10 * resident_bytes()
    assert described["limit_bytes"] > 100 * MIB


async def test_the_watch_follows_the_group(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("1000")
    watch = MemoryWatch(Cgroup(tmp_path))
    running = asyncio.create_task(watch.run())
    async with asyncio.timeout(5):
        for used in (10, 990):
            (tmp_path / "memory.current").write_text(str(used))
            while watch.use != MemoryUse(used, 1_000):  # noqa: ASYNC110 (a thread reads)
                await asyncio.sleep(0.005)
    assert watch.is_short
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


def test_a_worker_has_two_gib_where_nothing_is_limited() -> None:
    assert worker_share_bytes(None, 4) == 2 << 30


@given(limit_mib=st.integers(1, 1 << 20), workers=st.integers(1, 64))
def test_all_workers_fit_the_limit_once_it_allows_each_a_picture(limit_mib: int, workers: int) -> None:
    share = worker_share_bytes(limit_mib * MIB, workers)
    whole = 110 * MIB + workers * (140 * MIB + share)
    assert share >= 128 * MIB
    assert whole <= limit_mib * MIB or share == 128 * MIB


def test_one_gib_leaves_two_workers_317_mib_each() -> None:
    """1 GiB less 110 MiB for the server, halved, less 140 MiB that a warm worker has already."""
    assert worker_share_bytes(1 << 30, 2) == 317 * MIB
    assert worker_share_bytes(256 * MIB, 2) == 128 * MIB


def test_more_limit_never_means_a_smaller_share() -> None:
    shares = [worker_share_bytes(mib * MIB, 2) for mib in (256, 512, 1_024, 2_048, 4_096)]
    assert shares == sorted(shares)
    assert shares[-1] > shares[0]
