"""What the body of a pod says. Pure."""

from posecluster_operator.resource.fields import Json
from posecluster_operator.resource.json_access import child, children, condition, text


def is_active(pod: Json) -> bool:
    """Return whether the pod has neither ended nor is being deleted; controllers count only these."""
    ended = text(child(pod, "status"), "phase") in ("Succeeded", "Failed")
    return not ended and not child(pod, "metadata").get("deletionTimestamp")


def is_ready(pod: Json) -> bool:
    """Return whether the condition Ready is True."""
    return text(condition(child(pod, "status"), "Ready"), "status") == "True"


def belongs_to(pod: Json, deployment: str) -> bool:
    """Return whether a ReplicaSet of the Deployment with this name owns the pod. Labels prove nothing."""
    return any(
        owner.get("controller") is True
        and text(owner, "kind") == "ReplicaSet"
        and text(owner, "name").startswith(f"{deployment}-")
        for owner in children(child(pod, "metadata"), "ownerReferences")
    )


def node_of(pod: Json) -> str:
    """Return the name of the pod's node, or an empty text."""
    return text(child(pod, "spec"), "nodeName")
