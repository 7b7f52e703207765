"""What the autoscaler remembers between two decisions: values only, so that `decide` stays pure."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from posecluster_operator.scaling.policy.demand import Demand, Interval, PodSample
from posecluster_operator.scaling.policy.target import ServiceLevel, pods_for_burst, pods_for_rate
from posecluster_operator.scaling.policy.windows import WINDOWS, Windows

RISE_SIGMAS = 3.0  # of Poisson arrivals: one false alarm in 700 windows
SERVICE_REQUESTS = 200.0  # the mean service time forgets at this pace: its error is below cv / 14
ASSUMED_SERVICE_SECONDS = 0.05  # a pod of the Full model on one core, until it is measured
LEAST_REQUESTS = 5.0  # fewer answers say less than the assumption
QUIET_UTILISATION = 0.25  # pods that the last 20 s kept less busy: the burst came out of quiet (tuned)
BURST_GROWTH = 3.0  # a burst out of quiet may grow so much beyond those pods (tuned: 2.5 to 3.5 do)
NEED_STEP = 0.02  # needs are remembered in steps of so much
BURST_HOLDS = 5.0  # a burst's need is held so many times as long: 300 s by default, as an HPA's window
SLACK_SIGMAS = 3.0  # of a rate over 60 s: room that the rest must keep for a pod to be given back


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """The arrivals of all pods between two decisions, and how many requests were late.

    `missing`: ready pods whose arrivals are not in it; what comes late is added.
    """

    at: float
    seconds: float
    arrivals: float
    late: float = 0.0
    missing: int = 0

    @property
    def begun(self) -> float:
        return self.at - self.seconds + 1e-6  # a sum of fractions is not exact


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """Pods wanted at a moment, a fraction; `burst`: because of the arrivals of a few seconds."""

    at: float
    pods: float
    burst: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Everything known from before. A new one is an operator that has just started."""

    pods: Mapping[str, PodSample] = field(default_factory=lambda: MappingProxyType({}))
    begun_at: float | None = None  # the first decision
    ticks: tuple[Tick, ...] = ()
    needs: tuple[Need, ...] = ()  # falling: each is the highest since its moment
    service_seconds: float | None = None
    service_requests: float = 0.0  # that it was learnt from, up to as many as it forgets by
    watched_since: float | None = None  # demand is known without a gap since then
    complete_at: float | None = None  # when every ready pod could be read last
    doublings: int = 0  # of the policy's hold
    lowered_at: float | None = None


def observe(
    now: float,
    demand: Demand,
    history: History,
    *,
    complete: bool,
    missing: int = 0,
    gap_seconds: float = WINDOWS.gap_seconds,
    windows: Windows = WINDOWS,
) -> History:
    """Return the history with this moment's demand in it.

    `complete`: every ready pod could be read. `missing`: so many of them have no rate now. `gap_seconds` may
    be longer than that of the windows, when scraping is stretched.
    """
    partial = is_partial(now, history, gap_seconds=gap_seconds)
    history = replace(
        history,
        begun_at=now if history.begun_at is None else history.begun_at,
        complete_at=now if complete else history.complete_at,
    )
    if demand.measured == 0:
        return history
    last = history.ticks[-1].at if history.ticks else None
    blind = last is None or now - last > gap_seconds or now <= last
    seconds = windows.tick_seconds if last is None or blind else now - last
    tick = Tick(
        at=now,
        seconds=seconds,
        arrivals=demand.arrivals_per_second * seconds,
        late=demand.late_per_second * seconds,
        missing=missing,
    )
    kept = () if blind else tuple(one for one in history.ticks if one.at > now - windows.rate_seconds)
    if demand.overdue:
        kept = tuple(_completed(one, demand.overdue) for one in kept)
    service, answers = learn_service(history, demand)
    return replace(
        history,
        ticks=(*kept, tick),
        service_seconds=service,
        service_requests=answers,
        watched_since=now if blind or partial or history.watched_since is None else history.watched_since,
    )


def looked_before(history: History) -> float:
    """Return when the last tick began: a pod that was not read since then is not in that tick."""
    return history.ticks[-1].begun if history.ticks else -math.inf


def _completed(tick: Tick, overdue: tuple[Interval, ...]) -> Tick:
    """Return the tick with the arrivals of pods that did not answer then, spread over their silence."""
    silent = [one for one in overdue if one.since <= tick.begun]
    if not silent:
        return tick
    return replace(
        tick,
        arrivals=tick.arrivals + tick.seconds * sum(one.arrivals_per_second for one in silent),
        late=tick.late + tick.seconds * sum(one.late_per_second for one in silent),
        missing=max(0, tick.missing - len(silent)),
    )


def is_partial(now: float, history: History, *, gap_seconds: float = WINDOWS.gap_seconds) -> bool:
    """Return whether, for longer than a passing fault, not every ready pod could be read."""
    known = history.begun_at if history.complete_at is None else history.complete_at
    return known is None or now - known > gap_seconds


def hold_now(
    history: History, *, hold_seconds: float, max_hold_seconds: float, windows: Windows = WINDOWS
) -> float:
    """Return the hold in force: the policy's, doubled as often as it proved too short."""
    if not history.doublings:
        return hold_seconds
    doubled: float = max(hold_seconds, windows.least_doubled_seconds) * 2.0**history.doublings
    return min(doubled, max_hold_seconds)


def raised(
    now: float,
    history: History,
    *,
    hold_seconds: float,
    max_hold_seconds: float,
    windows: Windows = WINDOWS,
) -> History:
    """Return the history after a step up: one that undoes a step down soon after it doubles the hold."""
    if history.lowered_at is None or now - history.lowered_at > max_hold_seconds:
        return history
    longest = hold_now(history, hold_seconds=hold_seconds, max_hold_seconds=max_hold_seconds, windows=windows)
    doublings = history.doublings + (longest < max_hold_seconds)
    return replace(history, lowered_at=None, doublings=doublings)


def lowered(now: float, history: History, *, max_hold_seconds: float) -> History:
    """Return the history after a step down: an earlier one that stood halves the hold."""
    stood = history.lowered_at is not None and now - history.lowered_at > max_hold_seconds
    return replace(history, lowered_at=now, doublings=max(0, history.doublings - stood))


def learn_service(history: History, demand: Demand) -> tuple[float | None, float]:
    """Return the mean service time in seconds, and of how many answers: it moves by their number.

    At first it is the plain mean, so that a slow model that answers one request a second is known soon.
    """
    known, requests = history.service_seconds, history.service_requests
    if demand.completed <= 0.0 or demand.busy_seconds <= 0.0:
        return known, requests
    seen = min(60.0, max(0.0005, demand.busy_seconds / demand.completed))
    requests += demand.completed
    if known is None:
        return seen, min(requests, SERVICE_REQUESTS)
    return known + demand.completed / requests * (seen - known), min(requests, SERVICE_REQUESTS)


def service_seconds(history: History) -> float:
    """Return the mean service time; until there are a few answers, what is assumed."""
    if history.service_seconds is None or history.service_requests < LEAST_REQUESTS:
        return ASSUMED_SERVICE_SECONDS
    return history.service_seconds


def late_permille(ticks: tuple[Tick, ...], *, seconds: float = WINDOWS.busy_seconds) -> int:
    """Return how many of a thousand requests of the newest ticks of so many seconds were late."""
    shown = [tick for tick in ticks if tick.at > ticks[-1].at - seconds]
    arrivals = sum(tick.arrivals for tick in shown)
    return min(1000, round(1000 * sum(tick.late for tick in shown) / arrivals)) if arrivals > 0 else 0


def is_missing(ticks: tuple[Tick, ...], seconds: float) -> bool:
    """Return whether a ready pod's arrivals are missing in the newest ticks of so many seconds."""
    return any(tick.missing for tick in ticks if tick.at > ticks[-1].at - seconds)


def arrivals_within(ticks: tuple[Tick, ...], seconds: float) -> tuple[float, float]:
    """Return the arrivals of the newest ticks that make up `seconds`, and how long these ticks are."""
    arrivals = length = 0.0
    for tick in reversed(ticks):
        if length >= seconds - 0.01:
            break
        arrivals += tick.arrivals
        length += tick.seconds
    return arrivals, length


def rate_seconds(hold_seconds: float, windows: Windows = WINDOWS) -> float:
    """Return over how long the steady rate is taken: the hold, within 20 and 60 s."""
    return max(windows.busy_seconds, min(windows.rate_seconds, hold_seconds))


def need_now(
    ticks: tuple[Tick, ...],
    objective: ServiceLevel,
    *,
    service_seconds: float,
    queued: float,
    rate_seconds: float = WINDOWS.rate_seconds,
    windows: Windows = WINDOWS,
) -> tuple[float, float]:
    """Return the pods that the rate (with what is queued) wants, and those that the bursts want."""
    arrivals, known = arrivals_within(ticks, rate_seconds)
    if known <= 0.0:
        return 0.0, 0.0
    # A rate of a few seconds is no steady rate yet; the shorter windows speak for those.
    rate = (arrivals + queued) / max(known, rate_seconds / 2.0)
    for window in windows.rise_seconds:
        arrivals, length = arrivals_within(ticks, window)
        sure = arrivals - RISE_SIGMAS * math.sqrt(arrivals)
        rate = max(rate, sure / max(length, window))
    steady = pods_for_rate(rate, objective, service_seconds=service_seconds)
    peak = 0.0
    for window in windows.burst_seconds:
        arrivals, length = arrivals_within(ticks, window)
        peak = max(
            peak, pods_for_burst(arrivals, max(length, window), objective, service_seconds=service_seconds)
        )
    if known < windows.busy_seconds - 0.01:
        return steady, peak  # what a restarted operator finds is no burst: what came before isn't known
    arrivals, length = arrivals_within(ticks, windows.busy_seconds)
    busy = arrivals / length * service_seconds / objective.workers
    return steady, max(peak, BURST_GROWTH * (peak - busy / QUIET_UTILISATION))


def lowest_size(
    highest: Need,
    objective: ServiceLevel,
    *,
    service_seconds: float,
    rate_seconds: float = WINDOWS.rate_seconds,
) -> int:
    """Return the pods to keep when so many were wanted within the hold: rounded up, with room for noise."""
    requests = objective.workers * rate_seconds / service_seconds  # of one busy pod
    slack = SLACK_SIGMAS * math.sqrt(highest.pods / requests)
    return max(1, math.ceil(highest.pods + slack))


def remember(needs: tuple[Need, ...], need: Need, *, oldest: float) -> tuple[Need, ...]:
    """Return the needs since `oldest`, newest last, without those that a later one of their kind exceeds.

    A need of the rate doesn't replace one of a burst, which is held longer. One that is less by a
    step of 2 % only counts as the earlier: some hundred steps are all there can be, however long the hold.
    """
    kept = tuple(
        one for one in needs if one.at >= oldest and (one.pods > need.pods or (one.burst and not need.burst))
    )
    last = next((one for one in reversed(kept) if one.burst is need.burst), None)
    if last is not None and last.pods - need.pods <= NEED_STEP * max(1.0, last.pods):
        kept = tuple(one for one in kept if one is not last)
        need = replace(need, pods=last.pods)
    return (*kept, need)


def held_seconds(need: Need, *, hold_seconds: float, max_hold_seconds: float) -> float:
    """Return for how long a need counts: bursts are rarer than rises, and held longer."""
    return min(BURST_HOLDS * hold_seconds, max_hold_seconds) if need.burst else hold_seconds


def highest_need(
    needs: tuple[Need, ...], *, now: float, hold_seconds: float, max_hold_seconds: float
) -> Need:
    """Return the largest need within the hold window."""
    holds = {"hold_seconds": hold_seconds, "max_hold_seconds": max_hold_seconds}
    held = (need for need in needs if now - need.at <= held_seconds(need, **holds))
    return max(held, key=lambda need: need.pods)
