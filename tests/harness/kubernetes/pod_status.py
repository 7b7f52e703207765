"""Pod status by Behaviour, with the texts of kubelet, containerd and scheduler of Kubernetes 1.34. Pure."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

Json = dict[str, Any]


class Behaviour(StrEnum):
    """How a pod fares; the values are image tags that ask for it."""

    READY = "ready"
    IMAGE_MISSING = "missing"
    CRASH = "crash"
    NEVER_READY = "never-ready"
    QUOTA = "quota"
    UNSCHEDULABLE = "unschedulable"
    CONFIG_ERROR = "config-error"
    CREATING = "creating"


CRASH_MESSAGE = "posecluster-inference: POSECLUSTER_WORKERS must be 0 to 64, not -1\n"
_PULL_ERROR = (
    'failed to pull and unpack image "{image}": failed to resolve reference "{image}": '
    'failed to do request: Head "https://{host}/v2/{path}": dial tcp: lookup {host}: no such host'
)
_NO_NODE = (
    "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: "
    "0/1 nodes are available: 1 No preemption victims found for incoming pod."
)
QUOTA_MESSAGE = (
    'pods "{name}" is forbidden: exceeded quota: pods, requested: pods=1, used: pods=3, limited: pods=3'
)


def pod_status(pod: Mapping[str, Any], behaviour: Behaviour, *, step: int, now: str, address: str) -> Json:
    """The status of a pod at a step of its life; the last step holds.

    Steps: 0 it begins; 1 it is as it will be, or its first try failed; 2 the kubelet backs off.
    """
    if behaviour is Behaviour.UNSCHEDULABLE:
        return _unscheduled(now)
    container = pod["spec"]["containers"][0]
    state, ready, restarts, last = _container(pod, container, behaviour, step=step, now=now)
    started = "running" in state
    entry: Json = {
        "name": container["name"],
        "image": container["image"],
        "imageID": "example.test/pose@sha256:" + "0" * 64 if started or restarts else "",
        "containerID": f"containerd://{pod['metadata']['uid']}" if started or restarts else "",
        "ready": ready,
        "started": ready,
        "restartCount": restarts,
        "state": state,
        "lastState": last,
    }
    unready = {
        "status": "False",
        "reason": "ContainersNotReady",
        "message": f"containers with unready status: [{container['name']}]",
    }
    readiness = {"status": "True"} if ready else unready
    network = "False" if behaviour is Behaviour.CREATING or step == 0 else "True"
    status: Json = {
        "observedGeneration": 1,
        "phase": "Running" if started or restarts else "Pending",
        "startTime": now,
        "conditions": [
            _condition("PodReadyToStartContainers", {"status": network}, now),
            _condition("Initialized", {"status": "True"}, now),
            _condition("Ready", readiness, now),
            _condition("ContainersReady", readiness, now),
            _condition("PodScheduled", {"status": "True"}, now),
        ],
        "containerStatuses": [entry],
    }
    if network == "True":
        status |= {"podIP": address, "podIPs": [{"ip": address}], "hostIP": "127.0.0.1"}
    return status


def last_step(behaviour: Behaviour) -> int:
    """The step after which nothing changes any more."""
    if behaviour in {Behaviour.IMAGE_MISSING, Behaviour.CRASH}:
        return 2
    return 0 if behaviour in {Behaviour.UNSCHEDULABLE, Behaviour.CREATING} else 1


def image_behaviour(image: str) -> Behaviour:
    """What the image's tag asks for; READY for all others."""
    tag = image.rpartition(":")[2]
    return Behaviour(tag) if tag in set(Behaviour) else Behaviour.READY


def _container(
    pod: Mapping[str, Any], container: Mapping[str, Any], behaviour: Behaviour, *, step: int, now: str
) -> tuple[Json, bool, int, Json]:
    """State, readiness, restarts and last state."""
    image, metadata = container["image"], pod["metadata"]
    if step == 0 or behaviour is Behaviour.CREATING:
        return {"waiting": {"reason": "ContainerCreating"}}, False, 0, {}
    if behaviour is Behaviour.IMAGE_MISSING:
        host, _, path = image.rpartition(":")[0].partition("/")
        error = _PULL_ERROR.format(image=image, host=host, path=path)
        if step == 1:
            return {"waiting": {"reason": "ErrImagePull", "message": error}}, False, 0, {}
        message = f'Back-off pulling image "{image}": ErrImagePull: {error}'
        return {"waiting": {"reason": "ImagePullBackOff", "message": message}}, False, 0, {}
    if behaviour is Behaviour.CONFIG_ERROR:
        message = 'secret "tokens" not found'
        return {"waiting": {"reason": "CreateContainerConfigError", "message": message}}, False, 0, {}
    if behaviour is Behaviour.CRASH:
        terminated = {
            "exitCode": 2,
            "reason": "Error",
            "message": CRASH_MESSAGE,
            "startedAt": now,
            "finishedAt": now,
            "containerID": f"containerd://{metadata['uid']}",
        }
        if step == 1:
            return {"terminated": terminated}, False, 0, {}
        message = (
            f"back-off 10s restarting failed container={container['name']} "
            f"pod={metadata['name']}_{metadata['namespace']}({metadata['uid']})"
        )
        waiting = {"waiting": {"reason": "CrashLoopBackOff", "message": message}}
        return waiting, False, 1, {"terminated": terminated}
    return {"running": {"startedAt": now}}, behaviour is Behaviour.READY, 0, {}


def _unscheduled(now: str) -> Json:
    condition = {"status": "False", "reason": "Unschedulable", "message": _NO_NODE}
    return {
        "phase": "Pending",
        "conditions": [_condition("PodScheduled", condition, now)],
    }


def _condition(type_: str, fields: Mapping[str, str], now: str) -> Json:
    return {
        "type": type_,
        "observedGeneration": 1,
        "lastProbeTime": None,
        "lastTransitionTime": now,
        **fields,
    }
