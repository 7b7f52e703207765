"""The parts of the status about scaling: ScalingActive, `load` and `lastScaling`. Pure."""

from datetime import datetime
from typing import Any

from posecluster_operator.resource.fields import Json
from posecluster_operator.resource.json_access import child, condition, text
from posecluster_operator.resource.posecluster import PoseCluster, ScalingMode
from posecluster_operator.resource.reasons import ConditionType, ConditionValue, ScalingReason
from posecluster_operator.resource.stable_text import stamp
from posecluster_operator.scaling.policy import Decision
from posecluster_operator.scaling.policy.sentence import sentence
from posecluster_operator.scaling.policy.shown import Shown

SCALE_IGNORED = (
    "spec.replicas, which kubectl scale or an HPA set, has no effect while spec.scaling.mode is Auto: set "
    "spec.scaling.minReplicas or spec.scaling.maxReplicas instead, or set the mode to Fixed."
)


def scaling_condition(cluster: PoseCluster, decision: Decision | None, shown: Shown | None) -> ConditionValue:
    """Return the condition ScalingActive."""
    return _with_scale_ignored(cluster, _scaling_condition(cluster, decision, shown))


def scaling_as_before(cluster: PoseCluster) -> ConditionValue:
    """Return ScalingActive as in the current status, if that is valid."""
    return _with_scale_ignored(cluster, _as_before(cluster))


def _with_scale_ignored(cluster: PoseCluster, value: ConditionValue) -> ConditionValue:
    holds, reason, message = value
    return holds, reason, f"{message} {SCALE_IGNORED}" if cluster.is_scale_ignored else message


def _scaling_condition(
    cluster: PoseCluster, decision: Decision | None, shown: Shown | None
) -> ConditionValue:
    if shown:
        return shown.active, shown.reason, shown.reason.message
    if decision and decision.blind:
        return False, decision.blind, decision.blind.message
    if decision:
        return _as_before(cluster)
    if cluster.paused:
        reason = ScalingReason.PAUSED
    elif cluster.spec.scaling.mode is ScalingMode.FIXED:
        reason = ScalingReason.FIXED_SIZE
    elif _as_before(cluster)[1] is ScalingReason.REPLICAS_TAKEN_OVER:
        reason = ScalingReason.REPLICAS_TAKEN_OVER  # also while the spec is invalid
    else:
        reason = ScalingReason.NO_METRICS
    return False, reason, reason.message


def _as_before(cluster: PoseCluster) -> ConditionValue:
    before = condition(cluster.status, ConditionType.SCALING_ACTIVE)
    found = [reason for reason in ScalingReason if reason == text(before, "reason")]
    active = text(before, "status") == "True"
    if not found or found[0].is_active != active:
        return False, ScalingReason.NO_METRICS, ScalingReason.NO_METRICS.message
    return active, found[0], found[0].message


def shown_load(cluster: PoseCluster, decision: Decision | None, shown: Shown | None) -> Json:
    """Return `load`, or an empty object if nothing is measured."""
    if decision is not None and decision.blind is None and shown is None:
        return child(cluster.status, "load")
    if shown is None or shown.load is None:
        return {}
    load = shown.load
    return {
        "queued": load.queued,
        "running": load.running,
        "requestsPerSecond": load.requests_per_second,
        "lateRequestsPermille": load.late_permille,
        "scrapedPods": load.scraped_pods,
    }


def scaled(decision: Decision, *, before: int, now: datetime) -> dict[str, Any]:
    """Return `lastScaling` for a change of size that was just applied."""
    return {
        "time": stamp(now),
        "from": before,
        "to": decision.replicas,
        "reason": decision.reason.value,
        "message": sentence(decision),
    }
