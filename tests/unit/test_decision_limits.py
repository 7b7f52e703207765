"""More of what `decide` must never do: follow the present size, leave the bounds, fight, trust bad numbers.

As in test_decision_never.py a property is a function of the `decide` to try, and a control tries a wrong one.
"""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.simulated_pods import POLICY, Decide, SimulatedPods, falls, settled
from posecluster_operator.resource.posecluster import ScalingMode
from posecluster_operator.resource.reasons import ScalingReason
from posecluster_operator.scaling.policy import Decision, PodSample, Policy, Samples, State, decide

pytestmark = pytest.mark.unit

control = pytest.mark.control
HOLD = int(POLICY.hold_seconds)
BAD = (math.nan, math.inf, -math.inf, -1.0, 1e308, 2.0**53)
COUNTERS = ("arrivals", "completed", "busy_seconds", "queued", "running", "refused", "late")

any_number = st.floats() | st.floats(0, 1e6)
any_pod = st.builds(
    PodSample,
    name=st.sampled_from("abc"),
    at=st.floats(990, 1010) | any_number,
    started=st.sampled_from([1.0, 2.0]) | any_number,
    arrivals=any_number,
    completed=any_number,
    busy_seconds=any_number,
    queued=any_number,
    running=any_number,
    refused=any_number,
    late=any_number,
)
any_samples = st.builds(
    Samples,
    replicas=st.none() | st.integers(0, 200),
    ready=st.integers(0, 5),
    pods=st.lists(any_pod, max_size=4).map(tuple),
    listed=st.booleans(),
)


# ---- never a ratio of the present size


def is_absolute(decide: Decide, rate: float, one: int, other: int) -> None:
    """Two sizes under the same arrivals want the same size, however full their queues are."""
    wanted = []
    for size in (one, other):
        fleet = SimulatedPods(replicas=size, policy=replace(POLICY, max_replicas=500), start_seconds=0.0)
        for _ in range(12):
            pods = tuple(replace(pod, queued=0.0) for pod in fleet.pass_second(rate))
            decision = decide(fleet.now, Samples(replicas=size, ready=size, pods=pods), fleet.state)
            fleet.state = decision.state
        assert decision.numbers is not None
        wanted.append(max(decision.numbers.steady_pods, decision.numbers.burst_pods))
        assert decision.replicas == max(size, math.ceil(wanted[-1] - 1e-6))
    assert wanted[0] == pytest.approx(wanted[1], rel=1e-6)


@given(st.floats(10, 1000), st.integers(1, 20), st.integers(1, 20))
def test_what_is_wanted_does_not_depend_on_the_present_size(rate: float, one: int, other: int) -> None:
    is_absolute(decide, rate, one, other)


def by_ratio(now: float, samples: Samples, state: State) -> Decision:
    """Wrong: the size times how busy it is, as an HPA does."""
    decision = decide(now, samples, state)
    if decision.numbers is None or not decision.numbers.requests_per_second or samples.replicas is None:
        return decision
    busy = min(
        1.0, decision.numbers.requests_per_second * decision.numbers.service_seconds / samples.replicas
    )
    return replace(decision, replicas=math.ceil(samples.replicas * busy / 0.5))


@control
def test_control_a_ratio_of_the_size_is_noticed() -> None:
    with pytest.raises(AssertionError):
        is_absolute(by_ratio, 600.0, 5, 20)


# ---- never leave [min, max]


def stays_within(decide: Decide, policy: Policy, seen: list[Samples]) -> None:
    state = State(policy=policy)
    for second, samples in enumerate(seen):
        decision = decide(1000.0 + second, samples, state)
        assert policy.min_replicas <= decision.replicas <= policy.max_replicas
        assert type(decision.replicas) is int
        state = decision.state


@given(st.lists(any_samples, min_size=1, max_size=8), st.integers(1, 20), st.integers(0, 30))
def test_the_size_stays_within_its_bounds_whatever_pods_say(
    seen: list[Samples], low: int, width: int
) -> None:
    stays_within(decide, replace(POLICY, min_replicas=low, max_replicas=low + width), seen)


def boundless(now: float, samples: Samples, state: State) -> Decision:
    """Wrong: what is wanted is done."""
    policy = replace(state.policy, min_replicas=1, max_replicas=500)
    decision = decide(now, samples, replace(state, policy=policy))
    return replace(decision, state=replace(decision.state, policy=state.policy))


@control
def test_control_a_size_outside_the_bounds_is_noticed() -> None:
    with pytest.raises(AssertionError):
        stays_within(
            boundless, replace(POLICY, min_replicas=2, max_replicas=5), [Samples(replicas=9, ready=9)]
        )


@given(st.lists(any_samples, max_size=8), st.integers(0, 500))
def test_a_fixed_size_is_what_the_spec_says_whatever_pods_say(seen: list[Samples], size: int) -> None:
    state = State(policy=replace(POLICY, mode=ScalingMode.FIXED, fixed_replicas=size))
    for second, samples in enumerate(seen):
        decision = decide(1000.0 + second, samples, state)
        assert (decision.replicas, decision.blind) == (size, ScalingReason.FIXED_SIZE)
        state = decision.state


# ---- never fight


def leaves_it_to_others(decide: Decide, sizes: list[int], rate: float) -> None:
    fleet = settled(120.0)
    fleet.decide = decide
    for size in sizes:
        fleet.resize(size)
        decision = fleet.size(fleet.pass_second(rate), taken_over=True)
        assert (decision.replicas, decision.blind) == (size, ScalingReason.REPLICAS_TAKEN_OVER)


@given(st.lists(st.integers(0, 200), min_size=1, max_size=20), st.sampled_from([0.0, 120.0, 2000.0]))
def test_a_size_that_another_writer_sets_is_left_unchanged(sizes: list[int], rate: float) -> None:
    leaves_it_to_others(decide, sizes, rate)


def stubborn(now: float, samples: Samples, state: State) -> Decision:
    """Wrong: somebody else's size is drift."""
    return decide(now, replace(samples, taken_over=False), state)


@control
def test_control_a_policy_that_fights_another_writer_is_noticed() -> None:
    with pytest.raises(AssertionError):
        leaves_it_to_others(stubborn, [3], 2000.0)


def test_a_size_handed_back_is_not_lowered_below_what_was_wanted_in_the_window() -> None:
    fleet = settled(10.0)
    for second in range(60 + HOLD - 10):  # somebody else has it; what the load wants is watched all the same
        fleet.resize(40)
        taken = fleet.size(fleet.pass_second(300.0 if second < 60 else 10.0), taken_over=True)
    assert taken.load is not None, "shown, too"
    decision = fleet.run(1, 10.0)[0]
    assert decision.numbers is not None
    busy = 300.0 * fleet.service_seconds
    assert decision.numbers.steady_pods < busy < decision.replicas <= 40


# ---- never believe impossible metrics


@pytest.mark.parametrize("number", BAD)
@pytest.mark.parametrize("field", COUNTERS)
def test_a_pod_with_an_implausible_number_counts_as_unread(field: str, number: float) -> None:
    fleet = settled(120.0)
    size, sizes = fleet.replicas, []
    for _ in range(2 * HOLD):
        first, *others = fleet.pass_second(120.0)
        decision = fleet.size((replace(first, **{field: number}), *others))
        sizes.append(decision.replicas)
    assert sizes == [size] * len(sizes)
    assert decision.blind is ScalingReason.PARTIAL_METRICS
    assert decision.load is not None
    assert decision.load.scraped_pods == size - 1


@pytest.mark.parametrize("field", ["at", "started"])
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_pod_with_an_invalid_time_counts_as_unread(field: str, number: float) -> None:
    fleet = settled(120.0)
    size = fleet.replicas
    first, *others = fleet.pass_second(120.0)
    decision = fleet.size((replace(first, **{field: number}), *others))
    assert decision.replicas == size
    assert decision.load is not None
    assert decision.load.scraped_pods == size - 1


def test_more_answers_than_requests_are_not_believed() -> None:
    fleet = settled(120.0)  # they would make the service time next to nothing
    sizes = [fleet.replicas]
    for second in range(3 * HOLD):
        first, *others = fleet.pass_second(120.0)
        lie = replace(first, completed=first.completed + 1e6 * (second + 1))
        sizes.append(fleet.size((lie, *others)).replicas)
    assert falls(sizes) == []


def test_a_counter_of_arrivals_that_stands_still_is_not_believed() -> None:
    fleet = settled(120.0)
    frozen = {pod.name: pod.arrivals for pod in fleet.pods[:4]}
    sizes = [fleet.replicas]
    for _ in range(3 * HOLD):
        pods = fleet.pass_second(120.0)
        seen = tuple(replace(pod, arrivals=frozen.get(pod.name, pod.arrivals)) for pod in pods)
        sizes.append(fleet.size(seen).replicas)
    assert falls(sizes) == []


def test_a_queue_counts_no_further_than_it_has_places() -> None:
    one, other = settled(120.0), settled(120.0)
    places = float(POLICY.objective.queue_length)
    full = one.size(tuple(replace(pod, queued=places) for pod in one.pass_second(120.0)))
    lie = other.size(tuple(replace(pod, queued=1e12) for pod in other.pass_second(120.0)))
    assert lie.replicas == full.replicas
    assert lie.numbers is not None
    assert full.numbers is not None
    assert lie.numbers.steady_pods == full.numbers.steady_pods


jumps = st.lists(st.sampled_from([None, 0.0, 5.0, 1e6, 1e12]), min_size=2, max_size=5)


@given(jumps.filter(lambda values: None in values and any(values)))  # None: the truth
def test_counters_that_jump_to_and_fro_never_lower_the_size(jumps: list[float | None]) -> None:
    fleet = settled(120.0)
    sizes = [fleet.replicas]
    for second in range(2 * HOLD):
        first, *others = fleet.pass_second(120.0)
        jump = jumps[second % len(jumps)]
        wild = first if jump is None else replace(first, arrivals=jump)
        sizes.append(fleet.size((wild, *others)).replicas)
    assert falls(sizes) == []
