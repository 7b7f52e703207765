"""What the autoscaler remembers: ticks, needs, the service time, and the hold time."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.simulated_pods import OBJECTIVE
from posecluster_operator.scaling.policy import WINDOWS
from posecluster_operator.scaling.policy.demand import Demand, Interval
from posecluster_operator.scaling.policy.history import (
    ASSUMED_SERVICE_SECONDS,
    NEED_STEP,
    History,
    Need,
    Tick,
    arrivals_within,
    highest_need,
    hold_now,
    is_partial,
    late_permille,
    lowered,
    need_now,
    observe,
    raised,
    remember,
    service_seconds,
)

GAP_SECONDS, RATE_SECONDS = WINDOWS.gap_seconds, WINDOWS.rate_seconds

pytestmark = pytest.mark.unit

HOLDS = {"hold_seconds": 60.0, "max_hold_seconds": 300.0}


def demand(rate: float = 0.0, *, service: float = 0.03, measured: int = 1, **fields: object) -> Demand:
    values: dict[str, object] = {
        "arrivals_per_second": rate,
        "refused_per_second": 0.0,
        "completed": rate,
        "busy_seconds": rate * service,
        "queued": 0.0,
        "running": 0.0,
        "late_per_second": 0.0,
        "measured": measured,
        "new": 0,
        "readable": measured,
    }
    return Demand(**(values | fields))  # type: ignore[arg-type]


def watched(seconds: int, rate: float, history: History | None = None, *, now: float = 0.0) -> History:
    history = history or History()
    for second in range(seconds):
        history = observe(now + second, demand(rate), history, complete=True)
    return history


# ---- ticks


def test_arrivals_of_the_last_seconds_are_the_newest_ticks() -> None:
    ticks = tuple(Tick(at=float(at), seconds=1.0, arrivals=float(at)) for at in range(1, 31))
    assert arrivals_within(ticks, 1.0) == (30.0, 1.0)
    assert arrivals_within(ticks, 4.0) == (30.0 + 29.0 + 28.0 + 27.0, 4.0)
    assert arrivals_within(ticks[:2], 4.0) == (3.0, 2.0)
    assert arrivals_within((), 4.0) == (0.0, 0.0)


def test_only_as_many_ticks_are_stored_as_the_rate_needs() -> None:
    history = watched(500, 10.0)
    assert len(history.ticks) <= RATE_SECONDS + 1
    assert arrivals_within(history.ticks, RATE_SECONDS) == (10.0 * RATE_SECONDS, RATE_SECONDS)


@given(st.integers(2, 9), st.floats(0, 50), st.floats(0, 50))
def test_requests_to_a_silent_pod_are_counted_once_it_answers(silent: int, rate: float, other: float) -> None:
    """Two pods; one answers again after some seconds, and reports its arrivals since."""
    whole, partly = watched(20, rate + other), watched(20, rate + other)
    for second in range(20, 20 + silent):
        whole = observe(float(second), demand(rate + other, measured=2), whole, complete=True)
        partly = observe(float(second), demand(rate), partly, complete=False, missing=1)
    assert any(tick.missing for tick in partly.ticks)
    now = 20.0 + silent
    whole = observe(now, demand(rate + other, measured=2), whole, complete=True)
    told = Interval(since=18.9, arrivals_per_second=other, late_per_second=0.0)
    late = demand(rate + other, measured=2, overdue=(told,))
    partly = observe(now, late, partly, complete=True)
    assert [tick.arrivals for tick in partly.ticks] == pytest.approx([tick.arrivals for tick in whole.ticks])
    assert not any(tick.missing for tick in partly.ticks)


def test_a_gap_discards_the_ticks_and_restarts_the_window() -> None:
    history = watched(60, 10.0)
    short = observe(59.0 + GAP_SECONDS, demand(10.0), history, complete=True)
    long = observe(60.0 + GAP_SECONDS, demand(10.0), history, complete=True)
    assert (len(short.ticks) > 1, short.watched_since) == (True, 0.0)
    assert (len(long.ticks), long.watched_since) == (1, 60.0 + GAP_SECONDS)


def test_a_partial_view_that_lasts_is_a_gap_too() -> None:
    history = watched(60, 10.0)
    for second in range(60, 75):
        assert is_partial(float(second), history) == (second > 59 + GAP_SECONDS)
        history = observe(float(second), demand(5.0), history, complete=False, missing=1)
    again = observe(75.0, demand(10.0), history, complete=True)
    assert again.watched_since == 75.0
    assert not is_partial(75.0, again)


def test_late_requests_are_a_share_of_the_arrivals() -> None:
    ticks = (Tick(at=1.0, seconds=1.0, arrivals=90.0), Tick(at=2.0, seconds=1.0, arrivals=10.0, late=5.0))
    assert late_permille(ticks) == 50
    assert late_permille(()) == 0
    assert late_permille((Tick(at=1.0, seconds=1.0, arrivals=1.0, late=9.0),)) == 1000


# ---- the service time


@pytest.mark.parametrize("rate", [0.5, 1.0, 4.0, 300.0])
@pytest.mark.parametrize("service", [0.005, 0.05, 2.0])
def test_the_service_time_is_learnt_at_any_rate(rate: float, service: float) -> None:
    history = History()
    assert service_seconds(history) == ASSUMED_SERVICE_SECONDS
    for second in range(60):
        history = observe(float(second), demand(rate, service=service), history, complete=True)
    assert service_seconds(history) == pytest.approx(service)


def test_one_answer_hardly_changes_the_estimated_service_time() -> None:
    odd = demand(1.0, service=5.0)
    assert service_seconds(observe(0.0, odd, History(), complete=True)) == ASSUMED_SERVICE_SECONDS
    known = watched(60, 50.0)
    after = service_seconds(observe(60.0, odd, known, complete=True))
    assert service_seconds(known) < after < 3 * service_seconds(known)


def test_a_service_time_that_changes_is_followed() -> None:
    history = watched(60, 50.0)
    for second in range(60, 120):
        history = observe(float(second), demand(50.0, service=0.3), history, complete=True)
    assert service_seconds(history) == pytest.approx(0.3, rel=0.05)


# ---- needs

times = st.lists(st.floats(0.0, 20.0), min_size=1, max_size=40)
pods = st.floats(0.0, 100.0)


@given(st.lists(st.tuples(st.floats(0.0, 20.0), pods), min_size=1, max_size=60), st.sampled_from([0.0, 60.0]))
def test_the_highest_need_is_that_of_all_within_the_hold(
    steps: list[tuple[float, float]], hold: float
) -> None:
    """Only the falling staircase is kept, and that must be enough."""
    now, needs, every = 0.0, (), []
    for seconds, wanted in steps:
        now += seconds
        every.append(Need(at=now, pods=wanted))
        needs = remember(needs, every[-1], oldest=now - 300.0)
        found = highest_need(needs, now=now, hold_seconds=hold, max_hold_seconds=300.0)
        highest = max(need.pods for need in every if now - need.at <= hold)
        assert highest <= found.pods <= highest + NEED_STEP * max(1.0, found.pods) + 1e-9
    assert all(one.pods > other.pods for one, other in pairwise(needs))


@pytest.mark.parametrize(
    ("hold", "most", "held"),
    [(60.0, 300.0, True), (60.0, 60.0, False), (10.0, 300.0, False), (20.0, 300.0, True)],
)
def test_a_burst_is_held_longer(hold: float, most: float, held: bool) -> None:
    needs = (Need(at=0.0, pods=9.0, burst=True), Need(at=100.0, pods=1.0))
    found = highest_need(needs, now=100.0, hold_seconds=hold, max_hold_seconds=most)
    assert found.pods == (9.0 if held else 1.0)


def ticks(rates: list[float]) -> tuple[Tick, ...]:
    return tuple(Tick(at=float(at), seconds=1.0, arrivals=rate) for at, rate in enumerate(rates))


@given(st.lists(st.floats(0, 500), min_size=1, max_size=20), st.data())
def test_more_arrivals_never_want_fewer_pods(rates: list[float], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(rates) - 1))
    more = [rate + 50.0 * (number == index) for number, rate in enumerate(rates)]
    one, other = (
        need_now(ticks(some), OBJECTIVE, service_seconds=0.033, queued=0.0) for some in (rates, more)
    )
    assert other[0] >= one[0] - 1e-9  # the steady need


def test_what_is_queued_is_demand_too() -> None:
    empty, full = (
        need_now(ticks([50.0] * int(RATE_SECONDS)), OBJECTIVE, service_seconds=0.033, queued=queued)[0]
        for queued in (0.0, 500.0)
    )
    assert full > empty


def test_what_a_restarted_operator_finds_is_no_burst() -> None:
    """The same steady load wants the same pods, from the first second that it is known."""
    wanted = [
        max(need_now(ticks([300.0] * seconds), OBJECTIVE, service_seconds=0.033, queued=0.0))
        for seconds in range(1, int(RATE_SECONDS) + 1)
    ]
    assert max(wanted) == pytest.approx(wanted[-1], rel=0.25)


# ---- how long to hold


def test_a_step_up_soon_after_one_down_doubles_the_hold_and_a_late_one_does_not() -> None:
    down = lowered(1000.0, History(), max_hold_seconds=300.0)
    assert hold_now(raised(1000.0 + 299.0, down, **HOLDS), **HOLDS) == 120.0
    assert hold_now(raised(1000.0 + 301.0, down, **HOLDS), **HOLDS) == hold_now(down, **HOLDS) == 60.0
    assert raised(1000.0, History(), **HOLDS) == History()


def test_the_hold_stays_between_its_bounds_and_shrinks_when_a_step_down_stands() -> None:
    history = History()
    for step in range(6):
        down = lowered(100.0 * step, history, max_hold_seconds=300.0)
        history = raised(100.0 * step + 50, down, **HOLDS)
    assert hold_now(history, **HOLDS) == 300.0
    seconds = []
    for step in range(1, 6):
        before = replace(history, lowered_at=history.lowered_at or 0.0)
        history = lowered(10_000.0 * step, before, max_hold_seconds=300.0)
        seconds.append(hold_now(history, **HOLDS))
    assert seconds == [240.0, 120.0, 60.0, 60.0, 60.0]


def test_a_changed_hold_takes_effect_immediately() -> None:
    doubled = History(doublings=1)
    assert hold_now(doubled, hold_seconds=30.0, max_hold_seconds=300.0) == 60.0
    assert hold_now(History(), hold_seconds=30.0, max_hold_seconds=300.0) == 30.0
    assert hold_now(doubled, hold_seconds=0.0, max_hold_seconds=300.0) == 20.0


def test_a_long_hold_remembers_some_hundred_needs_at_most() -> None:
    needs: tuple[Need, ...] = ()
    for second in range(20_000):
        wanted = 200.0 * (1.0 - second / 20_000)
        needs = remember(needs, Need(at=float(second), pods=wanted), oldest=-1.0)
        assert wanted <= needs[-1].pods <= wanted + 0.02 * max(1.0, needs[-1].pods)
    assert len(needs) < 400
