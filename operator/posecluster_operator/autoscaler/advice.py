"""What a person can do about a size, by its reason: for whoever is called at night. Pure."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType

from posecluster_operator.autoscaler.values import Numbers, Policy
from posecluster_operator.builders.labels import INSTANCE, child_name
from posecluster_operator.models import PAUSED_ANNOTATION
from posecluster_operator.reasons import ScalingReason

Lines = tuple[str, ...]

NOTHING = "Nothing"  # what an advice begins with if nobody need do anything


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A PoseCluster with its size; None: not known, as from the resource alone."""

    namespace: str
    name: str
    replicas: int
    policy: Policy
    ready: int | None = None
    numbers: Numbers | None = None

    def kubectl(self, words: str) -> str:
        """Return a command for this PoseCluster's namespace."""
        return f"kubectl -n {self.namespace} {words}"

    @property
    def pods(self) -> str:
        """The command that lists its pods."""
        return self.kubectl(f"get pods -o wide -l {INSTANCE}={self.name}")

    @property
    def wanted(self) -> float | None:
        """Pods wanted at this moment; a fraction."""
        return None if self.numbers is None else max(self.numbers.steady_pods, self.numbers.burst_pods)


def advice(reason: ScalingReason, case: Case) -> Lines:
    """Return what to do: sentences, and lines that begin with `kubectl`."""
    return _ADVICE[reason](case)


def _steady(case: Case) -> Lines:
    return (
        "Nothing. For more room than the objective wants, raise spec.scaling.minReplicas; if answers"
        " should be late less often, lower spec.scaling.objective.latePermille.",
    )


def _raised(case: Case) -> Lines:
    return ("Nothing, if such a load is to be expected. New pods count as soon as they are ready.",)


def _burst(case: Case) -> Lines:
    return (
        "Nothing. If the first seconds of such bursts are often late, raise spec.scaling.minReplicas:"
        " only pods that run already can help so soon.",
    )


def _fell(case: Case) -> Lines:
    hold = case.policy.hold_seconds
    return (f"Nothing. If pods go too soon, raise spec.scaling.scaleDown.holdSeconds (now {hold:.0f}).",)


def _holding(case: Case) -> Lines:
    hold, longest = case.policy.hold_seconds, case.policy.max_hold_seconds
    return (
        "Nothing. To give pods back sooner, lower spec.scaling.scaleDown.holdSeconds"
        f" (now {hold:.0f}; five times that, at most maxHoldSeconds, now {longest:.0f}, after a burst).",
    )


def _just_started(case: Case) -> Lines:
    if case.numbers is None:
        return (
            f"Nothing: it lasts until the load was watched for {case.policy.hold_seconds:.0f} s without a gap"
            " (a pod's load is known when it was read twice). The size can rise meanwhile.",
        )
    hold = case.numbers.watch_seconds
    left = max(0.0, hold - case.numbers.watched_seconds)
    return (
        f"Nothing: it lasts {left:.0f} s more, until the load was watched for {hold:.0f} s without a gap."
        " The size can rise meanwhile.",
    )


def _waiting(case: Case) -> Lines:
    return (
        "Nothing, while pods start. If they do not become ready, look at why:",
        case.pods,
        case.kubectl(f"describe posecluster {case.name}"),
    )


def _at_maximum(case: Case) -> Lines:
    most, wanted = case.policy.max_replicas, case.wanted
    if wanted is not None and wanted <= most:
        return (f"Nothing: more pods were ordered than spec.scaling.maxReplicas ({most}) allows.",)
    found = "more are wanted" if wanted is None else f"{wanted:.1f} are wanted"
    enough = "" if wanted is None else f" to {math.ceil(wanted)} or more"
    return (
        f"The objective may be missed: {found} and {most} allowed. Raise spec.scaling.maxReplicas{enough}, if"
        " the nodes have room for them; else take a smaller spec.model.variant, or loosen"
        " spec.scaling.objective.",
    )


def _at_minimum(case: Case) -> Lines:
    least = case.policy.min_replicas
    if least == 1:
        return ("Nothing: there is always one pod.",)
    return (f"Nothing. To pay for fewer, lower spec.scaling.minReplicas (now {least}).",)


def fixed_command(namespace: str, name: str, replicas: int) -> str:
    """Return the command that switches to mode `Fixed` at this size."""
    patch = f'{{"spec":{{"replicas":{replicas},"scaling":{{"mode":"Fixed"}}}}}}'
    return f"kubectl -n {namespace} patch posecluster {name} --type merge -p '{patch}'"


def _by_hand(case: Case) -> Lines:
    command = fixed_command(case.namespace, case.name, case.replicas)
    return ("To set the size yourself in the meantime, switch to mode Fixed; replicas is the size:", command)


def _no_metrics(case: Case) -> Lines:
    if case.ready == 0:
        return (
            "No pod is ready, so there is nothing to read. Look at why:",
            case.pods,
            case.kubectl(f"describe posecluster {case.name}"),
        )
    return (
        "The size is held, whatever the load is. Ready pods should answer the operator on port 9090: look"
        " for a NetworkPolicy that keeps it away, and for pods that hang.",
        case.pods,
        *_by_hand(case),
    )


def _partial_metrics(case: Case) -> Lines:
    return (
        "Look at the pods that cannot be read: until all ready ones can, the size can rise with what is"
        " known, and not fall. A pod that stays silent can be deleted, it is replaced:",
        case.pods,
    )


def _taken_over(case: Case) -> Lines:
    deployment = child_name(case.name)
    return (
        "Nothing, after a single kubectl scale: the operator takes the size back after 10 minutes without"
        " another write. If somebody goes on writing the Deployment's spec.replicas, an HPA most likely, find"
        " and remove that:",
        case.kubectl("get hpa"),
        case.kubectl(f"get deployment {deployment} -o yaml --show-managed-fields"),
        "Then, or to end it now, hand the size back by a pause of some seconds:",
        case.kubectl(f"annotate posecluster {case.name} {PAUSED_ANNOTATION}=true"),
        case.kubectl(f"annotate posecluster {case.name} {PAUSED_ANNOTATION}-"),
    )


def _fixed(case: Case) -> Lines:
    return (
        "Set another size, or let the load set it with spec.scaling.mode Auto:",
        case.kubectl(f"scale posecluster {case.name} --replicas=N"),
    )


def _paused(case: Case) -> Lines:
    return (
        "Nothing is done for this PoseCluster, neither scaled nor repaired, until it is resumed:",
        case.kubectl(f"annotate posecluster {case.name} {PAUSED_ANNOTATION}-"),
    )


_ADVICE = MappingProxyType[ScalingReason, Callable[[Case], Lines]](
    {
        ScalingReason.STEADY: _steady,
        ScalingReason.DEMAND_ROSE: _raised,
        ScalingReason.BURST: _burst,
        ScalingReason.DEMAND_FELL: _fell,
        ScalingReason.HOLDING_AFTER_BURST: _holding,
        ScalingReason.JUST_STARTED: _just_started,
        ScalingReason.WAITING_FOR_PODS: _waiting,
        ScalingReason.AT_MAXIMUM: _at_maximum,
        ScalingReason.AT_MINIMUM: _at_minimum,
        ScalingReason.NO_METRICS: _no_metrics,
        ScalingReason.PARTIAL_METRICS: _partial_metrics,
        ScalingReason.REPLICAS_TAKEN_OVER: _taken_over,
        ScalingReason.FIXED_SIZE: _fixed,
        ScalingReason.PAUSED: _paused,
    }
)
