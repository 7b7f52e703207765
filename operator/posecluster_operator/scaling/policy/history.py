"""The autoscaler's state between two decisions, as immutable values, so that `decide` is pure."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from posecluster_operator.scaling.policy.demand import Demand, Interval, PodSample
from posecluster_operator.scaling.policy.target import ServiceLevel, pods_for_burst, pods_for_rate
from posecluster_operator.scaling.policy.windows import WINDOWS, Windows

RISE_SIGMAS = 3.0  # of Poisson arrivals: one false alarm in 700 windows
SERVICE_REQUESTS = 200.0  # weight of the past in the mean service time; its error is below cv / 14
ASSUMED_SERVICE_SECONDS = 0.05  # for the Full model on one core, until it is measured
LEAST_REQUESTS = 5.0  # with fewer responses, the assumption is more reliable
QUIET_UTILISATION = 0.25  # below it in the last 20 s, a burst follows a quiet time (tuned)
BURST_GROWTH = 3.0  # expected growth of a burst after a quiet time (tuned: 2.5 to 3.5 work)
NEED_STEP = 0.02  # relative resolution of stored needs
BURST_HOLDS = 5.0  # the hold is this many times longer for bursts: 300 s by default, as the window of an HPA
SLACK_SIGMAS = 3.0  # spare capacity for the noise of a rate over 60 s, which remains after a step down


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """The arrivals of all pods between two decisions, and how many requests were late.

    `missing`: ready pods whose arrivals are not included; late samples are added.
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
    """The pods needed at a time, as a fraction; `burst`: because of the arrivals in a few seconds."""

    at: float
    pods: float
    burst: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """All earlier observations. It is empty after the operator has started."""

    pods: Mapping[str, PodSample] = field(default_factory=lambda: MappingProxyType({}))
    begun_at: float | None = None  # the first decision
    ticks: tuple[Tick, ...] = ()
    needs: tuple[Need, ...] = ()  # decreasing: each is the highest since its time
    service_seconds: float | None = None
    service_requests: float = 0.0  # number of responses in the mean, at most SERVICE_REQUESTS
    watched_since: float | None = None  # since when demand is known without a gap
    complete_at: float | None = None  # when all ready pods could last be read
    doublings: int = 0  # how often the policy's hold is doubled
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
    """Return the history with the present demand.

    `complete`: every ready pod could be read. `missing`: number of ready pods without a rate. `gap_seconds`
    may be longer than that of the windows if scrapes are less frequent.
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
    """Return when the last tick began. A pod that has not been read since is missing in that tick."""
    return history.ticks[-1].begun if history.ticks else -math.inf


def _completed(tick: Tick, overdue: tuple[Interval, ...]) -> Tick:
    """Return the tick with the arrivals of pods that did not respond then, spread over the gap."""
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
    """Return whether some ready pods could not be read for longer than `gap_seconds`."""
    known = history.begun_at if history.complete_at is None else history.complete_at
    return known is None or now - known > gap_seconds


def hold_now(
    history: History, *, hold_seconds: float, max_hold_seconds: float, windows: Windows = WINDOWS
) -> float:
    """Return the present hold: the policy's, doubled each time it was too short."""
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
    """Return the history after a step up, which doubles the hold if it reverses a recent step down."""
    if history.lowered_at is None or now - history.lowered_at > max_hold_seconds:
        return history
    longest = hold_now(history, hold_seconds=hold_seconds, max_hold_seconds=max_hold_seconds, windows=windows)
    doublings = history.doublings + (longest < max_hold_seconds)
    return replace(history, lowered_at=None, doublings=doublings)


def lowered(now: float, history: History, *, max_hold_seconds: float) -> History:
    """Return the history after a step down, which halves the hold if the previous one was not reversed."""
    stood = history.lowered_at is not None and now - history.lowered_at > max_hold_seconds
    return replace(history, lowered_at=now, doublings=max(0, history.doublings - stood))


def learn_service(history: History, demand: Demand) -> tuple[float | None, float]:
    """Return the mean service time in seconds and the number of responses in it.

    At first it is the plain mean, so that the service time of a slow model is known soon.
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
    """Return the mean service time in seconds, or the assumed one until there are enough responses."""
    if history.service_seconds is None or history.service_requests < LEAST_REQUESTS:
        return ASSUMED_SERVICE_SECONDS
    return history.service_seconds


def late_permille(ticks: tuple[Tick, ...], *, seconds: float = WINDOWS.busy_seconds) -> int:
    """Return the permille of requests in the last `seconds` that were late."""
    shown = [tick for tick in ticks if tick.at > ticks[-1].at - seconds]
    arrivals = sum(tick.arrivals for tick in shown)
    return min(1000, round(1000 * sum(tick.late for tick in shown) / arrivals)) if arrivals > 0 else 0


def is_missing(ticks: tuple[Tick, ...], seconds: float) -> bool:
    """Return whether arrivals of a ready pod are missing in the last `seconds`."""
    return any(tick.missing for tick in ticks if tick.at > ticks[-1].at - seconds)


def arrivals_within(ticks: tuple[Tick, ...], seconds: float) -> tuple[float, float]:
    """Return the arrivals in the newest ticks that make up `seconds`, and the length of these ticks."""
    arrivals = length = 0.0
    for tick in reversed(ticks):
        if length >= seconds - 0.01:
            break
        arrivals += tick.arrivals
        length += tick.seconds
    return arrivals, length


def rate_seconds(hold_seconds: float, windows: Windows = WINDOWS) -> float:
    """Return the window of the steady rate: the hold, limited to 20-60 s."""
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
    """Return the pods needed for the rate, including queued requests, and for bursts."""
    arrivals, known = arrivals_within(ticks, rate_seconds)
    if known <= 0.0:
        return 0.0, 0.0
    # A rate over a few seconds is not steady; the shorter windows below cover it.
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
        return steady, peak  # without earlier data, as after a restart, the load is not a burst
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
    """Return the lowest size for the highest need of the hold window, with a reserve for noise."""
    requests = objective.workers * rate_seconds / service_seconds  # capacity of one pod
    slack = SLACK_SIGMAS * math.sqrt(highest.pods / requests)
    return max(1, math.ceil(highest.pods + slack))


def remember(needs: tuple[Need, ...], need: Need, *, oldest: float) -> tuple[Need, ...]:
    """Return the needs since `oldest`, newest last, without those that a later need of their kind exceeds.

    The need of a rate does not replace the need of a burst, which is held longer. A need that is at most 2 %
    lower replaces the earlier one with its value, so that there are at most some hundred needs for any hold.
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
    """Return for how long a need is held; needs of bursts are held longer."""
    return min(BURST_HOLDS * hold_seconds, max_hold_seconds) if need.burst else hold_seconds


def highest_need(
    needs: tuple[Need, ...], *, now: float, hold_seconds: float, max_hold_seconds: float
) -> Need:
    """Return the highest need within the hold window."""
    holds = {"hold_seconds": hold_seconds, "max_hold_seconds": max_hold_seconds}
    held = (need for need in needs if now - need.at <= held_seconds(need, **holds))
    return max(held, key=lambda need: need.pods)
