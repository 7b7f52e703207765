"""Row K-15: a wall clock that jumps changes only dates; an operator that was suspended continues."""

import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from harness.kubernetes.api import Api
from harness.kubernetes.changed_operator import WallClock
from harness.kubernetes.facts import assert_quiet, wait_quiet, wait_rolled_out
from harness.kubernetes.operator import OperatorProcess
from harness.kubernetes.player import Player
from harness.kubernetes.proxy import FaultProxy
from harness.kubernetes.waiting import Json, conditions, posecluster
from harness.recorder import RecordFigure

LONG = os.environ.get("POSECLUSTER_LONG") == "1"
HOUR = 3_600
# longer than the Lease holds either way
SLEEP_SECONDS, LEASE_SECONDS = (90.0, 15) if LONG else (9.0, 5)
BACK_SECONDS = 15.0


@pytest.fixture
def clock(tmp_path: Path) -> Iterator[WallClock]:
    """The operator's wall clock; right when the test ends."""
    made = WallClock(tmp_path / "clock")
    yield made
    made.shift(0)


def ahead_seconds(text: str) -> float:
    """By how much a time that the operator wrote is ahead of this process's clock."""
    return (datetime.fromisoformat(text) - datetime.now(UTC)).total_seconds()


def newest_transition(item: Json) -> float:
    return max(ahead_seconds(one["lastTransitionTime"]) for one in conditions(item).values())


@pytest.mark.hostile("K-15")
def test_a_wall_clock_that_jumps_moves_nothing_but_dates(
    api: Api,
    namespace: str,
    player: Player,
    proxy: FaultProxy,
    start_operator: Callable[..., OperatorProcess],
    clock: WallClock,
    record_figure: RecordFigure,
) -> None:
    operator = start_operator(resync_seconds=1, env=clock.env)
    api.create(posecluster("before", namespace))
    wait_rolled_out(api, namespace, "before")
    transitions = api.list("leases", namespace)[0]["spec"]["leaseTransitions"]
    slowest = 0.0
    for shift in (HOUR, -HOUR, 0):
        wait_quiet(operator, proxy)
        clock.shift(shift)
        assert_quiet(operator, proxy)  # neither a write nor a rush of passes
        name = f"at{shift}".replace("-", "minus-")
        begin = time.monotonic()
        api.create(posecluster(name, namespace))
        made = wait_rolled_out(api, namespace, name)
        slowest = max(slowest, time.monotonic() - begin)
        assert abs(newest_transition(made) - shift) < HOUR / 4  # the clock did jump
        assert operator.leader()
        assert abs(ahead_seconds(api.list("leases", namespace)[0]["spec"]["renewTime"]) - shift) < HOUR / 4
    # a condition that stays has the date that it had, however wrong that now is
    first = api.get("poseclusters", namespace, "before")
    assert abs(newest_transition(first)) < HOUR / 4
    assert api.list("leases", namespace)[0]["spec"]["leaseTransitions"] == transitions
    assert operator.probe("/livez") == 200
    record_figure(
        "jumps of the wall clock: slowest creation to Ready", slowest, bar="<= 30 s", unit="s", sample=3
    )


@pytest.mark.hostile("K-15")
def test_an_operator_that_slept_goes_on(
    api: Api,
    namespace: str,
    player: Player,
    proxy: FaultProxy,
    start_operator: Callable[..., OperatorProcess],
    record_figure: RecordFigure,
) -> None:
    operator = start_operator(resync_seconds=1, lease_seconds=LEASE_SECONDS)
    api.create(posecluster("before", namespace))
    wait_rolled_out(api, namespace, "before")
    wait_quiet(operator, proxy)
    operator.stop()
    since = time.monotonic()
    api.create(posecluster("meanwhile", namespace))
    api.delete("services", namespace, "before-pose")
    time.sleep(SLEEP_SECONDS)
    assert proxy.writes(since=since, lease=True) == []  # it did sleep
    woken = time.monotonic()
    operator.resume()
    wait_rolled_out(api, namespace, "meanwhile", BACK_SECONDS)
    api.wait_until(lambda: api.find("services", namespace, "before-pose"), BACK_SECONDS, "the Service again")
    took = time.monotonic() - woken
    # no other holder wrote the Lease, so it is still valid; but it is written before anything else
    calls = proxy.writes(since=woken, lease=True)
    assert calls[0].resource == "leases"
    assert operator.leader()
    # its loop was late by all that time, which the probe may see once
    api.wait_until(lambda: operator.probe("/livez") == 200, 5.0, "live")
    record_figure(
        f"work taken up after {SLEEP_SECONDS:.0f} s asleep", took, bar=f"<= {BACK_SECONDS:.0f} s", unit="s"
    )
