"""A caller gets its burst and its rate, never more, and takes nothing from others; the table is bounded."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.recorder import RecordFigure
from posecluster_inference.server.detection import quota
from posecluster_inference.server.detection.quota import Quota

TABLE = 10_000
CALLERS = 100_000
LIMIT_MIB = 10

rates = st.integers(1, 10_000)
bursts = st.integers(1, 50)
pauses = st.lists(st.floats(0, 120, allow_subnormal=False), max_size=60)


def _caller(number: int) -> str:
    return f"2001:0db8:0000:0000:0000:0000:{number >> 16:04x}:{number & 0xFFFF:04x}"


def _fill(table: Quota) -> float:
    """MiB that `CALLERS` callers of one request each leave in the table."""
    tracemalloc.start()
    try:
        for number in range(CALLERS):
            table.take(_caller(number), 0.001 * number)
        return tracemalloc.get_traced_memory()[0] / (1 << 20)
    finally:
        tracemalloc.stop()


def test_an_expensive_request_uses_as_much_as_several() -> None:
    table = Quota(per_minute=60, burst=10)
    assert table.take("a", 0.0).remaining == 9
    table.charge("a", 12)
    later = [table.take("a", second) for second in (0.0, 3.9, 4.1)]
    assert [one.allowed for one in later] == [False, False, True]
    assert later[0].remaining == 0
    assert later[0].retry_after_seconds == 4
    assert table.take("b", 0.0).remaining == 9


def test_what_a_caller_owes_is_bounded() -> None:
    table = Quota(per_minute=60, burst=10)
    for _ in range(5):
        table.take("a", 0.0)
        table.charge("a", 1_000_000)
    assert table.take("a", 0.0).retry_after_seconds == 11


def test_a_burst_passes_and_the_next_request_gets_retry_after() -> None:
    table = Quota(per_minute=30, burst=3)
    remaining = [table.take("a", 100.0) for _ in range(4)]
    assert [allowance.allowed for allowance in remaining] == [True, True, True, False]
    assert [allowance.remaining for allowance in remaining] == [2, 1, 0, 0]
    assert [allowance.full_in_seconds for allowance in remaining] == [2, 4, 6, 6]
    assert remaining[-1].retry_after_seconds == 2


def test_the_rate_is_per_minute() -> None:
    table = Quota(per_minute=50, burst=10)
    granted = sum(table.take("a", 0.01 * step).allowed for step in range(6_010))
    assert granted == 60  # a minute's 50 on top of the burst


def test_a_greedy_caller_takes_nothing_from_a_polite_one() -> None:
    table = Quota(per_minute=60, burst=2)
    polite = []
    for second in range(100):
        greedy = [table.take("greedy", float(second)).allowed for _ in range(10)]
        assert sum(greedy) <= 2
        polite.append(table.take("polite", float(second)).allowed)
    assert all(polite)


@given(per_minute=rates, burst=bursts, pauses=pauses)
def test_no_stretch_of_time_grants_more_than_burst_and_rate(
    per_minute: int, burst: int, pauses: list[float]
) -> None:
    table, now, grants = Quota(per_minute, burst), 1_000.0, []
    for pause in [0.0, *pauses]:
        now += pause
        if table.take("a", now).allowed:
            grants.append(now)
    for first, start in enumerate(grants):
        for last, end in enumerate(grants[first:], first):
            assert last - first + 1 <= burst + (end - start) * per_minute / 60 + 1e-6


@given(per_minute=rates, burst=bursts, pauses=pauses)
def test_retry_after_of_the_quota_is_correct(per_minute: int, burst: int, pauses: list[float]) -> None:
    table, now = Quota(per_minute, burst), 1_000.0
    for pause in [0.0, *pauses]:
        now += pause
        allowance = table.take("a", now)
        assert 0 <= allowance.remaining < burst
        assert 1 <= allowance.full_in_seconds <= burst * 60 / per_minute + 1
        assert 1 <= allowance.retry_after_seconds <= 60
    more = [table.take("a", now).allowed for _ in range(allowance.remaining)]
    assert all(more)
    refused = table.take("a", now)
    assert not refused.allowed
    assert table.take("a", now + refused.retry_after_seconds + 1e-6).allowed


@given(per_minute=rates, burst=bursts)
def test_the_bucket_is_full_at_the_announced_time(per_minute: int, burst: int) -> None:
    table = Quota(per_minute, burst)
    for _ in range(burst):
        allowance = table.take("a", 5.0)
    assert table.take("a", 5.0 + allowance.full_in_seconds + 1e-6).remaining == burst - 1


def test_the_policy_names_the_rate_and_its_window() -> None:
    assert Quota(per_minute=50, burst=10).policy == '"default";q=50;w=60'


def test_the_table_keeps_those_that_asked_last() -> None:
    table = Quota(per_minute=1, burst=1)
    for number in range(TABLE):
        table.take(_caller(number), 0.0)
    table.take(_caller(0), 0.0)
    table.take("one more", 0.0)
    assert not table.take(_caller(0), 0.0).allowed
    assert not table.take(_caller(2), 0.0).allowed
    assert table.take(_caller(1), 0.0).allowed, "evicted, so it starts again"


@pytest.mark.acceptance(39)
def test_a_hundred_thousand_callers_take_little_memory(record_figure: RecordFigure) -> None:
    table = Quota(per_minute=1, burst=1)
    used = _fill(table)
    record_figure("quota table", round(used, 1), bar=f"<= {LIMIT_MIB} MiB", unit="MiB", sample=CALLERS)
    assert used <= LIMIT_MIB
    assert not table.take(_caller(CALLERS - TABLE), 0.001 * CALLERS).allowed, "the last 10,000 are known"


@pytest.mark.acceptance(39)
@pytest.mark.control
def test_an_unbounded_table_would_take_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quota, "_CALLERS", CALLERS)
    assert _fill(Quota(per_minute=1, burst=1)) > LIMIT_MIB
