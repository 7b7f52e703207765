"""What `decide` does, case by case; what it must never do is in test_decision_never.py and _limits.py."""

import math
import time
from dataclasses import replace
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.simulated_pods import OBJECTIVE, POLICY, SERVICE_SECONDS, Pods, SimulatedPods, settled
from posecluster_operator.resource.posecluster import ScalingMode
from posecluster_operator.resource.reasons import ScalingReason
from posecluster_operator.scaling.policy import Decision, Policy, Samples, State, decide

pytestmark = pytest.mark.unit

HOLD = int(POLICY.hold_seconds)
FEW = replace(POLICY, min_replicas=2, max_replicas=5)
NOTHING = Samples(replicas=None, ready=0)


def decide_first(policy: Policy, replicas: int | None) -> Decision:
    return decide(0.0, replace(NOTHING, replicas=replicas), State(policy=policy))


# ---- the size before anything is known


@pytest.mark.parametrize(
    ("first", "present", "size", "reason"),
    [
        (1, None, 2, ScalingReason.AT_MINIMUM),
        (4, None, 4, ScalingReason.NO_METRICS),
        (9, None, 5, ScalingReason.AT_MAXIMUM),
        (1, 0, 2, ScalingReason.AT_MINIMUM),
        (1, 3, 3, ScalingReason.NO_METRICS),
        (1, 9, 5, ScalingReason.AT_MAXIMUM),
    ],
)
def test_the_first_size_is_the_specs_then_the_deployments_within_the_bounds(
    first: int, present: int | None, size: int, reason: ScalingReason
) -> None:
    decision = decide_first(replace(FEW, fixed_replicas=first), present)
    assert (decision.replicas, decision.reason) == (size, reason)
    assert decision.blind is ScalingReason.NO_METRICS


def test_a_fixed_size_may_exceed_the_bounds_of_auto() -> None:
    policy = replace(FEW, mode=ScalingMode.FIXED, fixed_replicas=9)
    decision = decide_first(policy, 3)
    assert (decision.replicas, decision.reason) == (9, ScalingReason.FIXED_SIZE)
    assert decision.blind is ScalingReason.FIXED_SIZE


# ---- up


@pytest.mark.parametrize("spread", [0, 3, 29])
def test_a_spike_is_decided_at_the_next_scrape(spread: int) -> None:
    fleet = settled(30.0, replicas=1)
    fleet.run(spread, 30.0)
    need = math.ceil(400.0 * SERVICE_SECONDS)
    assert fleet.replicas < need
    decision = fleet.run(1, 400.0)[0]
    assert decision.replicas >= need
    assert decision.reason is ScalingReason.BURST


def test_a_rate_that_rises_slowly_is_demand_and_no_burst() -> None:
    fleet = settled(30.0)
    raised = []
    for second in range(400):
        before = fleet.replicas
        decision = fleet.size(fleet.pass_second(30.0 + second / 4))
        raised += [decision.reason] if decision.replicas > before else []
    assert set(raised) == {ScalingReason.DEMAND_ROSE}
    assert fleet.replicas >= 130.0 * SERVICE_SECONDS


def test_starting_pods_count_as_ordered() -> None:
    fleet = settled(30.0)
    fleet.start_seconds = 30.0
    raised = fleet.run(1, 300.0)[0]
    again = fleet.run(20, 300.0)
    assert len(fleet.ready) < fleet.replicas
    assert max(decision.replicas for decision in again) <= 2 * raised.replicas
    assert again[-1].reason is ScalingReason.WAITING_FOR_PODS


def test_the_service_time_of_a_slow_model_is_learned_at_a_low_rate() -> None:
    fleet = SimulatedPods(
        service_seconds=0.5, policy=replace(POLICY, objective=replace(OBJECTIVE, latency_seconds=2.0))
    )
    assert fleet.run(120, 20.0)[-1].replicas >= 20.0 * 0.5
    numbers = fleet.run(1, 20.0)[0].numbers
    assert numbers is not None
    assert numbers.service_seconds == pytest.approx(0.5, rel=0.05)


@given(st.floats(0, 2000), st.floats(0, 2000))
def test_more_demand_never_wants_fewer_pods(one: float, other: float) -> None:
    wanted = []
    for rate in sorted((one, other)):
        fleet = SimulatedPods(replicas=5, policy=replace(POLICY, max_replicas=500), start_seconds=1e9)
        wanted.append(fleet.run(6, rate)[-1].replicas)
    assert wanted[0] <= wanted[1]


# ---- down


def test_a_size_is_lowered_after_the_hold_and_not_before() -> None:
    fleet = settled(300.0)
    size = fleet.replicas
    decisions = fleet.run(HOLD - 5, 30.0)
    assert {decision.replicas for decision in decisions} == {size}
    assert decisions[-1].reason is ScalingReason.HOLDING_AFTER_BURST
    later = fleet.run(2 * int(POLICY.max_hold_seconds), 30.0)
    lowered = next(decision for decision in later if decision.replicas < size)
    assert lowered.reason is ScalingReason.DEMAND_FELL
    assert later[-1].replicas < size / 2


@given(
    st.lists(st.tuples(st.integers(1, 40), st.sampled_from([0.0, 30.0, 90.0, 250.0])), min_size=2, max_size=8)
)
def test_no_step_down_goes_below_the_highest_need_of_the_window(load: list[tuple[int, float]]) -> None:
    fleet = settled(90.0)
    needs: list[float] = []
    for seconds, rate in load:
        for _ in range(seconds):
            before = fleet.replicas
            decision = fleet.size(fleet.pass_second(rate))
            assert decision.numbers is not None
            needs.append(max(decision.numbers.steady_pods, decision.numbers.burst_pods))
            if decision.replicas < before:
                assert decision.replicas >= max(needs[-HOLD:])


def test_a_step_down_that_has_to_be_undone_doubles_the_hold_up_to_its_limit() -> None:
    fleet = settled(30.0)
    holds = [fleet.run(1, 30.0)[0].numbers]
    for _ in range(4):
        fleet.run(30, 150.0)
        for _ in range(4 * int(POLICY.max_hold_seconds)):
            before = fleet.replicas
            if fleet.size(fleet.pass_second(30.0)).replicas < before:
                break
        holds.append(fleet.run(1, 150.0)[0].numbers)
    seconds = [numbers.hold_seconds for numbers in holds if numbers is not None]
    assert seconds[0] == POLICY.hold_seconds
    assert sorted(seconds) == seconds
    assert seconds[-1] > seconds[0]
    assert seconds[-1] <= POLICY.max_hold_seconds


# ---- reasons, and when they come and go


def test_reasons_at_rest() -> None:
    assert settled(88.0).run(1, 88.0)[0].reason is ScalingReason.STEADY
    assert settled(1.0).run(1, 1.0)[0].reason is ScalingReason.STEADY
    assert settled(1.0, policy=FEW).run(1, 1.0)[0].reason is ScalingReason.AT_MINIMUM
    assert settled(900.0, policy=FEW).run(1, 900.0)[0].reason is ScalingReason.AT_MAXIMUM


def test_a_restarted_operator_says_so_until_it_has_watched_a_window() -> None:
    fleet = SimulatedPods(replicas=9)
    decisions = fleet.run(HOLD - 1, 10.0)
    assert {(decision.replicas, decision.reason) for decision in decisions} == {
        (9, ScalingReason.JUST_STARTED)
    }
    assert all(decision.blind is None for decision in decisions)
    assert fleet.run(5, 10.0)[-1].replicas < 9


def until(fleet: SimulatedPods, blind: ScalingReason | None, *, unread: int | None, seconds: int = 60) -> int:
    """Return after how many seconds `blind` is reported, while `unread` pods (None: none) are silent."""
    last: Pods = fleet.pass_second(120.0)
    for second in range(1, seconds):
        pods = fleet.pass_second(120.0)
        seen = pods if unread is None else (*last[:unread], *pods[unread:])
        if fleet.size(seen).blind is blind:
            return second
    raise AssertionError(f"not {blind} within {seconds} s")


@pytest.mark.parametrize(
    ("unread", "blind"), [(1, ScalingReason.PARTIAL_METRICS), (100, ScalingReason.NO_METRICS)]
)
def test_silent_pods_are_reported_within_16_seconds_and_cleared_within_2(
    unread: int, blind: ScalingReason
) -> None:
    fleet = settled(120.0)
    assert 5 < until(fleet, blind, unread=unread) <= 16
    assert until(fleet, None, unread=None) <= 2


def test_a_partly_blind_operator_still_grows() -> None:
    fleet = settled(120.0)
    size = fleet.replicas
    for _ in range(30):
        fleet.size(fleet.pass_second(120.0)[1:])
    for _ in range(3):
        decision = fleet.size(fleet.pass_second(600.0)[1:])
    assert decision.blind is ScalingReason.PARTIAL_METRICS
    assert decision.replicas > 2 * size


def test_pods_that_are_scraped_rarely_cause_no_gap() -> None:
    """Very many pods stretch the interval, and what is stale with it; shrinking must go on."""
    fleet = SimulatedPods(replicas=9)
    interval = 12
    for _ in range(20):
        for _ in range(interval):
            pods = fleet.pass_second(10.0)
        samples = Samples(replicas=fleet.replicas, ready=len(pods), pods=pods, stale_seconds=2.5 * interval)
        decision = decide(fleet.now, samples, fleet.state)
        fleet.state = decision.state
        fleet.resize(decision.replicas)
    assert decision.blind is None
    assert decision.replicas < 9


# ---- the figures


def test_load_is_of_all_pods_together() -> None:
    fleet = settled(120.0)
    pods = fleet.pass_second(120.0)
    decision = fleet.size(tuple(replace(pod, queued=2.0, running=1.0) for pod in pods))
    assert decision.load is not None
    assert decision.load.queued == 2 * len(pods)
    assert decision.load.running == decision.load.scraped_pods == len(pods)
    assert decision.load.requests_per_second == 120
    assert decision.load.late_permille == 0


def test_late_requests_are_counted_over_the_last_seconds() -> None:
    fleet = settled(120.0)
    for pod in fleet.pods:
        pod.late = 0.0
    for second in range(30):
        late = 120.0 * 0.25 * (second + 1) / len(fleet.pods)
        decision = fleet.size(tuple(replace(pod, late=pod.late + late) for pod in fleet.pass_second(120.0)))
    assert decision.load is not None
    assert decision.load.late_permille == pytest.approx(250, abs=10)


def test_decide_keeps_nothing_between_calls() -> None:
    fleet = settled(120.0)
    samples = Samples(replicas=3, ready=len(fleet.pods), pods=fleet.pass_second(120.0))
    assert decide(fleet.now, samples, fleet.state) == decide(fleet.now, samples, fleet.state)


def test_a_hundred_pods_are_decided_quickly() -> None:
    """The published figure, at most 1 ms on a quiet machine, is bench/scaling.py's."""
    fleet = SimulatedPods(replicas=100, policy=replace(POLICY, max_replicas=500))
    fleet.run(30, 1500.0)
    samples = Samples(replicas=100, ready=100, pods=fleet.pass_second(1500.0)[:100])
    seconds = []
    for _ in range(15):
        begun = time.thread_time()
        decide(fleet.now, samples, fleet.state)
        seconds.append(time.thread_time() - begun)
    assert median(seconds) <= 0.01
