"""Simulated pods under a load and the autoscaler that sizes them: only numbers, with a given clock.

Requests are a fluid that a Service spreads evenly; a pod answers what its workers can, queues what fits
and refuses the rest. So a test knows exactly what `decide` was given, and nothing is random.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import pairwise

from posecluster_operator.scaling.policy import (
    Decision,
    PodSample,
    Policy,
    Samples,
    ServiceLevel,
    State,
    decide,
)

SERVICE_SECONDS = 0.033
OBJECTIVE = ServiceLevel(latency_seconds=0.25, late_share=0.01, workers=1, queue_length=8)
POLICY = Policy(objective=OBJECTIVE, min_replicas=1, max_replicas=60)

Decide = Callable[[float, Samples, State], Decision]
Pods = tuple[PodSample, ...]


@dataclass(slots=True)
class Pod:
    """One process and its counters; `backlog`: requests waiting or at work."""

    name: str
    ready_at: float
    started: float = 1.0
    arrivals: float = 0.0
    completed: float = 0.0
    busy_seconds: float = 0.0
    refused: float = 0.0
    late: float = 0.0  # beside those refused; a test may set it
    backlog: float = 0.0

    def serve(self, arrivals: float, objective: ServiceLevel, service_seconds: float) -> None:
        """Let a second pass."""
        self.arrivals += arrivals
        able = objective.workers / service_seconds
        done = min(able, self.backlog + arrivals)
        left = self.backlog + arrivals - done
        self.backlog = min(left, float(objective.queue_length))
        self.refused += left - self.backlog
        self.completed += done
        self.busy_seconds += done * service_seconds

    def restart(self) -> None:
        """Become a new process, which has counted nothing."""
        self.started += 1.0
        self.arrivals = self.completed = self.busy_seconds = self.refused = self.backlog = 0.0

    def sample(self, now: float) -> PodSample:
        return PodSample(
            name=self.name,
            at=now,
            started=self.started,
            arrivals=self.arrivals,
            completed=self.completed,
            busy_seconds=self.busy_seconds,
            queued=self.backlog,
            running=min(1.0, self.backlog),
            refused=self.refused,
            late=self.refused + self.late,
        )


@dataclass(slots=True, kw_only=True)
class SimulatedPods:
    """Pods of one PoseCluster. `decide` may be a wrong one, to see whether a test notices."""

    replicas: int = 1
    policy: Policy = POLICY
    decide: Decide = decide
    service_seconds: float = SERVICE_SECONDS
    start_seconds: float = 4.0
    now: float = 1000.0
    pods: list[Pod] = field(default_factory=list)
    state: State = field(init=False)
    _made: int = 0

    def __post_init__(self) -> None:
        self.forget()
        self._resize(ready_at=self.now)

    def forget(self) -> None:
        """Be a restarted operator."""
        self.state = State(policy=self.policy)

    def resume(self, other: "SimulatedPods") -> "SimulatedPods":
        """Remember what the other's operator does."""
        self.state = other.state
        return self

    @property
    def ready(self) -> list[Pod]:
        return [pod for pod in self.pods if pod.ready_at <= self.now]

    def pass_second(self, rate: float) -> Pods:
        """Let a second pass under so many requests, and return what a scrape of each ready pod reads."""
        self.now += 1.0
        ready = self.ready
        for pod in ready:
            pod.serve(rate / len(ready), self.policy.objective, self.service_seconds)
        return tuple(pod.sample(self.now) for pod in ready)

    def size(self, pods: Pods, *, listed: bool = True, taken_over: bool = False) -> Decision:
        """Decide from these samples, and make it so."""
        samples = Samples(
            replicas=self.replicas,
            ready=len(self.ready),
            pods=pods,
            listed=listed,
            taken_over=taken_over,
        )
        decision = self.decide(self.now, samples, self.state)
        self.state = decision.state
        self.resize(decision.replicas)
        return decision

    def run(self, seconds: int, rate: float) -> list[Decision]:
        """Let time pass, all of it seen."""
        return [self.size(self.pass_second(rate)) for _ in range(seconds)]

    def resize(self, replicas: int) -> None:
        """Order a size, as anybody may."""
        self.replicas = replicas
        self._resize(ready_at=self.now + self.start_seconds)

    def _resize(self, *, ready_at: float) -> None:
        del self.pods[self.replicas :]
        while len(self.pods) < self.replicas:
            self.pods.append(Pod(f"pod-{self._made}", ready_at))
            self._made += 1


def settled(rate: float, *, policy: Policy = POLICY, replicas: int = 1) -> SimulatedPods:
    """Return a fleet that has carried this rate for so long that its size no longer changes."""
    fleet = _settled(rate, policy, replicas)
    return replace(fleet, pods=[replace(pod) for pod in fleet.pods]).resume(fleet)


@cache
def _settled(rate: float, policy: Policy, replicas: int) -> SimulatedPods:
    fleet = SimulatedPods(policy=policy, replicas=replicas)
    fleet.run(40, rate)
    for pod in fleet.pods:
        pod.backlog = 0.0
    fleet.run(int(fleet.policy.max_hold_seconds) + 60, rate)
    return fleet


def falls(sizes: Iterable[int]) -> list[tuple[int, int]]:
    """Return each step down."""
    sizes = list(sizes)
    return [(one, other) for one, other in pairwise(sizes) if other < one]


# ---- faults of samples: the good sample, the last one read -> what `decide` is given

Fault = Callable[[PodSample, PodSample | None], Sequence[PodSample]]
FAULTS: Mapping[str, Fault] = {
    "gone": lambda good, last: (),
    "stale": lambda good, last: () if last is None else (last,),
    "old": lambda good, last: (replace(good, at=good.at - 60.0),),
    "not a number": lambda good, last: (replace(good, arrivals=float("nan")),),
    "endless": lambda good, last: (replace(good, busy_seconds=float("inf")),),
    "negative": lambda good, last: (replace(good, queued=-1.0),),
    "huge": lambda good, last: (replace(good, completed=1e308),),
    "twice": lambda good, last: (good, replace(good, arrivals=0.0)),
    "jumping": lambda good, last: (replace(good, arrivals=good.arrivals + 1e12),),
}
