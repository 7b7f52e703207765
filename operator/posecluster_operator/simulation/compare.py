"""Comparison of the operator's policy with fixed sizes and an HPA, on the same arrivals."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from posecluster_operator.resource.posecluster import PoseCluster, ScalingMode
from posecluster_operator.resource.quantity import parse_quantity
from posecluster_operator.scaling.policy import Policy, Routing
from posecluster_operator.scaling.policy.policy import policy_of
from posecluster_operator.scaling.policy.target import pods_for_rate
from posecluster_operator.simulation.arrivals import Arrivals
from posecluster_operator.simulation.baselines import Fixed, Hpa
from posecluster_operator.simulation.pods import PodModel
from posecluster_operator.simulation.policy_under_test import Change, Own
from posecluster_operator.simulation.run import Outcome, Sizer, simulate

MOST_PODS = 500  # the CRD's maximum
_FIRST_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """The parameters of a simulation, besides the arrivals."""

    cluster: PoseCluster
    routing: Routing
    service_seconds: float
    service_cv: float
    start_seconds: float
    seed: int

    @property
    def policy(self) -> Policy:
        """The operator's policy for the spec, with the routing that the user chose."""
        policy = policy_of(self.cluster)
        return replace(policy, objective=replace(policy.objective, routing=self.routing))

    @property
    def pods(self) -> PodModel:
        """The pods according to the spec."""
        spec = self.cluster.spec
        return PodModel(
            workers=spec.workers,
            places=spec.queue_places,
            latency_seconds=spec.scaling.objective.latency_milliseconds / 1_000,
            deadline_seconds=spec.limits.deadline_milliseconds / 1_000,
            start_seconds=self.start_seconds,
            drain_seconds=float(spec.drain_seconds),
            routing=self.routing,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedSize:
    """The outcome of a fixed size; `roles` describe why it was chosen."""

    size: int
    roles: tuple[str, ...]
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The content of the report. `hpa` is None without a CPU request, which an HPA needs."""

    arrivals: Arrivals
    own: Outcome
    changes: tuple[Change, ...]
    hpa: Outcome | None
    fixed: tuple[FixedSize, ...]
    fewest: int | None  # the smallest fixed size that meets the objective


def compare(setting: Setting, arrivals: Arrivals) -> Comparison:
    """Simulate all policies. Each starts with ready pods for the mean rate of the first minute."""
    policy, spec = setting.policy, setting.cluster.spec

    def tried(sizer: Sizer, size: int) -> Outcome:
        return simulate(arrivals, setting.pods, sizer, size=size, seed=setting.seed)

    first = _first_size(policy, arrivals, setting.service_seconds)
    size = policy.fixed_replicas if policy.mode is ScalingMode.FIXED else first
    sizer = Own(policy, size=size)
    own = tried(sizer, size)
    request = _millicores(spec.resources.requests.cpu)
    hpa = None
    if request > 0:
        limits = {"request_millicores": request, "limit_millicores": _millicores(spec.resources.limits.cpu)}
        bounds = {"least": policy.min_replicas, "most": policy.max_replicas}
        hpa = tried(Hpa(**bounds, size=first, **limits), first)
    outcomes: dict[int, Outcome] = {}

    def fixed(size: int) -> Outcome:
        if size not in outcomes:
            outcomes[size] = tried(Fixed(), size)
        return outcomes[size]

    mean, most = max(1, round(own.mean_size)), max(size for _, size in own.sizes)
    late_share = policy.objective.late_share
    fewest = smallest(lambda size: fixed(size).late_share <= late_share, first=mean)
    roles: dict[int, list[str]] = {}
    if policy.mode is ScalingMode.AUTO:
        roles.setdefault(mean, []).append("its mean size")
        roles.setdefault(most, []).append("its largest size")
    if fewest is not None:
        roles.setdefault(fewest, []).append("smallest to meet it")
    return Comparison(
        arrivals=arrivals,
        own=own,
        changes=tuple(sizer.changes),
        hpa=hpa,
        fixed=tuple(
            FixedSize(size=size, roles=tuple(words), outcome=fixed(size))
            for size, words in sorted(roles.items())
        ),
        fewest=fewest,
    )


def smallest(keeps: Callable[[int], bool], *, first: int) -> int | None:
    """Return the smallest size from 1 to 500 that meets the objective, or None.

    Starts with `first`, an estimate, to save simulations. Assumes that more pods never perform worse.
    """
    low, high = 0, min(first, MOST_PODS)
    while not keeps(high):
        if high == MOST_PODS:
            return None
        low, high = high, min(2 * high, MOST_PODS)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if keeps(middle) else (middle, high)
    return high


def _first_size(policy: Policy, arrivals: Arrivals, service_seconds: float) -> int:
    rate = arrivals.rate(0.0, min(_FIRST_SECONDS, arrivals.seconds))
    pods = math.ceil(pods_for_rate(rate, policy.objective, service_seconds=service_seconds))
    return max(1, policy.min_replicas, min(policy.max_replicas, pods))


def _millicores(quantity: str) -> int:
    return int(1_000 * parse_quantity(quantity))
