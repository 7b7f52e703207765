"""The scaling decision: computes a size and its reason from the time and the load.

`decide` measures the demand, computes the present need and the highest need within the hold window, and then
scales up, down or not at all. The size is never computed by multiplying the present size, so that refused
requests and growing queues cannot cause a feedback loop.
"""

import math
from dataclasses import dataclass, replace
from types import MappingProxyType

from posecluster_operator.resource.posecluster import ScalingMode
from posecluster_operator.resource.reasons import ScalingReason
from posecluster_operator.scaling.policy.demand import Demand, measure
from posecluster_operator.scaling.policy.history import (
    Need,
    arrivals_within,
    highest_need,
    hold_now,
    is_missing,
    is_partial,
    late_permille,
    looked_before,
    lowered,
    lowest_size,
    need_now,
    observe,
    raised,
    rate_seconds,
    remember,
    service_seconds,
)
from posecluster_operator.scaling.policy.target import utilisation_target
from posecluster_operator.scaling.policy.values import Decision, Load, Numbers, Policy, Samples, State


@dataclass(frozen=True, slots=True)
class _PodsWanted:
    """The present need in pods, as fractions: for the rate, and for bursts in the last seconds."""

    steady: float
    burst: float

    @property
    def pods(self) -> float:
        return max(self.steady, self.burst)


def decide(now: float, samples: Samples, state: State) -> Decision:
    """Return the size for this moment. `now` is in seconds of a monotonic clock.

    It scales up at once to the present need. It scales down to the highest need of the hold window, but only
    if the load of every ready pod is known and was observed for a whole window without a gap.
    """
    policy = state.policy
    if policy.mode is ScalingMode.FIXED:
        return _held(policy.fixed_replicas, ScalingReason.FIXED_SIZE, state)
    demand, state = _watched(now, samples, state)
    present = _pods_wanted(demand, state)
    if present is not None:
        state = _remember(now, present, state)
    ordered = policy.fixed_replicas if samples.replicas is None else samples.replicas
    size = max(policy.min_replicas, min(policy.max_replicas, ordered))
    partial = is_partial(now, state.history, gap_seconds=_gap_seconds(samples, policy))
    theirs = _held(ordered, ScalingReason.REPLICAS_TAKEN_OVER, state) if _is_taken_over(samples) else None
    if present is None:
        return theirs or _bounded(_unmeasured(size, samples, partial, state), size, ordered)

    numbers = _numbers(now, samples, demand, present, state)
    load = Load(
        queued=round(demand.queued),
        running=round(demand.running),
        requests_per_second=round(numbers.requests_per_second),
        late_permille=late_permille(state.history.ticks, seconds=policy.windows.busy_seconds),
        scraped_pods=demand.readable,
    )
    if theirs:
        return replace(theirs, load=load, numbers=numbers)
    decided = _bounded(_choose(now, size, samples, present, numbers, state), size, ordered)
    blind = ScalingReason.PARTIAL_METRICS if partial else None
    return replace(decided, blind=blind, load=load, numbers=numbers)


def _is_taken_over(samples: Samples) -> bool:
    return samples.taken_over and samples.replicas is not None


def _watched(now: float, samples: Samples, state: State) -> tuple[Demand, State]:
    """Convert counters into demand, and add it to the history."""
    before, policy = state.history, state.policy
    demand, pods = measure(
        now,
        samples.pods,
        earlier=before.pods,
        workers=policy.objective.workers,
        stale_seconds=samples.stale_seconds,
        looked_before=looked_before(before),
    )
    unlisted = 0 if samples.listed else 1  # there may be unknown pods
    history = observe(
        now,
        demand,
        before,
        complete=samples.listed and 0 < samples.ready <= demand.measured + demand.new,
        missing=max(0, samples.ready - demand.measured - demand.new) + unlisted,
        gap_seconds=_gap_seconds(samples, policy),
        windows=policy.windows,
    )
    known = {pod.name: pods[pod.name] for pod in samples.pods if pod.name in pods}
    return demand, replace(state, history=replace(history, pods=MappingProxyType(known)))


def _gap_seconds(samples: Samples, policy: Policy) -> float:
    """Return after how many seconds without data the hold window restarts."""
    return max(policy.windows.gap_seconds, samples.stale_seconds)


def _bounded(decided: Decision, size: int, ordered: int) -> Decision:
    """Return the decision with AtMinimum or AtMaximum as its reason if only the bounds change the size."""
    if decided.replicas != size or size == ordered:
        return decided
    reason = ScalingReason.AT_MINIMUM if size > ordered else ScalingReason.AT_MAXIMUM
    return replace(decided, reason=reason)


def _choose(
    now: float,
    size: int,
    samples: Samples,
    present: _PodsWanted,
    numbers: Numbers,
    state: State,
) -> Decision:
    """Decide whether to scale up, down, or not at all."""
    policy, history = state.policy, state.history
    holds = {"hold_seconds": policy.hold_seconds, "max_hold_seconds": policy.max_hold_seconds}
    wanted = max(1, math.ceil(present.pods - 1e-9))
    highest = Need(at=now, pods=numbers.highest_pods)
    window = rate_seconds(policy.hold_seconds, policy.windows)
    lowest = lowest_size(
        highest, policy.objective, service_seconds=numbers.service_seconds, rate_seconds=window
    )
    if wanted > size:
        if size == policy.max_replicas:
            return Decision(replicas=size, reason=ScalingReason.AT_MAXIMUM, state=state)
        reason = ScalingReason.BURST if present.burst > present.steady else ScalingReason.DEMAND_ROSE
        state = replace(state, history=raised(now, history, **holds, windows=policy.windows))
        return Decision(replicas=min(wanted, policy.max_replicas), reason=reason, state=state)
    if lowest >= size:
        reason = _why_unchanged(size, wanted, samples)
        return Decision(replicas=size, reason=reason, state=state)
    if size == policy.min_replicas:
        return Decision(replicas=size, reason=ScalingReason.AT_MINIMUM, state=state)
    if samples.ready == 0 or is_missing(history.ticks, window):
        unready = samples.ready < size
        reason = ScalingReason.WAITING_FOR_PODS if unready else ScalingReason.JUST_STARTED
        return Decision(replicas=size, reason=reason, state=state)
    if numbers.watched_seconds < numbers.watch_seconds:
        return Decision(replicas=size, reason=ScalingReason.JUST_STARTED, state=state)
    state = replace(state, history=lowered(now, history, max_hold_seconds=policy.max_hold_seconds))
    return Decision(replicas=max(lowest, policy.min_replicas), reason=ScalingReason.DEMAND_FELL, state=state)


def _why_unchanged(size: int, wanted: int, samples: Samples) -> ScalingReason:
    if samples.ready < size:
        return ScalingReason.WAITING_FOR_PODS
    return ScalingReason.HOLDING_AFTER_BURST if wanted < size else ScalingReason.STEADY


def _unmeasured(size: int, samples: Samples, partial: bool, state: State) -> Decision:
    """Hold the size, because pods were measured only once or cannot be read."""
    if samples.ready == 0 or partial:
        return _held(size, ScalingReason.NO_METRICS, state)
    return Decision(replicas=size, reason=ScalingReason.JUST_STARTED, state=state)


def _held(replicas: int, reason: ScalingReason, state: State) -> Decision:
    return Decision(replicas=replicas, reason=reason, blind=reason, state=state)


def _pods_wanted(demand: Demand, state: State) -> _PodsWanted | None:
    """Return the present need, or None if no pod was measured."""
    if demand.measured == 0:
        return None
    policy, objective = state.policy, state.policy.objective
    steady, burst = need_now(
        state.history.ticks,
        objective,
        service_seconds=service_seconds(state.history),
        queued=min(demand.queued, float(demand.readable * objective.queue_length)),
        rate_seconds=rate_seconds(policy.hold_seconds, policy.windows),
        windows=policy.windows,
    )
    return _PodsWanted(steady, burst)


def _remember(now: float, present: _PodsWanted, state: State) -> State:
    policy, history = state.policy, state.history
    needs = history.needs
    for entry in (Need(at=now, pods=present.steady), Need(at=now, pods=present.burst, burst=True)):
        needs = remember(needs, entry, oldest=now - policy.max_hold_seconds)
    return replace(state, history=replace(history, needs=needs))


def _numbers(now: float, samples: Samples, demand: Demand, present: _PodsWanted, state: State) -> Numbers:
    policy, history = state.policy, state.history
    longest = policy.max_hold_seconds
    busy = policy.windows.busy_seconds
    hold = hold_now(
        history, hold_seconds=policy.hold_seconds, max_hold_seconds=longest, windows=policy.windows
    )
    highest = highest_need(history.needs, now=now, hold_seconds=hold, max_hold_seconds=longest)
    arrivals, seconds = arrivals_within(history.ticks, busy)
    service = service_seconds(history)
    return Numbers(
        requests_per_second=arrivals / seconds if seconds else 0.0,
        busy_seconds=busy,
        refused_per_second=demand.refused_per_second,
        service_seconds=service,
        utilisation=utilisation_target(policy.objective, service_seconds=service),
        steady_pods=present.steady,
        burst_pods=present.burst,
        highest_pods=highest.pods,
        highest_age_seconds=now - highest.at,
        hold_seconds=hold,
        watched_seconds=0.0 if history.watched_since is None else now - history.watched_since,
        ready=samples.ready,
        measured=demand.measured,
    )
