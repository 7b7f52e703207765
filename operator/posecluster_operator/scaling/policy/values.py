"""Inputs and outputs of `decide`."""

from dataclasses import dataclass, field

from posecluster_operator.resource.posecluster import ScalingMode
from posecluster_operator.resource.reasons import ScalingReason
from posecluster_operator.scaling.policy.demand import PodSample
from posecluster_operator.scaling.policy.history import History
from posecluster_operator.scaling.policy.target import ServiceLevel
from posecluster_operator.scaling.policy.windows import WINDOWS, Windows


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The desired scaling. `fixed_replicas`: the size in mode `Fixed`, and the initial size in `Auto`."""

    objective: ServiceLevel
    mode: ScalingMode = ScalingMode.AUTO
    fixed_replicas: int = 1
    min_replicas: int
    max_replicas: int
    hold_seconds: float = 60.0
    max_hold_seconds: float = 300.0
    windows: Windows = WINDOWS


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """The present observations.

    `replicas`: the Deployment's size, including starting pods; None if there is no Deployment.
    `ready`: the number of ready pods. `pods`: the last sample of each pod, also if it is not recent.
    `listed`: the list of pods is recent. `taken_over`: another client sets the size.
    """

    replicas: int | None
    ready: int
    pods: tuple[PodSample, ...] = ()
    listed: bool = True
    taken_over: bool = False
    stale_seconds: float = WINDOWS.stale_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """The policy and the history: an immutable value, which each Decision returns updated."""

    policy: Policy
    history: History = field(default_factory=History)


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """The content of status.load, for all pods together; `late_permille` is of the last 20 s."""

    queued: int
    running: int
    requests_per_second: int
    late_permille: int
    scraped_pods: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """The figures behind a size; pods are fractions to be rounded up."""

    requests_per_second: float  # in the last `busy_seconds`
    busy_seconds: float
    refused_per_second: float
    service_seconds: float
    utilisation: float  # of the workers, as allowed by the objective
    steady_pods: float  # needed for the mean rate
    burst_pods: float  # needed for bursts in the last seconds
    highest_pods: float  # highest need within the hold window
    highest_age_seconds: float
    hold_seconds: float
    watched_seconds: float  # for how long the load is known without a gap
    ready: int
    measured: int

    @property
    def watch_seconds(self) -> float:
        """For how long the load must be known without a gap before a step down."""
        return max(self.hold_seconds, self.busy_seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The size, its reason, and the state for the next decision.

    `blind`: why the size does not follow from the load of all pods. `load` and `numbers` are None if no load
    is known.
    """

    replicas: int
    reason: ScalingReason
    state: State
    blind: ScalingReason | None = None
    load: Load | None = None
    numbers: Numbers | None = None
