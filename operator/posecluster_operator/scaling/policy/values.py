"""What goes into `decide` and comes out of it."""

from dataclasses import dataclass, field

from posecluster_operator.resource.posecluster import ScalingMode
from posecluster_operator.resource.reasons import ScalingReason
from posecluster_operator.scaling.policy.demand import PodSample
from posecluster_operator.scaling.policy.history import History
from posecluster_operator.scaling.policy.target import ServiceLevel
from posecluster_operator.scaling.policy.windows import WINDOWS, Windows


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the user asked for. `fixed_replicas`: the size in `Fixed`, the first one in `Auto`."""

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
    """What is seen now.

    `replicas`: the size ordered, starting pods included; None before there is a Deployment.
    `ready`: the pods that should answer. `pods`: the last sample of each, of a silent one too.
    `listed`: the list of pods is recent. `taken_over`: somebody else set the size.
    """

    replicas: int | None
    ready: int
    pods: tuple[PodSample, ...] = ()
    listed: bool = True
    taken_over: bool = False
    stale_seconds: float = WINDOWS.stale_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """The user's policy and what is remembered: a value, handed back with each Decision."""

    policy: Policy
    history: History = field(default_factory=History)


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What status.load shows of all pods together; `late_permille` of the requests of the last 20 s."""

    queued: int
    running: int
    requests_per_second: int
    late_permille: int
    scraped_pods: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """The figures behind a size; pods are fractions, to be rounded up."""

    requests_per_second: float  # in the last `busy_seconds`
    busy_seconds: float
    refused_per_second: float
    service_seconds: float
    utilisation: float  # of the workers, that the objective allows
    steady_pods: float  # that the mean rate wants
    burst_pods: float  # that the bursts of the last seconds want
    highest_pods: float  # wanted within the hold window
    highest_age_seconds: float
    hold_seconds: float
    watched_seconds: float  # for so long the load is known without a gap
    ready: int
    measured: int

    @property
    def watch_seconds(self) -> float:
        """For how long the load must be known without a gap before a step down."""
        return max(self.hold_seconds, self.busy_seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The size, why, and the state for the next time.

    `blind`: why the size does not follow from load, or not from all of it. `load` and `numbers`:
    None when it follows from none.
    """

    replicas: int
    reason: ScalingReason
    state: State
    blind: ScalingReason | None = None
    load: Load | None = None
    numbers: Numbers | None = None
