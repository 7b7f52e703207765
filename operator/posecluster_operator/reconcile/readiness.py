"""Whether the current generation is rolled out: `Ready`, `Reconciling` and `Stalled`; pure.

kstatus, and so Flux and Helm, reads these three. Sizes set by the autoscaler do not affect them, because
otherwise a tool that waits for a rollout would report every burst.
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

    While paused, both may be absent. `is_final`: the reason for which Progressing is False is permanent.
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
    """Return whether the generation is rolled out. `desired` is None if it was not applied completely.

    It is rolled out when every pod matches the spec and as many are available as the spec itself requires.
    Afterwards, when the generation is `last`, a lost pod or another size does not change this; only pods
    with another spec do.
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
    """Return whether the observed generation is `last`, the one rolled out last (0 for none)."""
    return 0 < last == observed_generation(cluster)


def ready_generation(status: Json) -> int:
    """Return the generation for which `Ready` is True, or 0."""
    ready = condition(status, ConditionType.READY)
    return count(ready, "observedGeneration") if text(ready, "status") == "True" else 0


def observed_generation(cluster: PoseCluster) -> int:
    """Return the observed generation."""
    if cluster.paused:  # newer generations have not been applied
        return min(cluster.generation, count(cluster.status, "observedGeneration"))
    return cluster.generation
