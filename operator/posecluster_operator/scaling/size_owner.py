"""Who sets the number of pods: the operator, or another client that writes to the Deployment. Pure."""

from dataclasses import dataclass
from datetime import UTC, datetime

from posecluster_operator.builders import labels
from posecluster_operator.resource.fields import Json
from posecluster_operator.resource.json_access import child, children, condition, count, text
from posecluster_operator.resource.posecluster import PoseCluster
from posecluster_operator.resource.reasons import ConditionType, ScalingReason

SILENT_SECONDS = 600.0  # an HPA evaluates every 15 s, and by default delays a step down by at most 5 minutes


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeOwner:
    """Who sets the Deployment's size: the operator, or, with `taken_over`, another client.

    `taken_back`: in this generation the operator has taken the size back from an inactive client.
    `seconds_left`: the time until it does, or None if it does not.
    """

    taken_over: bool = False
    taken_back: bool = False
    seconds_left: float | None = None


def size_owner(cluster: PoseCluster, deployment: Json | None, *, now: datetime) -> SizeOwner:
    """Return who sets the Deployment's size, according to its managedFields.

    Users return the size to the operator by a change of the spec or by a pause. A client that set the size
    and then wrote nothing for 10 minutes also loses it, but only once per generation, because a second write
    shows that it keeps writing, as an HPA does. `now` is aware.
    """
    before = condition(cluster.status, ConditionType.SCALING_ACTIVE)
    reason = text(before, "reason")
    was_taken_over = reason == ScalingReason.REPLICAS_TAKEN_OVER
    handed_back = was_taken_over and count(before, "observedGeneration") < cluster.generation
    if deployment is None or handed_back or reason == ScalingReason.PAUSED:
        return SizeOwner()
    noted = text(child(deployment, "metadata", "annotations"), labels.SIZE_TAKEN_BACK)
    taken_back = noted == str(cluster.generation)
    written = _written_by_others(deployment, now)
    if written is None:
        return SizeOwner(taken_back=taken_back)
    if taken_back:
        return SizeOwner(taken_over=True, taken_back=True)
    seconds_left = SILENT_SECONDS - (now - written).total_seconds()
    if seconds_left > 0:
        return SizeOwner(taken_over=True, seconds_left=seconds_left)
    return SizeOwner(taken_back=True)


def _written_by_others(deployment: Json, now: datetime) -> datetime | None:
    """Return when another client last set the size, or None. A malformed time counts as now."""
    entries = [
        entry
        for entry in children(child(deployment, "metadata"), "managedFields")
        if "f:replicas" in child(entry, "fieldsV1", "f:spec")
    ]
    if not entries or any(entry.get("manager") == labels.MANAGER for entry in entries):
        return None
    try:
        return max(datetime.fromisoformat(text(entry, "time")).astimezone(UTC) for entry in entries)
    except (ValueError, OverflowError):
        return now
