"""Check 1: every pod is replaced under traffic while endpoints lag, and no request is lost.

As with a Deployment, a new pod becomes ready, then an old one gets SIGTERM, and the next new one starts while
the old one drains. MediaPipe computes.
"""

import random
from collections.abc import Callable

import pytest

from harness.balancer import Balancer
from harness.pods import Pods, faults
from harness.probers import Poses, probing
from harness.recorder import RecordFigure
from harness.server import ServerProcess
from harness.stub import Slow

SIZE = 2
DELAY, LAGS = 15.0, (0.0, 2.0, 5.0, 10.0)  # seconds
CONTROL_LAG = 5.0
SHORTENED = 5
LEAST, LEAST_ENDING, LEAST_EACH = 400, 40, 100
EVERY_SECONDS = 0.08  # of a prober: leaves the processors time to start pods
SECONDS = 60.0
# wide, because other tests may use the processors too
LIMITS = {"hang_limit_ms": 30_000, "deadline_ms": 40_000}

Start = Callable[..., ServerProcess]
Fleet = list[ServerProcess]


def replace_all(pods: Pods, fleet: Fleet, *, lag: float, delay: float) -> Fleet:
    """Roll once, and wait until the old pods have exited with 0; the new pods."""
    successors: Fleet = []
    for old in fleet:
        successors += pods.launch(1)
        pods.terminate(old, lag_seconds=lag)
    pods.wait_served(successors, 1)
    pods.wait_ended(fleet, delay_seconds=delay)
    return successors


@pytest.mark.acceptance(1)
@pytest.mark.timeout(240)
@pytest.mark.usefixtures("full_model")
def test_a_rolling_update_loses_nothing(
    start: Start, rng: random.Random, record_figure: RecordFigure, long_run: bool
) -> None:
    factor, limits = (1, {}) if long_run else (SHORTENED, LIMITS)
    delay = DELAY / factor
    settings = {"drain_delay_ms": int(delay * 1000), **limits}
    with Balancer(random.Random(rng.random())) as balancer:
        pods = Pods(balancer, lambda: start(ready=False, **settings))
        fleet = pods.launch(SIZE)
        with probing(balancer.address, Poses, every_seconds=EVERY_SECONDS) as traffic:
            for lag in LAGS:
                pods.wait_served(fleet, 1)
                fleet = replace_all(pods, fleet, lag=lag / factor, delay=delay)
            fleet[0].wait_until(lambda: len(traffic.asked) >= LEAST, f"asked {LEAST} times", SECONDS)
        answers = balancer.answers
        pods.interrupt(fleet)

    assert faults(pods, traffic) == []
    begins = pods.terminated_at.values()
    meanwhile = sum(any(0 <= one.started - begin <= delay for begin in begins) for one in answers)
    of_ending = {answer.id for answer in answers if pods.is_of_ending(answer)}
    moved = [one for one in traffic.asked if one.kept and one.last and one.id in of_ending]
    bar = "0" if long_run else f"0 (shortened: drain delay {DELAY:g} s and lags a {SHORTENED}th)"
    shown = f"{traffic.count(kept=False)} on new, {traffic.count(kept=True)} on kept connections"
    record_figure(
        "failed requests, endpoints lag 0, 2, 5, 10 s", len(traffic.failures), bar=bar, sample=shown
    )
    record_figure(
        "requests while pods ended",
        meanwhile,
        bar=f">= {LEAST_ENDING}",
        sample=f"{len(of_ending)} served by these",
    )
    # that it was put to the test
    assert len(pods.terminated_at) == SIZE * len(LAGS)
    assert meanwhile >= LEAST_ENDING
    assert len(of_ending) >= len(LAGS)
    assert moved, "no kept connection was on a pod that ended"
    assert min(traffic.count(kept=True), traffic.count(kept=False)) >= LEAST_EACH
    assert len(answers) >= LEAST


@pytest.mark.acceptance(1)
@pytest.mark.control
def test_without_a_drain_delay_a_rolling_update_loses_requests(start: Start, rng: random.Random) -> None:
    lag = CONTROL_LAG / SHORTENED
    with Balancer(random.Random(rng.random())) as balancer:
        pods = Pods(balancer, lambda: start(ready=False, engine="stub", drain_delay_ms=0))
        fleet = pods.launch(SIZE)
        with probing(balancer.address, lambda number: Slow(10, f"prober {number}")) as traffic:
            pods.wait_served(fleet, 1)
            successors = replace_all(pods, fleet, lag=lag, delay=0)
            for old in fleet:
                pods.wait_dropped(old, SECONDS)
            pods.wait_served(successors, 1)
        pods.interrupt(successors)
    lost = [answer for answer in balancer.answers if answer.status != 200]
    assert traffic.failures, "nothing was lost: the check beside this proves nothing"
    assert {answer.pid for answer in lost} <= {old.pid for old in fleet}
    assert faults(pods, traffic) != []
