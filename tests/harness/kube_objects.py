"""Deployments and pods as Kubernetes 1.34 shows them, for tests of the operator's pure core."""

from typing import Any

REVISION = "0123456789"
IMAGE = "registry.example/pose:1"
POD = "demo-pose-5d8f9c7b6d-x2k4q"
_WHEN = "2026-11-22T22:13:51Z"


def deployment(
    *,
    replicas: int = 1,
    ready: int = 0,
    updated: int | None = None,
    total: int | None = None,
    generation: int = 3,
    observed_generation: int = 3,
    conditions: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """Return Deployment `demo-pose`; counts that are not given are `replicas`."""
    return {
        "metadata": {"name": "demo-pose", "namespace": "default", "generation": generation},
        "spec": {
            "replicas": replicas,
            "template": {"metadata": {"annotations": {"posecluster.io/template-hash": REVISION}}},
        },
        "status": {
            "observedGeneration": observed_generation,
            "replicas": replicas if total is None else total,
            "updatedReplicas": replicas if updated is None else updated,
            "readyReplicas": ready,
            "availableReplicas": ready,
            "conditions": conditions or [],
        },
    }


def progressing(reason: str, message: str = "", *, status: str = "False") -> dict[str, Any]:
    return {"type": "Progressing", "status": status, "reason": reason, "message": message}


def refused(message: str) -> dict[str, Any]:
    """The condition of a Deployment whose pods are refused."""
    return {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message}


DEADLINE = progressing(
    "ProgressDeadlineExceeded", 'ReplicaSet "demo-pose-5d8f9c7b6d" has timed out progressing.'
)


def container(
    *,
    state: dict[str, Any] | None = None,
    last: dict[str, Any] | None = None,
    ready: bool = False,
    started: bool = False,
    restarts: int = 0,
    name: str = "inference",
) -> dict[str, Any]:
    return {
        "name": name,
        "image": IMAGE,
        "imageID": "",
        "ready": ready,
        "started": started,
        "restartCount": restarts,
        "state": state or {"running": {"startedAt": _WHEN}},
        "lastState": last or {},
    }


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"waiting": {"reason": reason, "message": message}}


def terminated(reason: str, code: int, message: str = "") -> dict[str, Any]:
    return {
        "terminated": {
            "reason": reason,
            "exitCode": code,
            "message": message,
            "startedAt": _WHEN,
            "finishedAt": _WHEN,
            "containerID": "containerd://" + "ab" * 32,
        }
    }


def pod(
    *containers: dict[str, Any],
    name: str = POD,
    revision: str = REVISION,
    phase: str = "Pending",
    deleting: bool = False,
    conditions: list[dict[str, Any]] | None = None,
    init: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """Return a pod of Deployment `demo-pose`."""
    metadata: dict[str, Any] = {
        "name": name,
        "namespace": "default",
        "annotations": {"posecluster.io/template-hash": revision},
        "ownerReferences": [
            {"kind": "ReplicaSet", "name": name.rpartition("-")[0], "controller": True, "uid": "1"}
        ],
    }
    if deleting:
        metadata["deletionTimestamp"] = _WHEN
    return {
        "metadata": metadata,
        "spec": {"containers": [{"name": "inference", "image": IMAGE}]},
        "status": {
            "phase": phase,
            "conditions": conditions or [],
            "containerStatuses": list(containers),
            **({"initContainerStatuses": init} if init else {}),
        },
    }


def pod_condition(kind: str, status: str, reason: str = "", message: str = "") -> dict[str, Any]:
    return {"type": kind, "status": status, "reason": reason, "message": message}
