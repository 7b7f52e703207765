"""Why a rollout is stuck, with the messages of the pods. Pure.

A failure is reported as soon as it is observed. Its text stays the same while the failure lasts (see
`stable_text`), although Kubernetes alternates between states, such as ErrImagePull and ImagePullBackOff, or
Running and CrashLoopBackOff.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from posecluster_operator.builders.deployment import CONTAINER
from posecluster_operator.builders.labels import TEMPLATE_HASH
from posecluster_operator.resource.fields import Json
from posecluster_operator.resource.json_access import child, children, condition, count, text
from posecluster_operator.resource.reasons import ProgressingReason
from posecluster_operator.resource.stable_text import stable
from posecluster_operator.scaling.pods import belongs_to, is_active, is_ready

_SERVER = "posecluster-inference: "
_PULL = {
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "ImageInspectError",
    "RegistryUnavailable",
    "SignatureValidationFailed",
}
_CREATE = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}
# the reasons of a terminated container after RunContainerError
_NOT_STARTED = {"StartError", "ContainerCannotRun"}
_BACK_OFF = re.compile(r'^Back-off pulling image "[^"]*"(?:: )?')
_REMOTE_ERROR = re.compile(r"^rpc error: code = \w+ desc = ")
_OWN_REASON = re.compile(r"^([A-Z][A-Za-z]+): ")
# 'pods "NAME-RANDOM" is forbidden: ', 'Pod "NAME-RANDOM" is invalid: '
_REFUSED = re.compile(r'^[A-Za-z.]+ "[^"]*" is (?:forbidden|invalid): ')
_NEW_REPLICA_SET = re.compile(r'^Failed to create new replica set "[^"]*": ')
_NODES = re.compile(r"^\d+/\d+ nodes are available: ")

_MAKE_ROOM = (
    "Add a node, free capacity on one, lower spec.resources.requests, or allow the pods on more nodes "
    "(spec.nodeSelector, spec.affinity, spec.tolerations). A rollout starts new pods before it stops old "
    "ones, so it needs capacity for a quarter more pods, at least one, unless "
    "spec.rollout.maxUnavailable is set."
)

# If pods fail for different reasons, the first of these is reported: those that the spec can fix come first.
_ORDER = (
    ProgressingReason.IMAGE_PULL_BACK_OFF,
    ProgressingReason.CREATE_CONTAINER_ERROR,
    ProgressingReason.CRASH_LOOP_BACK_OFF,
    ProgressingReason.FAILED_CREATE,
    ProgressingReason.UNSCHEDULABLE,
)


@dataclass(frozen=True, slots=True)
class Failure:
    """A reason for `Progressing`, and its message."""

    reason: ProgressingReason
    message: str


def find_failure(deployment: Json, pods: Sequence[Json], *, token_secret: str | None) -> Failure | None:
    """Return why pods of the Deployment's template do not become ready, or None.

    `pods` may contain others, which are ignored: those that are ending, have ended, are ready, or belong to
    an older template.
    """
    current = [pod for pod in pods if _is_current(pod, deployment) and is_active(pod) and not is_ready(pod)]
    found = [failure for pod in current for failure in _pod_failures(pod, deployment)]
    found += _refusals(deployment)
    if found:
        return min(found, key=lambda failure: (_ORDER.index(failure.reason), failure.message))
    if not _deadline_passed(deployment):
        return None
    if not current and any(_is_current(pod, deployment) for pod in pods):
        return None  # all are ready; the deadline was exceeded for a spec that has been reverted
    return _too_slow(current, token_secret)


def judges_current_spec(deployment: Json) -> bool:
    """Return whether the Deployment's status is about its current spec."""
    return count(child(deployment, "status"), "observedGeneration") >= count(
        child(deployment, "metadata"), "generation"
    )


def template_hash(deployment: Json | None) -> str:
    """Return the hash of the Deployment's pod template, which its pods also carry; empty if it has none."""
    return text(child(deployment, "spec", "template", "metadata", "annotations"), TEMPLATE_HASH)


def has_given_up(deployment: Json) -> bool:
    """Return whether Kubernetes reports that the rollout makes no progress."""
    progressing = condition(child(deployment, "status"), "Progressing")
    # With ReplicaSetCreateError, the controller does not set observedGeneration.
    return text(progressing, "status") == "False" and (
        text(progressing, "reason") == "ReplicaSetCreateError" or judges_current_spec(deployment)
    )


def _name(deployment: Json) -> str:
    return text(child(deployment, "metadata"), "name")


def _is_current(pod: Json, deployment: Json) -> bool:
    of_pod = text(child(pod, "metadata", "annotations"), TEMPLATE_HASH)
    return of_pod == template_hash(deployment) and belongs_to(pod, _name(deployment))


def _pod_failures(pod: Json, deployment: Json) -> Iterator[Failure]:
    status = child(pod, "status")
    scheduled = condition(status, "PodScheduled")
    if text(scheduled, "status") == "False" and text(scheduled, "reason") == "Unschedulable":
        yield Failure(
            ProgressingReason.UNSCHEDULABLE,
            f"Unschedulable: {_no_node(text(scheduled, 'message')).rstrip('.')}. {_MAKE_ROOM}",
        )
    for container in children(status, "initContainerStatuses"):
        terminated = child(container, "state", "terminated")
        if not terminated or count(terminated, "exitCode"):
            yield from _container_failures(container, pod, deployment)
    for container in children(status, "containerStatuses"):
        yield from _container_failures(container, pod, deployment)


def _container_failures(container: Json, pod: Json, deployment: Json) -> Iterator[Failure]:
    if container.get("ready") is True:
        return
    waiting = child(container, "state", "waiting")
    why, message = text(waiting, "reason"), text(waiting, "message")
    ends = [child(container, state, "terminated") for state in ("state", "lastState")]
    end = ends[0] or ends[1]
    # `started`: the startup probe has succeeded since the last crash
    has_crashed = bool(ends[0]) or (bool(ends[1]) and container.get("started") is not True)
    if why in _PULL:
        reason, (why, message) = ProgressingReason.IMAGE_PULL_BACK_OFF, _pull(why, message)
    elif why in _CREATE:
        reason = ProgressingReason.CREATE_CONTAINER_ERROR
    elif text(end, "reason") in _NOT_STARTED and (has_crashed or why):
        reason = ProgressingReason.CREATE_CONTAINER_ERROR
        why, message = "RunContainerError", text(end, "message")
    elif has_crashed or why == "CrashLoopBackOff":
        reason = ProgressingReason.CRASH_LOOP_BACK_OFF
        why, message = "CrashLoopBackOff", _end(end)
    else:
        return
    images = {text(item, "image") for item in children(child(pod, "spec"), "containers")}
    said = stable(message, keep={*images, text(container, "image")}, prefix=_name(deployment))
    name = text(container, "name")
    whose = "" if name == CONTAINER else f"container {stable(name)}: "
    yield Failure(reason, whose + (f"{why}: {said}" if said else why))


def _pull(reason: str, message: str) -> tuple[str, str]:
    """Return reason and message of the pull error, also from a back-off, which quotes the error."""
    rest = _BACK_OFF.sub("", message)
    if reason == "ImagePullBackOff":
        reason = "ErrImagePull"
        if (own := _OWN_REASON.match(rest)) and own[1] in _PULL:
            reason, rest = own[1], rest[own.end() :]
        rest = rest or message
    return reason, _REMOTE_ERROR.sub("", rest)


def _end(ended: Json) -> str:
    """Return reason, exit code and last log line of a terminated container."""
    if not ended:
        return ""
    reason = text(ended, "reason") or "Error"
    told = f"{reason}, exit code {count(ended, 'exitCode')}"
    if reason == "OOMKilled":
        return f"{told}: raise spec.resources.limits.memory, or lower spec.workersPerPod"
    lines = [line for line in text(ended, "message").splitlines() if line.strip()]
    ours = [line for line in lines if line.startswith(_SERVER)]
    last = (ours or lines or [""])[-1].strip()
    return f"{told}: {last}" if last else told


def _no_node(message: str) -> str:
    """Return the reasons, without counts, of "0/3 nodes are available: 1 Insufficient cpu, ..."."""
    # The rest of the message is about preemption and claims, and contains more counts.
    reasons, _, _ = _NODES.sub("", message).partition(". ")
    if reasons == message:
        return stable(message) or "no node accepts the pod"
    each = {re.sub(r"^\d+ ", "", reason.strip(" .")) for reason in reasons.split(", ")}
    return stable("no node accepts the pod: " + ", ".join(sorted(filter(None, each))))


def _refusals(deployment: Json) -> Iterator[Failure]:
    """Yield failures for pods, or for the ReplicaSet, that a quota or an admission check refuses."""
    status = child(deployment, "status")
    failed, progressing = condition(status, "ReplicaFailure"), condition(status, "Progressing")
    refused = (
        judges_current_spec(deployment)
        and text(failed, "status") == "True"
        and text(failed, "reason") == "FailedCreate"
    )
    messages = [text(failed, "message")] if refused else []
    # For this reason the controller does not set observedGeneration.
    if text(progressing, "status") == "False" and text(progressing, "reason") == "ReplicaSetCreateError":
        messages.append(text(progressing, "message"))
    for message in messages:
        said = _REFUSED.sub("", _NEW_REPLICA_SET.sub("", message))
        yield Failure(
            ProgressingReason.FAILED_CREATE,
            f"FailedCreate: {stable(said, prefix=_name(deployment))}".rstrip(": "),
        )


def _deadline_passed(deployment: Json) -> bool:
    progressing = condition(child(deployment, "status"), "Progressing")
    return (
        judges_current_spec(deployment)
        and text(progressing, "status") == "False"
        and text(progressing, "reason") == "ProgressDeadlineExceeded"
    )


def _too_slow(pods: Sequence[Json], token_secret: str | None) -> Failure:
    """Return the failure after the deadline if no pod reports one: that of the pod with least progress."""
    creating = [
        child(pod, "status")
        for pod in pods
        for container in children(child(pod, "status"), "containerStatuses")
        if text(child(container, "state", "waiting"), "reason") == "ContainerCreating"
    ]
    # Kubernetes creates the sandbox after mounting the volumes and before pulling the image.
    before_sandbox = any(
        text(condition(status, "PodReadyToStartContainers"), "status") != "True" for status in creating
    )
    if before_sandbox and token_secret:
        return Failure(
            ProgressingReason.CREATE_CONTAINER_ERROR,
            f"ContainerCreating: the pod's volumes are not ready: check that Secret {token_secret} exists.",
        )
    if before_sandbox:
        message = "ContainerCreating: the pod's volumes or network are not ready: see the pod's events."
    elif creating:
        message = "ContainerCreating: pulling the image takes a long time: see the pod's events."
    elif pods:
        message = "ContainersNotReady: pods run, but did not become ready in time: see the pods' logs."
    else:
        message = "The rollout made no progress in time: see the Deployment and its ReplicaSets."
    return Failure(ProgressingReason.PROGRESS_DEADLINE_EXCEEDED, message)
