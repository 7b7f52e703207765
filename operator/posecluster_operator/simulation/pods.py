"""Model of pods as queues, with workers, waiting places, a deadline, a start time and a drain time.

Requests are served in order of arrival, so that the start of a request is known on arrival: when the first
worker becomes free (Kiefer and Wolfowitz 1955). No events between arrivals need to be simulated.
"""

import math
from array import array
from collections import deque
from dataclasses import dataclass
from heapq import heapreplace
from random import Random

from posecluster_operator.scaling.policy import PodSample, Routing, Samples

START_JITTER = 0.25  # start times vary by up to this share of the mean


@dataclass(frozen=True, slots=True, kw_only=True)
class PodModel:
    """Parameters of all pods. A request is late if it takes longer than `latency_seconds`."""

    workers: int
    places: int
    latency_seconds: float
    deadline_seconds: float
    start_seconds: float
    drain_seconds: float
    routing: Routing = Routing.RANDOM


class Pod:
    """One pod: counted from `ordered_at` to `ended_at`, serves from `ready_at`."""

    __slots__ = (
        "_busy_seconds",
        "_completed",
        "_held",
        "_late",
        "_model",
        "_refused",
        "_starts",
        "arrivals",
        "ended_at",
        "free_at",
        "number",
        "ordered_at",
        "ready_at",
    )

    def __init__(self, model: PodModel, number: int, *, ordered_at: float, ready_at: float) -> None:
        self._model, self.number, self.ordered_at, self.ready_at = model, number, ordered_at, ready_at
        self.ended_at = math.inf
        self.free_at = [ready_at] * model.workers  # a heap of the times when workers become free
        self._starts: deque[float] = deque()  # start times of queued requests, in order
        self._held: list[
            tuple[float, float]
        ] = []  # (end, service time) of requests that are not counted as completed
        self.arrivals = self._completed = self._refused = self._late = 0
        self._busy_seconds = 0.0

    def offer(self, now: float, service: float) -> float | None:
        """Accept a request and return its latency in seconds, or None if it is refused."""
        self.arrivals += 1
        begin = self.free_at[0]
        if begin > now:
            starts, model = self._starts, self._model
            while starts and starts[0] <= now:
                starts.popleft()
            if len(starts) >= model.places or begin - now > model.deadline_seconds:
                self._refused += 1
                self._late += 1
                return None
            starts.append(begin)
        else:
            begin = now
        end = begin + service
        heapreplace(self.free_at, end)
        self._held.append((end, service))
        if end - now > self._model.latency_seconds:
            self._late += 1
        return end - now

    def sample(self, now: float) -> PodSample:
        """Return the result of a scrape. As in the server, a request's time is counted when it ends."""
        starts = self._starts
        while starts and starts[0] <= now:
            starts.popleft()
        held = []
        for one in self._held:
            if one[0] <= now:
                self._completed += 1
                self._busy_seconds += one[1]
            else:
                held.append(one)
        self._held = held
        return PodSample(
            name=str(self.number),
            at=now,
            started=self.ready_at,
            arrivals=float(self.arrivals),
            completed=float(self._completed),
            busy_seconds=self._busy_seconds,
            queued=float(len(starts)),
            running=float(len(held) - len(starts)),
            refused=float(self._refused),
            late=float(self._late),
        )

    def held(self, now: float) -> int:
        """Return the number of queued and running requests."""
        return sum(1 for end, _ in self._held if end > now)

    def end(self, now: float) -> None:
        """Stop the pod: a ready pod drains and finishes its requests, a starting one ends at once."""
        if self.ready_at > now:
            self.ended_at = now
        else:
            self.ended_at = max(now + self._model.drain_seconds, *self.free_at)


class SimulatedPods:
    """All pods, initially `size` ready ones. `serving`: ready pods that receive requests."""

    def __init__(self, model: PodModel, size: int, random: Random) -> None:
        self._model, self._random = model, random
        self._all: list[Pod] = []
        self._starting: list[Pod] = []
        self.serving: list[Pod] = [self._order(0.0, 0.0) for _ in range(size)]
        self.next_ready = math.inf

    @property
    def size(self) -> int:
        """The number of serving and starting pods."""
        return len(self.serving) + len(self._starting)

    def advance(self, now: float) -> None:
        """Move pods that have become ready to `serving`."""
        if now < self.next_ready:
            return
        self.serving += [pod for pod in self._starting if pod.ready_at <= now]
        self._starting = [pod for pod in self._starting if pod.ready_at > now]
        self._note_next()

    def resize(self, now: float, size: int) -> None:
        """Start pods, or end some: first unready ones, then the least busy ones, as the operator does."""
        for _ in range(size - self.size):
            delay = self._model.start_seconds * (1.0 + START_JITTER * (2.0 * self._random.random() - 1.0))
            self._starting.append(self._order(now, now + delay))
        if size < self.size:
            self._starting.sort(key=lambda pod: pod.ready_at)
            self.serving.sort(key=lambda pod: (-pod.held(now), -pod.arrivals))
            kept = [*self.serving, *self._starting]
            for pod in kept[size:]:
                pod.end(now)
            self.serving = sorted(self.serving[:size], key=lambda pod: pod.number)
            self._starting = self._starting[: size - len(self.serving)]
        self._note_next()

    def samples(self, now: float) -> Samples:
        """Return the input of the autoscaler."""
        pods = tuple(pod.sample(now) for pod in self.serving)
        return Samples(replicas=self.size, ready=len(pods), pods=pods)

    def pod_seconds(self, end: float) -> float:
        """Return the total pod time in seconds until `end`."""
        return sum(min(end, pod.ended_at) - pod.ordered_at for pod in self._all)

    def _order(self, now: float, ready_at: float) -> Pod:
        self._all.append(Pod(self._model, len(self._all), ordered_at=now, ready_at=ready_at))
        return self._all[-1]

    def _note_next(self) -> None:
        self.next_ready = min((pod.ready_at for pod in self._starting), default=math.inf)


def offer_all(
    pods: SimulatedPods,
    routing: Routing,
    requests: "zip[tuple[float, float, float]]",
    latencies: "array[float]",
) -> int:
    """Offer requests as (time, service time, pick); append the latencies, and return the number refused.

    With random routing `pick` selects the pod; with shared routing it is the pod whose worker is free first.
    """
    serving, refused = pods.serving, 0
    count, random = len(serving), routing is Routing.RANDOM
    if count == 0:
        return sum(1 for _ in requests)
    for time, service, pick in requests:
        pod = serving[int(pick * count)] if random else min(serving, key=_first_free)
        latency = pod.offer(time, service)
        if latency is None:
            refused += 1
        else:
            latencies.append(latency)
    return refused


def _first_free(pod: Pod) -> float:
    return pod.free_at[0]
