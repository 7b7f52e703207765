"""Whether the current generation is rolled out: `Ready`, `Reconciling` and `Stalled`; pure.

kstatus, and so Flux and Helm, read these three. The autoscaler's sizes do not count: a tool that waits for a
rollout would otherwise report every burst.
"""

from posecluster_operator.reconcile.rollout_diagnosis import judges_current_spec
from posecluster_operator.resource.fields import Json
from posecluster_operator.resource.json_access import child, condition, count, text
from posecluster_operator.resource.posecluster import PoseCluster, ScalingMode
from posecluster_operator.resource.reasons import (
    AvailableReason,
    ConditionType,
    ConditionValue,
    ProgressingReason,
    ReadyReason,
)


def readiness(
    available: ConditionValue, progressing: ConditionValue, *, is_rolled_out: bool, is_final: bool
) -> dict[ConditionType, ConditionValue]:
    """Return `Ready`, and the one of `Reconciling` and `Stalled` that is True while `Ready` is not.

    While paused there may be neither. `is_final`: what Progressing is False for does not go away by waiting.
    """
    serves, why, _ = available
    moves, reason, message = progressing
    if is_rolled_out and (serves or why is AvailableReason.SCALED_TO_ZERO):
        reached = ReadyReason.ROLLED_OUT if serves else ReadyReason.SCALED_TO_ZERO
        return {ConditionType.READY: (True, reached, reached.message)}
    ready: dict[ConditionType, ConditionValue] = {ConditionType.READY: (False, reason, message)}
    if reason is ProgressingReason.PAUSED:
        return ready
    abnormal = ConditionType.STALLED if is_final and not moves else ConditionType.RECONCILING
    return ready | {abnormal: (True, reason, message)}


def is_rolled_out(cluster: PoseCluster, deployment: Json | None, desired: int | None, *, last: int) -> bool:
    """Whether the generation is rolled out; `desired` None: it was not, or not wholly, applied.

    It is when every pod is of its spec and as many are available as the spec itself asks for. From then on
    (it is the `last` that was), neither a lost pod nor the autoscaler's next size takes that back; only pods
    of another spec do.
    """
    status = child(deployment, "status")
    pods = count(status, "replicas")
    if pods != count(status, "updatedReplicas"):
        return False
    if was_rolled_out(cluster, last):
        return True
    if desired is None or deployment is None:
        return False
    scaling, asked = cluster.spec.scaling, cluster.spec.replicas
    if scaling.mode is not ScalingMode.FIXED:
        asked = max(scaling.min_replicas, min(asked, scaling.max_replicas))
    enough = count(status, "availableReplicas") >= min(asked, desired)
    return judges_current_spec(deployment) and pods <= desired and enough


def was_rolled_out(cluster: PoseCluster, last: int) -> bool:
    """Whether the generation that the status is about is the `last` that was rolled out (0: none was)."""
    return 0 < last == observed_generation(cluster)


def ready_generation(status: Json) -> int:
    """Return the generation that `Ready` is True for, or 0."""
    ready = condition(status, ConditionType.READY)
    return count(ready, "observedGeneration") if text(ready, "status") == "True" else 0


def observed_generation(cluster: PoseCluster) -> int:
    """Return the generation that the status is about."""
    if cluster.paused:  # nothing was done for a newer one
        return min(cluster.generation, count(cluster.status, "observedGeneration"))
    return cluster.generation
