"""The next steps and the status of a Deployment controller for one rollout. Pure."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
HASH_LABEL = "pod-template-hash"
_COST = "controller.kubernetes.io/pod-deletion-cost"


@dataclass(frozen=True, slots=True)
class Plan:
    """How many new pods to make, and which pods to delete."""

    create: int
    delete: tuple[Json, ...]


@dataclass(frozen=True, slots=True)
class Progress:
    """What of a rollout is not in its pods."""

    replica_set: str
    late: bool = False
    failure: str = ""


def template_hash(deployment: Mapping[str, Any]) -> str:
    """Ten letters that name a revision."""
    text = json.dumps(deployment["spec"]["template"], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def is_ready(pod: Mapping[str, Any]) -> bool:
    """Whether a pod's Ready condition is True."""
    conditions = pod.get("status", {}).get("conditions", [])
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def revision(pod: Mapping[str, Any]) -> str:
    """The template hash of a pod."""
    return str(pod["metadata"]["labels"].get(HASH_LABEL, ""))


def plan(deployment: Mapping[str, Any], pods: Sequence[Json]) -> Plan:
    """The next step of a rolling update, as kube-controller-manager's rolling.go has it."""
    size, surge, unavailable = _bounds(deployment)
    current = template_hash(deployment)
    new = [pod for pod in pods if revision(pod) == current]
    old = [pod for pod in pods if revision(pod) != current]
    extra = sorted(new, key=_deletion_order)[: max(0, len(new) - size)]
    create = max(0, min(size - len(new), size + surge - len(pods)))
    least = size - unavailable
    unready_new = sum(not is_ready(pod) for pod in new)
    room = max(0, len(pods) - least - unready_new)
    broken = [pod for pod in old if not is_ready(pod)][:room]
    spare = max(0, sum(map(is_ready, pods)) - least)
    healthy = sorted((pod for pod in old if is_ready(pod)), key=_deletion_order)[: min(spare, room)]
    return Plan(create, (*extra, *broken, *healthy))


def deployment_status(
    deployment: Mapping[str, Any], pods: Sequence[Json], progress: Progress, *, now: str
) -> Json:
    """The whole status as the controller would write it; times of unchanged conditions are kept."""
    size, _, unavailable = _bounds(deployment)
    current = template_hash(deployment)
    updated = [pod for pod in pods if revision(pod) == current]
    ready = sum(map(is_ready, pods))
    complete = len(updated) == len(pods) == ready == size
    available = ready >= size - unavailable
    name = progress.replica_set
    if complete:
        moving = ("True", "NewReplicaSetAvailable", f'ReplicaSet "{name}" has successfully progressed.')
    elif progress.late:
        moving = ("False", "ProgressDeadlineExceeded", f'ReplicaSet "{name}" has timed out progressing.')
    else:
        moving = ("True", "ReplicaSetUpdated", f'ReplicaSet "{name}" is progressing.')
    wanted = {
        "Available": ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
        if available
        else ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability."),
        "Progressing": moving,
    }
    if progress.failure:
        wanted["ReplicaFailure"] = ("True", "FailedCreate", progress.failure)
    before = {one["type"]: one for one in deployment.get("status", {}).get("conditions", [])}
    return {
        "observedGeneration": deployment["metadata"]["generation"],
        "replicas": len(pods) or None,
        "updatedReplicas": len(updated) or None,
        "readyReplicas": ready or None,
        "availableReplicas": ready or None,
        "unavailableReplicas": max(0, max(size, len(pods)) - ready) or None,
        "conditions": [_condition(type_, fields, before.get(type_), now) for type_, fields in wanted.items()],
    }


def same_status(deployment: Mapping[str, Any], status: Mapping[str, Any]) -> bool:
    """Whether a Deployment has this status already; None means absent."""
    before = deployment.get("status", {})
    return all(before.get(key) == value for key, value in status.items())


def _bounds(deployment: Mapping[str, Any]) -> tuple[int, int, int]:
    spec = deployment["spec"]
    size = int(spec.get("replicas", 1))
    rolling = spec.get("strategy", {}).get("rollingUpdate", {})
    surge = _share(rolling.get("maxSurge", "25%"), size, math.ceil)
    unavailable = _share(rolling.get("maxUnavailable", "25%"), size, math.floor)
    # both zero would never move
    return size, surge, unavailable if surge or unavailable else 1


def _share(value: Any, size: int, to_whole: Any) -> int:
    if isinstance(value, str):
        return int(to_whole(int(value.rstrip("%")) * size / 100))
    return int(value)


def _deletion_order(pod: Mapping[str, Any]) -> tuple[bool, int, float]:
    """Not ready first, then the cheapest, then the newest."""
    metadata = pod["metadata"]
    cost = int(metadata.get("annotations", {}).get(_COST, 0))
    born = int("".join(letter for letter in metadata["creationTimestamp"] if letter.isdigit()))
    return is_ready(pod), cost, -born


def _condition(type_: str, fields: tuple[str, str, str], before: Json | None, now: str) -> Json:
    status, reason, message = fields
    wanted = {"type": type_, "status": status, "reason": reason, "message": message}
    if before is not None and wanted.items() <= before.items():
        return before
    turned = before["lastTransitionTime"] if before and before["status"] == status else now
    return wanted | {"lastUpdateTime": now, "lastTransitionTime": turned}
