"""Check 2: the size goes up and down under traffic, and no request is lost.

Pods are real servers behind a balancer that removes a terminating one only after a lag. The stub
engine sleeps, so that capacity depends on the number of workers; with POSECLUSTER_LONG=1 MediaPipe computes.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.balancer import Balancer
from harness.load import closed_loop
from harness.pods import Pods, faults, idlest_first
from harness.probers import Poses, Questions, probing
from harness.recorder import RecordFigure
from harness.server import ServerProcess
from harness.stub import DETECT, Slow, inferences

GATED = "gated_engine:GatedEngine"
SERVICE_MS = 20
SIZE, ROUNDS = 4, 3
NEW = KEPT = 4  # probers
SHARE = 0.7  # of what one pod can do
LEAST = 400
ALONE = 20  # requests that the last pod answers before the others come back
EACH = 4  # requests that every pod answers before the size falls
SECONDS = 60.0

Start = Callable[..., ServerProcess]
Fleet = list[ServerProcess]


@dataclass(frozen=True, slots=True)
class Times:
    """In seconds. `age`: a pod closes a connection after it, so that kept ones reach the new pods."""

    delay: float
    lag: tuple[float, float]
    age: float
    measure: float

    @property
    def settings(self) -> dict[str, int]:
        """As the server takes them."""
        return {"drain_delay_ms": int(self.delay * 1000), "connection_age_ms": int(self.age * 1000)}

    def __str__(self) -> str:
        low, high = self.lag
        return f"drain delay {self.delay:g} s, endpoint lag {low:g}-{high:g} s, connections {self.age:g} s"


SHORT = Times(delay=3.0, lag=(1.0, 2.0), age=2.0, measure=3.0)
LONG = Times(delay=15.0, lag=(5.0, 10.0), age=10.0, measure=5.0)


def stub_questions(prober: int) -> Questions:
    return Slow(SERVICE_MS, f"prober {prober}")


async def capacity_of(pod: ServerProcess, questions: Questions, seconds: float) -> tuple[float, int]:
    """Answers a second of a pod that is never idle, and how many there were."""
    load = await closed_loop(pod.url + DETECT, questions.picture, clients=4, seconds=seconds)
    assert set(load.statuses) == {200}, load.summary()
    return load.goodput, len(load.outcomes)


def scale_in_and_out(pods: Pods, fleet: Fleet, times: Times, rng: random.Random) -> Fleet:
    """From all to one and back: the idlest go; the next come when these have ended. The pods afterwards."""
    before = {pod.pid: pod.metrics("arrivals_total") for pod in fleet}
    pods.wait_served(fleet, EACH)
    *going, last = idlest_first(fleet, before)
    for pod in going:
        pods.terminate(pod, lag_seconds=rng.uniform(*times.lag))
    pods.wait_ended(going, delay_seconds=times.delay)
    assert pods.balancer.pods == (last,)
    pods.wait_served([last], ALONE)
    return [last, *pods.launch(SIZE - 1)]


@pytest.mark.acceptance(2)
@pytest.mark.timeout(240)
def test_scaling_loses_nothing(
    start: Start,
    rng: random.Random,
    tmp_path: Path,
    record_figure: RecordFigure,
    long_run: bool,
    request: pytest.FixtureRequest,
) -> None:
    times, log = LONG if long_run else SHORT, tmp_path / "work"
    questions: Callable[[int], Questions] = Poses if long_run else stub_questions
    settings: dict[str, Any] = dict(times.settings)
    if long_run:
        request.getfixturevalue("full_model")
    else:
        settings |= {"engine": "stub", "env": {"STUB_LOG": str(log)}}

    with Balancer(random.Random(rng.random())) as balancer:
        pods = Pods(balancer, lambda: start(ready=False, **settings))
        fleet = pods.launch(SIZE)
        capacity, computed = asyncio.run(capacity_of(fleet[0], questions(NEW + KEPT), times.measure))
        every, begun = (NEW + KEPT) / (SHARE * capacity), time.monotonic()
        with probing(balancer.address, questions, new=NEW, kept=KEPT, every_seconds=every) as traffic:
            for _ in range(ROUNDS):
                fleet = scale_in_and_out(pods, fleet, times, rng)
            pods.wait_served(fleet, EACH)
            fleet[0].wait_until(lambda: len(traffic.asked) >= LEAST, f"asked {LEAST} times", SECONDS)
        share = len(traffic.asked) / (time.monotonic() - begun) / capacity
        answers = balancer.answers
        pods.interrupt(fleet)

    assert faults(pods, traffic) == []
    if not long_run:
        assert inferences(log).total() == computed + len(answers), "computed twice, or not at all"
    bar = f"0 failed, each answered once (shortened: {times})" if times is SHORT else "0 failed"
    shown = f"{traffic.count(kept=False)} on new, {traffic.count(kept=True)} on kept connections"
    record_figure("failed requests, 4-1-4 three times", len(traffic.failures), bar=bar, sample=shown)
    record_figure("traffic in capacities of one pod", share, bar=f"{SHARE} meant", sample=len(answers))
    # that it was put to the test
    removed = set(pods.terminated_at)
    served = Counter(answer.pid for answer in answers if not pods.is_of_ending(answer))
    of_ending = {answer.id for answer in answers if pods.is_of_ending(answer)}
    moved = [one for one in traffic.asked if one.kept and one.last and one.id in of_ending]
    record_figure(
        "served by pods after their SIGTERM", len(of_ending), bar=">= 9", sample=f"{len(removed)} pods"
    )
    assert len(removed) == ROUNDS * (SIZE - 1)
    assert min(served[pid] for pid in removed) >= EACH
    assert len(of_ending) >= len(removed)
    assert moved, "no kept connection was on a pod that ended"
    assert min(traffic.count(kept=True), traffic.count(kept=False)) >= LEAST / 4
    assert len(answers) >= LEAST


@pytest.mark.acceptance(2)
@pytest.mark.control
def test_without_a_drain_delay_scaling_in_loses_requests(start: Start, rng: random.Random) -> None:
    with Balancer(random.Random(rng.random())) as balancer:
        pods = Pods(balancer, lambda: start(ready=False, engine="stub", drain_delay_ms=0))
        fleet = pods.launch(2)
        with probing(balancer.address, stub_questions) as traffic:
            pods.wait_served(fleet, EACH)
            pods.terminate(fleet[0], lag_seconds=SHORT.lag[0])
            pods.wait_dropped(fleet[0], SECONDS)
            pods.wait_served(fleet[1:], EACH)
        pods.interrupt(fleet[1:])
    lost = [answer for answer in balancer.answers if answer.status != 200]
    assert traffic.failures, "nothing was lost: the check beside this proves nothing"
    assert {answer.pid for answer in lost} == {fleet[0].pid}
    assert all(pods.is_of_ending(answer) for answer in lost)
    assert faults(pods, traffic) != []


@pytest.mark.acceptance(2)
@pytest.mark.control
def test_a_pod_with_traffic_before_it_is_ready_loses_requests(
    start: Start, rng: random.Random, tmp_path: Path
) -> None:
    (tmp_path / "closed").touch()
    with Balancer(random.Random(rng.random())) as balancer:
        pods = Pods(balancer, lambda: start(engine="stub"))
        pods.launch(1)
        early = start(engine=GATED, env={"GATE": str(tmp_path)}, ready=False)
        balancer.add(early)
        with probing(balancer.address, stub_questions) as traffic:
            early.wait_until(lambda: balancer.served(early) > 0, "asked", SECONDS)
    assert {one.reason for one in traffic.failures} == {"starting"}
    assert [one for one in faults(pods, traffic) if one.startswith("too early")] != []
