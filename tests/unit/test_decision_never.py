"""What `decide` must never do, whatever pods report; each test has a control that shows that it can fail.

A property is a function of the `decide` to try, so that a control can run it with a wrong one.
"""

import math
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.simulated_pods import FAULTS, POLICY, Decide, Pods, SimulatedPods, falls, settled
from posecluster_operator.scaling.policy import Decision, PodSample, Samples, State, decide
from posecluster_operator.scaling.policy.history import History

pytestmark = pytest.mark.unit

control = pytest.mark.control
HOLD = int(POLICY.hold_seconds)
BAD = (math.nan, math.inf, -math.inf, -1.0, 1e308, 2.0**53)
COUNTERS = ("arrivals", "completed", "busy_seconds", "queued", "running", "refused", "late")


# ---- never shrink on missing, stale or partial data


@dataclass(frozen=True)
class Silence:
    """Of each `period` seconds a pod's load is unread for the first `silent`, in this way."""

    fault: str
    period: int
    silent: int
    phase: int = 0

    def read(self, second: int, good: PodSample, last: PodSample | None) -> Pods:
        unread = (second + self.phase) % self.period < self.silent
        return tuple(FAULTS[self.fault](good, last)) if unread else (good,)


silences = st.builds(
    lambda fault, period, share, phase: Silence(fault, period, max(1, round(period * share)), phase),
    st.sampled_from(sorted(FAULTS)),
    st.integers(2, 25),
    st.floats(0.0, 1.0),
    st.integers(0, 24),
)


def never_shrinks_unread(decide: Decide, pods: list[Silence | None], *, rate: float = 120.0) -> None:
    """The load stays the same, and so must a size that was right for it."""
    fleet = settled(rate)
    fleet.decide = decide
    last: dict[str, PodSample] = {}
    sizes = [fleet.replicas]
    for second in range(2 * HOLD):
        seen: list[PodSample] = []
        for number, good in enumerate(fleet.pass_second(rate)):
            silence = pods[number] if number < len(pods) else None
            read = (good,) if silence is None else silence.read(second, good, last.get(good.name))
            seen += read
            if read == (good,):
                last[good.name] = good
        sizes.append(fleet.size(tuple(seen)).replicas)
    assert falls(sizes) == []


@given(st.lists(st.none() | silences, min_size=1, max_size=8).filter(any))
def test_a_size_is_not_lowered_while_pods_go_unread(pods: list[Silence | None]) -> None:
    never_shrinks_unread(decide, pods)


SLOW = [Silence("stale", 9, 8)] * 3  # three of the pods answer one scrape in nine


def test_pods_that_answer_only_now_and_then_do_not_lower_the_size() -> None:
    never_shrinks_unread(decide, [*SLOW])


def missing_is_zero(now: float, samples: Samples, state: State) -> Decision:
    """Wrong: a pod that was not read is idle."""
    known = {pod.name: pod for pod in samples.pods if pod.credible(now) and pod.at == now}
    idle = [replace(pod, at=now) for name, pod in state.history.pods.items() if name not in known]
    return decide(now, replace(samples, pods=(*known.values(), *idle)), state)


@control
@pytest.mark.parametrize("fault", ["gone", "stale", "old", "not a number"])
def test_control_missing_read_as_zero_is_noticed(fault: str) -> None:
    with pytest.raises(AssertionError):
        never_shrinks_unread(missing_is_zero, [Silence(fault, 25, 25)] * 3)


@control
def test_control_an_idle_service_that_is_read_shrinks_after_the_hold() -> None:
    fleet = settled(120.0)
    size = fleet.replicas
    sizes = [decision.replicas for decision in fleet.run(int(POLICY.max_hold_seconds) + 2 * HOLD, 0.0)]
    assert size > 3
    assert min(sizes[: HOLD // 2]) == size
    assert sizes[-1] == 1


# ---- never shrink without metrics: a gap restarts the window


def never_shrinks_after_a_gap(decide: Decide, gap: int, *, listed: bool) -> None:
    """Nothing at all could be read, or it was not known which pods there are; then all are idle."""
    fleet = settled(120.0)
    fleet.decide = decide
    size = fleet.replicas
    for _ in range(gap):
        pods = fleet.pass_second(0.0)
        assert fleet.size(() if listed else pods, listed=listed).replicas == size
    assert [decision.replicas for decision in fleet.run(HOLD, 0.0)] == [size] * HOLD


@given(st.integers(12, 200), st.booleans())
def test_after_a_gap_a_whole_window_is_watched_first(gap: int, listed: bool) -> None:
    never_shrinks_after_a_gap(decide, gap, listed=listed)


def forgetful(now: float, samples: Samples, state: State) -> Decision:
    """Wrong: a gap counts as watched."""
    watched = replace(state.history, watched_since=0.0, complete_at=now)
    return decide(now, samples, replace(state, history=watched))


@control
def test_control_a_gap_that_counts_as_watched_is_noticed() -> None:
    with pytest.raises(AssertionError):
        never_shrinks_after_a_gap(forgetful, 30, listed=False)


# ---- never read a restarted pod's or operator's counters as load


def restarted_pod_is_no_load(decide: Decide, counters: dict[str, float], started: float) -> None:
    """One of three pods is another process now, and its counters say anything."""
    fleet = settled(60.0, replicas=3)
    fleet.decide = decide
    before = fleet.run(1, 60.0)[0]
    first, *others = fleet.pass_second(60.0)
    restarted = replace(first, started=first.started + started, **counters)
    decision = fleet.size((restarted, *others))
    assert decision.replicas == before.replicas
    assert decision.numbers is not None
    assert before.numbers is not None
    assert decision.numbers.burst_pods <= before.numbers.burst_pods * 1.01
    assert decision.numbers.requests_per_second <= before.numbers.requests_per_second * 1.01


@given(
    st.fixed_dictionaries({name: st.floats(0, 1e15) for name in ("arrivals", "completed", "busy_seconds")}),
    st.floats(0.01, 1e9),
)
def test_a_restarted_pods_counters_are_no_load(counters: dict[str, float], started: float) -> None:
    restarted_pod_is_no_load(decide, counters, started)


@given(st.floats(0, 0.99))
def test_counters_that_fell_are_no_load(share: float) -> None:
    restarted_pod_is_no_load(decide, {"arrivals": share, "completed": share, "busy_seconds": share}, 0.0)


@control
def test_control_a_restart_that_is_not_seen_is_noticed() -> None:
    with pytest.raises(AssertionError):
        restarted_pod_is_no_load(decide, {"arrivals": 50_000.0}, 0.0)


def restarted_operator_holds(decide: Decide, past: float, rate: float, hold: int) -> None:
    """An operator that knows nothing finds pods with long histories."""
    fleet = settled(rate, policy=replace(POLICY, hold_seconds=float(hold)), replicas=4)
    fleet.decide = decide
    for pod in fleet.pods:
        pod.arrivals, pod.completed = pod.arrivals + past, pod.completed + past
    fleet.forget()
    fleet.resize(max(fleet.replicas, 4))
    size = fleet.replicas
    sizes = [decision.replicas for decision in fleet.run(max(hold, 20), rate)]
    assert sizes == [size] * len(sizes)


@given(st.floats(0, 1e12), st.sampled_from([0.0, 7.0, 31.0, 88.0]), st.sampled_from([0, 3, 20, 60, 90]))
def test_a_restarted_operator_keeps_the_size_for_a_whole_window(past: float, rate: float, hold: int) -> None:
    restarted_operator_holds(decide, past, rate, hold)


def counters_are_load(now: float, samples: Samples, state: State) -> Decision:
    """Wrong: what a pod has counted before is of the last second."""
    if not state.history.pods:
        nothing = dict.fromkeys(("arrivals", "completed", "busy_seconds", "refused", "late"), 0.0)
        pods = {pod.name: replace(pod, at=now - 1.0, **nothing) for pod in samples.pods}
        state = replace(state, history=History(pods=pods))
    return decide(now, samples, state)


@control
def test_control_an_operator_that_reads_old_counters_as_load_is_noticed() -> None:
    with pytest.raises(AssertionError):
        restarted_operator_holds(counters_are_load, 10_000.0, 30.0, HOLD)


# ---- never shrink because requests are refused


def refusals_are_demand(decide: Decide, rate: float, refused: float) -> None:
    """The same arrivals, of which pods refuse a share, want no fewer pods."""
    fleets = [SimulatedPods(replicas=3, start_seconds=1e9) for _ in range(2)]
    for fleet in fleets:
        fleet.decide = decide
    for _ in range(2 * HOLD):
        for fleet, share in zip(fleets, (0.0, refused), strict=True):
            pods = fleet.pass_second(rate)
            for pod, at_work in zip(pods, fleet.ready, strict=True):
                at_work.refused, at_work.backlog = pod.arrivals * share, 0.0
                at_work.completed = pod.arrivals - at_work.refused
                at_work.busy_seconds = at_work.completed * fleet.service_seconds
            fleet.size(tuple(pod.sample(fleet.now) for pod in fleet.ready))
            fleet.resize(3)
    wanted = [fleet.run(1, rate)[0].replicas for fleet in fleets]
    assert wanted[1] >= wanted[0]


@given(st.floats(1, 1500), st.floats(0, 0.95))
def test_refused_requests_are_demand_like_any_other(rate: float, refused: float) -> None:
    refusals_are_demand(decide, rate, refused)


def refused_are_forgotten(now: float, samples: Samples, state: State) -> Decision:
    """Wrong: only what was let in counts."""
    pods = tuple(replace(pod, arrivals=pod.arrivals - pod.refused) for pod in samples.pods)
    return decide(now, replace(samples, pods=pods), state)


@control
def test_control_refusals_that_do_not_count_are_noticed() -> None:
    with pytest.raises(AssertionError):
        refusals_are_demand(refused_are_forgotten, 300.0, 0.8)
