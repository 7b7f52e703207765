"""What users can do about a size, by reason. Pure."""

import math
from dataclasses import dataclass

from posecluster_operator.builders.labels import INSTANCE
from posecluster_operator.builders.table import INFERENCE_DEPLOYMENT
from posecluster_operator.resource.posecluster import PAUSED_ANNOTATION, PoseCluster
from posecluster_operator.resource.reasons import ProgressingReason
from posecluster_operator.resource.reasons import ScalingReason as R
from posecluster_operator.scaling.policy.values import Numbers, Policy

NOTHING = "Nothing"  # the first word if no action is needed
COMMAND = "kubectl "  # the beginning of each command line


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A PoseCluster with its size. `ready` and `numbers` are None if unknown.

    `idle`: the number of pods without requests while requests wait in another one.
    """

    namespace: str
    name: str
    replicas: int
    policy: Policy
    ready: int | None = None
    numbers: Numbers | None = None
    idle: int = 0


def fixed_command(namespace: str, name: str, replicas: int) -> str:
    """Return the command that switches to mode `Fixed` at this size."""
    patch = f'{{"spec":{{"replicas":{replicas},"scaling":{{"mode":"Fixed"}}}}}}'
    return f"kubectl -n {namespace} patch posecluster {name} --type merge -p '{patch}'"


def rollout_advice(reason: str, cluster: PoseCluster) -> tuple[str, ...]:
    """Return what to do about this reason of `Progressing`, in addition to the condition's message."""
    kubectl, name = f"kubectl -n {cluster.namespace}", cluster.name
    if reason == ProgressingReason.ROLLOUT_QUEUED:
        return (
            "Nothing: the PoseCluster serves and scales with its present pods. To allow more rollouts at the"
            " same time, raise the chart value operator.settings.concurrentRollouts.",
        )
    if reason != ProgressingReason.CONTESTED:
        return ()
    children = f"deployments,services,poddisruptionbudgets -l {INSTANCE}={name}"
    annotate = f"{kubectl} annotate posecluster {name} {PAUSED_ANNOTATION}"
    return (
        "Find out which client wrote which fields, and when. A second release of the operator has the manager"
        " posecluster-operator, too:",
        f"{kubectl} get {children} -o yaml --show-managed-fields",
        "Exclude these objects from that client, or set the fields in the PoseCluster. Then, to restore them"
        " at once, pause the PoseCluster for some seconds:",
        *(f"{annotate}=true", f"{annotate}-"),
    )


def advice(reason: R, case: Case) -> tuple[str, ...]:
    """Return what to do about this reason: sentences, and commands that begin with `kubectl`."""
    policy, numbers = case.policy, case.numbers
    hold, longest_hold = f"{policy.hold_seconds:.0f}", f"{policy.max_hold_seconds:.0f}"
    kubectl = f"kubectl -n {case.namespace}"
    pods = f"{kubectl} get pods -o wide -l {INSTANCE}={case.name}"
    describe = f"{kubectl} describe posecluster {case.name}"
    annotate = f"{kubectl} annotate posecluster {case.name} {PAUSED_ANNOTATION}"
    lasts, watch = "the size is held", hold
    found, enough, is_short = "more pods are needed", "", True
    if numbers is not None:
        wanted = max(numbers.steady_pods, numbers.burst_pods)
        found, enough = f"{wanted:.1f} pods are needed", f" to {math.ceil(wanted)} or more"
        is_short = wanted > policy.max_replicas
        left = max(0.0, numbers.watch_seconds - numbers.watched_seconds)
        watch, lasts = f"{numbers.watch_seconds:.0f}", f"the size is held for {left:.0f} s more,"
    return {
        R.STEADY: (
            "Nothing. For more capacity than the objective needs, raise spec.scaling.minReplicas. For fewer"
            " late responses, lower spec.scaling.objective.latePermille.",
        ),
        R.DEMAND_ROSE: (
            "Nothing, if such a load is expected. New pods receive requests as soon as they are ready.",
        ),
        R.BURST: (
            "Nothing. If requests are often late in the first seconds of such bursts, raise"
            " spec.scaling.minReplicas, because new pods start too late for the beginning of a burst.",
        ),
        R.DEMAND_FELL: (
            f"Nothing. If pods are removed too soon, raise spec.scaling.scaleDown.holdSeconds (now {hold}).",
        ),
        R.HOLDING_AFTER_BURST: (
            f"Nothing. To remove pods sooner, lower spec.scaling.scaleDown.holdSeconds (now {hold}; after a"
            f" burst, five times that, but at most maxHoldSeconds, now {longest_hold}).",
        ),
        R.JUST_STARTED: (
            f"Nothing: {lasts} until the load has been measured for {watch} s without a gap (two measurements"
            " of a pod are needed for its load). The size can rise in the meantime.",
        ),
        R.WAITING_FOR_PODS: (
            "Nothing, while pods start. If they do not become ready, find out why:",
            *(pods, describe),
        ),
        R.AT_MAXIMUM: (
            *_uneven(case.idle),
            f"The objective may be missed: {found}, but only {policy.max_replicas} are allowed. Raise"
            f" spec.scaling.maxReplicas{enough}, if the nodes have capacity for them; otherwise choose a"
            " smaller spec.model.variant, or relax spec.scaling.objective."
            if is_short
            else "Nothing: the Deployment had more pods than spec.scaling.maxReplicas"
            f" ({policy.max_replicas}) allows.",
        ),
        R.AT_MINIMUM: (
            "Nothing. To run fewer pods, lower spec.scaling.minReplicas (now"
            f" {policy.min_replicas}, at least 1).",
        ),
        R.NO_METRICS: ("No pod is ready, so no load can be measured. Find out why:", pods, describe)
        if case.ready == 0
        else (
            "The size is held, even if the load changes. The operator must be able to reach ready pods on"
            " port 9090: check for a NetworkPolicy that blocks it, and for pods that hang.",
            pods,
            "To set the size yourself in the meantime, switch to mode Fixed, with the size in replicas:",
            fixed_command(case.namespace, case.name, case.replicas),
        ),
        R.PARTIAL_METRICS: (
            "Find the pods whose load cannot be read. Until the load of every ready pod can be read, the size"
            " can rise but does not fall. If a pod does not recover, delete it; it is replaced:",
            pods,
        ),
        R.REPLICAS_TAKEN_OVER: (
            "Nothing, after a single kubectl scale: the operator takes the size back after 10 minutes without"
            " another write. If another client keeps writing the Deployment's spec.replicas, most likely an"
            " HPA, find and remove it:",
            f"{kubectl} get hpa",
            f"{kubectl} get deployment {INFERENCE_DEPLOYMENT.name(case.name)} -o yaml --show-managed-fields",
            "Then, or to end this now, return the size to the operator by pausing it for some seconds:",
            *(f"{annotate}=true", f"{annotate}-"),
        ),
        R.FIXED_SIZE: (
            "Set another size, or set spec.scaling.mode to Auto to let the size follow the load:",
            f"{kubectl} scale posecluster {case.name} --replicas=N",
        ),
        R.PAUSED: (
            "The operator neither scales nor repairs this PoseCluster until it is resumed:",
            f"{annotate}-",
        ),
    }[reason]


def _uneven(idle: int) -> tuple[str, ...]:
    if not idle:
        return ()
    return (
        f"The load does not reach all pods: requests wait in one pod while others ({idle}) have none. More"
        " pods do not help until the clients, or a proxy before the pods, open new connections; check how"
        " they balance the load.",
    )
