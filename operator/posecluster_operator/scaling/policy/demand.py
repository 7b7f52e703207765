"""Counters of pods become a demand: requests a second and seconds of work a request.

Missing is not zero: a pod without two good samples of the same process has no rate.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from posecluster_operator.scaling.policy.windows import WINDOWS

MAX_COUNTER = 2.0**53  # from here on a float no longer counts by ones (IEEE 754)
MAX_RATE = 100_000.0  # requests a second; far above what one aiohttp process accepts
LONGEST_REQUEST_SECONDS = 60.0  # a request's time may be counted when it ends; deadlines are shorter


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSample:
    """One scrape of one pod. Times are of the operator's monotonic clock, counters are the pod's own.

    `started` names the process (its start time, by any clock); only a change of it is looked at.
    `moved`, set by `measure`: when a counter moved last, if that was not just now.
    """

    name: str
    at: float
    started: float
    arrivals: float
    completed: float
    busy_seconds: float
    queued: float
    running: float = 0.0
    refused: float = 0.0
    late: float = 0.0
    moved: float | None = None

    def credible(self, now: float, *, stale_seconds: float = WINDOWS.stale_seconds) -> bool:
        """Say whether each number can be what it claims to be, and is fresh."""
        numbers = (
            self.arrivals,
            self.completed,
            self.busy_seconds,
            self.queued,
            self.running,
            self.refused,
            self.late,
        )
        if not all(math.isfinite(value) and 0.0 <= value < MAX_COUNTER for value in numbers):
            return False
        if not (math.isfinite(self.started) and math.isfinite(self.at)):
            return False
        if max(self.completed, self.refused) > self.arrivals:
            return False  # nobody asked for those answers: a counter stands still, or lies
        return -1.0 <= now - self.at <= stale_seconds

    def continues(self, earlier: "PodSample") -> bool:
        """Say whether both are of one process: same start, and no counter fell."""
        return (
            self.started == earlier.started
            and self.arrivals >= earlier.arrivals
            and self.completed >= earlier.completed
            and self.busy_seconds >= earlier.busy_seconds
            and self.refused >= earlier.refused
            and self.late >= earlier.late
        )

    def still_since(self, earlier: "PodSample | None") -> float | None:
        """Return since when there is work in hand and yet no counter moves; None: nothing is odd.

        No request takes so long (the pod itself ends one after 5 s), so this is an old answer given again.
        """
        if earlier is None or self.queued + self.running == 0.0 or self._counters != earlier._counters:
            return None
        return earlier.at if earlier.moved is None else earlier.moved

    @property
    def _counters(self) -> tuple[float, ...]:
        return self.started, self.arrivals, self.completed, self.busy_seconds, self.refused, self.late


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """What one pod was asked for since its sample before."""

    since: float
    arrivals_per_second: float
    late_per_second: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What the pods that can be read were asked for. It is a lower bound when `measured < ready`."""

    arrivals_per_second: float
    refused_per_second: float
    completed: float  # answers since the sample before
    busy_seconds: float  # worker seconds since the sample before
    queued: float
    running: float
    late_per_second: float  # slower than the objective, or refused
    measured: int  # pods with a rate
    new: int  # pods seen for the first time: they have a rate next time
    readable: int  # pods with a credible sample
    overdue: tuple[Interval, ...] = ()  # of pods that went unread for a while, and answered now


def measure(
    now: float,
    pods: tuple[PodSample, ...],
    *,
    earlier: Mapping[str, PodSample],
    workers: int,
    stale_seconds: float = WINDOWS.stale_seconds,
    looked_before: float = -math.inf,
) -> tuple[Demand, dict[str, PodSample]]:
    """Return the demand since `earlier`, and the samples to compare the next ones with.

    A pod's own time between samples is used, so that a late answer isn't a burst. A pod that
    isn't credible or is named twice keeps its earlier sample; a restarted one starts anew.
    One whose earlier sample is from `looked_before`, the time before last, or older is overdue.
    """
    names = [pod.name for pod in pods]
    twice = {name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else set()
    arrivals = refused = late = completed = busy = queued = running = 0.0
    measured = new = readable = 0
    overdue: list[Interval] = []
    known = dict(earlier)
    for pod in pods:
        if pod.name in twice or not pod.credible(now, stale_seconds=stale_seconds):
            continue
        before = known.get(pod.name)
        if (still := pod.still_since(before)) is not None:
            if now - still > stale_seconds:
                continue
            pod = replace(pod, moved=still)
        readable += 1
        queued += pod.queued
        running += pod.running
        if before is not None and pod.at <= before.at:
            continue  # nothing new
        known[pod.name] = pod
        new += before is None
        if before is None or not pod.continues(before):
            continue
        seconds = pod.at - before.at
        rate = (pod.arrivals - before.arrivals) / seconds
        work = pod.busy_seconds - before.busy_seconds
        if rate > MAX_RATE:
            continue
        measured += 1
        arrivals += rate
        refused += min(rate, (pod.refused - before.refused) / seconds)
        late_rate = (pod.late - before.late) / seconds
        late += late_rate
        if before.at <= looked_before:
            overdue.append(Interval(since=before.at, arrivals_per_second=rate, late_per_second=late_rate))
        if work > workers * (seconds + LONGEST_REQUEST_SECONDS):
            continue  # no process with so many workers can have done this: its service time isn't learnt
        completed += pod.completed - before.completed
        busy += work
    demand = Demand(
        arrivals_per_second=arrivals,
        refused_per_second=refused,
        completed=completed,
        busy_seconds=busy,
        queued=queued,
        running=running,
        late_per_second=late,
        measured=measured,
        new=new,
        readable=readable,
        overdue=tuple(overdue),
    )
    return demand, known
