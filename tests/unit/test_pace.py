"""A body may be slow but must make progress: a minimum rate and a total time limit apply."""

from collections.abc import Iterator

import pytest

from posecluster_inference.server.http.pace import Pace, Progress

KB = 1_000
DEFAULT = Pace(50 * KB, 60.0)


def steady(bytes_per_second: int, every: float = 0.1, begin: float = 0.0) -> Iterator[tuple[float, int]]:
    """Endless times at which bytes arrive, and how many."""
    step = 1
    while True:
        yield begin + step * every, round(bytes_per_second * every)
        step += 1


def given_up(arrivals: Iterator[tuple[float, int]], size: int, pace: Pace = DEFAULT) -> float | None:
    """When the sender of a body of this size is given up; None if all of it arrives."""
    progress = Progress(pace, 0.0)
    for now, count in arrivals:
        if now > progress.deadline:
            return progress.deadline
        size -= count
        if size <= 0:
            return None
        progress.received(count, now)
    return progress.deadline


@pytest.mark.parametrize(
    ("bytes_per_second", "size"),
    [(250 * KB, 5_000 * KB), (175 * KB, 10_000 * KB), (50 * KB, 2_990 * KB), (1 * KB, 9 * KB)],
)
def test_a_steady_upload_passes(bytes_per_second: int, size: int) -> None:
    assert given_up(steady(bytes_per_second), size) is None


@pytest.mark.parametrize(
    ("bytes_per_second", "earliest", "latest"), [(100, 10, 11), (10 * KB, 12, 13), (50 * KB, 60, 60)]
)
def test_a_slow_upload_is_ended(bytes_per_second: int, earliest: float, latest: float) -> None:
    ended = given_up(steady(bytes_per_second), 10_000 * KB)
    assert ended is not None
    assert earliest <= ended <= latest


@pytest.mark.parametrize("burst", [100 * KB, 5_000 * KB])
def test_a_burst_does_not_pay_for_a_pause(burst: int) -> None:
    ended = given_up(iter([(0.5, burst)]), 10_000 * KB)
    assert ended is not None
    assert 10 <= ended <= 11


def test_a_pause_on_a_fast_enough_line_is_forgiven() -> None:
    def arrivals() -> Iterator[tuple[float, int]]:
        yield 2.0, 1_000 * KB
        yield from steady(100 * KB, begin=11.0)

    assert given_up(arrivals(), 2_000 * KB) is None


def test_without_a_rate_only_the_whole_time_counts() -> None:
    pace = Pace(0, 30.0)
    assert given_up(iter([(29.0, 1)]), 1, pace) is None
    assert given_up(steady(1, every=1.0), 100, pace) == 30


def test_both_limits_are_named() -> None:
    assert str(DEFAULT) == "50000 bytes a second after the first 10 s, and the whole body within 60 s"
    assert str(Pace(0, 2.5)) == "the whole body within 2.5 s"
