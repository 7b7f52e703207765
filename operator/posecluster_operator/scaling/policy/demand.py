"""Conversion of pods' counters into demand: requests per second, and seconds of work per request.

A pod without two valid samples of the same process has no rate, which is not counted as zero.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from posecluster_operator.scaling.policy.windows import WINDOWS

MAX_COUNTER = 2.0**53  # larger floats cannot represent every integer (IEEE 754)
MAX_RATE = 100_000.0  # requests per second; far above the capacity of one aiohttp process
LONGEST_REQUEST_SECONDS = 60.0  # a request's time is counted when it ends; deadlines are shorter


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSample:
    """One scrape of one pod, at the time `at` of the operator's monotonic clock.

    `started` identifies the process by its start time, by any clock.
    `moved`: when a counter last changed, if it did not change in this sample; set by `measure`.
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
        """Return whether all numbers are plausible and the sample is recent."""
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
            return False  # more responses than requests: a counter is wrong
        return -1.0 <= now - self.at <= stale_seconds

    def continues(self, earlier: "PodSample") -> bool:
        """Return whether both samples are of one process: same start time, and no counter decreased."""
        return (
            self.started == earlier.started
            and self.arrivals >= earlier.arrivals
            and self.completed >= earlier.completed
            and self.busy_seconds >= earlier.busy_seconds
            and self.refused >= earlier.refused
            and self.late >= earlier.late
        )

    def still_since(self, earlier: "PodSample | None") -> float | None:
        """Return since when requests are in the pod but no counter has changed, or None.

        Requests do not take that long (the pod aborts them after 5 s), so the pod repeats an old response.
        """
        if earlier is None or self.queued + self.running == 0.0 or self._counters != earlier._counters:
            return None
        return earlier.at if earlier.moved is None else earlier.moved

    @property
    def _counters(self) -> tuple[float, ...]:
        return self.started, self.arrivals, self.completed, self.busy_seconds, self.refused, self.late


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """The rates of one pod since its previous sample."""

    since: float
    arrivals_per_second: float
    late_per_second: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """The demand on all measured pods. It is a lower bound if `measured < ready`."""

    arrivals_per_second: float
    refused_per_second: float
    completed: float  # responses since the previous sample
    busy_seconds: float  # worker seconds since the previous sample
    queued: float
    running: float
    late_per_second: float  # slower than the objective, or refused
    measured: int  # pods with a rate
    new: int  # pods with their first sample, so without a rate
    readable: int  # pods with a credible sample
    overdue: tuple[Interval, ...] = ()  # of pods that could be read again after a gap


def measure(
    now: float,
    pods: tuple[PodSample, ...],
    *,
    earlier: Mapping[str, PodSample],
    workers: int,
    stale_seconds: float = WINDOWS.stale_seconds,
    looked_before: float = -math.inf,
) -> tuple[Demand, dict[str, PodSample]]:
    """Return the demand since `earlier`, and the samples for the next comparison.

    Rates use the time between the samples of each pod, so that a delayed response is not a burst. A pod that
    is not credible or occurs twice keeps its earlier sample; a restarted one begins with its new sample.
    A pod whose earlier sample is not newer than `looked_before` is overdue.
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
            continue  # impossible with this number of workers, so the service time is not learned
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
