"""Stored PoseClusters, live children and pods for the resource fuzz; equal seeds give equal objects.

Deployments and pods have the types that the API server guarantees, with anything missing and any text.
What is stored as a PoseCluster may predate the CRD, so there any type is drawn.
"""

import copy
import random
import string
from typing import Any

from harness.crd import Json
from harness.generated_specs import ODD, valid_name
from posecluster_operator.resource import posecluster

_CONDITIONS = ("Ready", "Available", "Progressing", "ScalingActive", "Reconciling", "Stalled")
UID = "0d1f8a53-7c9f-4f0e-9d35-2b6b6d1f4e11"

_TEXTS = (
    "", "x", "a" * 70_000, "line\nline", "\x1b[31mred\x1b[0m", "\x00", "🕺", "%s %d {} {0}",
    f"pod demo-pose-7d9c5b6f5d-x2k4j ({UID}) failed", 'dial tcp 10.1.2.3:443: i/o timeout',
    'Back-off pulling image "example.test/x": ErrImagePull: not found',
    "back-off 2m40s restarting failed container=inference", "2026-01-01T00:00:00.000Z Wrong setting",
    'exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2',
)  # fmt: skip
_WAITING = (
    "ContainerCreating", "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "",
    "CrashLoopBackOff", "CreateContainerConfigError", "CreateContainerError", "RunContainerError",
)  # fmt: skip
_TIMES = ("2026-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z")


def stored(rng: random.Random, spec: Any) -> Json:
    """A PoseCluster as a GET answers it, perhaps with a forged status."""
    metadata: Json = {
        "name": valid_name(rng),
        "namespace": "fuzz",
        "uid": UID,
        "generation": rng.randint(1, 9),
    }
    metadata |= {"resourceVersion": str(rng.randint(1, 10**9)), "creationTimestamp": _TIMES[0]}
    if rng.random() < 0.3:
        paused = rng.choice(("true", "True", "false", "", "x" * 9_999))
        metadata["annotations"] = {posecluster.PAUSED_ANNOTATION: paused, "other": rng.choice(_TEXTS)}
    body: Json = {
        "apiVersion": posecluster.API_VERSION,
        "kind": posecluster.KIND,
        "metadata": metadata,
        "spec": spec,
    }
    if rng.random() < 0.6:
        body["status"] = _forged_status(rng)
    return body


def live(rng: random.Random, manifest: Json, *, touched: bool) -> Json:
    """An applied child as a GET answers it; `touched`: perhaps another's, being deleted or edited."""
    body = copy.deepcopy(manifest)
    body["metadata"] |= {"uid": UID[::-1], "resourceVersion": "7", "generation": rng.randint(1, 5)}
    if touched and rng.random() < 0.2:
        body["metadata"]["deletionTimestamp"] = _TIMES[0]
    if touched and rng.random() < 0.3:
        owner = {"apiVersion": rng.choice(("apps/v1", "posecluster.io/v9", "")), "kind": rng.choice(_TEXTS)}
        taken = owner | {"controller": True, "name": "x", "uid": "y"}
        body["metadata"]["ownerReferences"] = rng.choice(([owner], [taken], [owner, taken]))
    if touched and rng.random() < 0.3:
        body["metadata"].pop(rng.choice(("labels", "ownerReferences", "annotations")), None)
    if manifest["kind"] == "Deployment":
        body["status"] = _deployment_status(rng, body["spec"]["replicas"])
        if rng.random() < 0.1:
            body["spec"]["template"]["metadata"].pop("annotations", None)
    return body


def pods(rng: random.Random, deployment: Json | None) -> list[Json]:
    """Pods with this PoseCluster's labels: of this template, of an older one, or of another owner."""
    template: Json = (deployment or {}).get("spec", {}).get("template", {"metadata": {}})
    name = (deployment or {}).get("metadata", {}).get("name", "x-pose")
    return [_pod(rng, name, template) for _ in range(rng.choice((0, 1, 3, 20)))]


def _maybe(rng: random.Random, **fields: Any) -> Json:
    """Each of these fields, or not."""
    return {name: value for name, value in fields.items() if rng.random() < 0.75}


def _condition(rng: random.Random, *types: str) -> Json:
    return {"type": rng.choice(types), "status": rng.choice(("True", "False", "Unknown"))} | _maybe(
        rng,
        reason=rng.choice(
            ("ProgressDeadlineExceeded", "FailedCreate", "Unschedulable", "MinimumReplicasAvailable")
        ),
        message=rng.choice(_TEXTS),
        lastTransitionTime=rng.choice(_TIMES),
    )


def _deployment_status(rng: random.Random, replicas: int) -> Json:
    sizes = (0, 1, replicas, replicas + 1, 2**31 - 1)
    counts = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas", "unavailableReplicas")
    count = rng.choice((0, 1, 3))
    shown = [_condition(rng, "Progressing", "ReplicaFailure", "Available", "Odd") for _ in range(count)]
    return _maybe(
        rng,
        observedGeneration=rng.randint(0, 6),
        conditions=shown,
        **{name: rng.choice(sizes) for name in counts},
    )


def _pod(rng: random.Random, deployment: str, template: Json) -> Json:
    metadata: Json = {
        "name": f"{deployment}-{''.join(rng.choices(string.ascii_lowercase, k=5))}",
        "namespace": "fuzz",
        "uid": UID,
    }
    annotations = template["metadata"].get("annotations", {})
    metadata |= _maybe(
        rng,
        creationTimestamp=rng.choice(_TIMES),
        annotations=rng.choice((annotations,) * 4 + ({}, {"posecluster.io/template-hash": "0" * 10})),
        labels=rng.choice(({}, {"pod-template-hash": "1"})),
        ownerReferences=rng.choice(
            (
                [],
                [{"kind": "ReplicaSet", "name": f"{deployment}-7d9c", "controller": True}],
                [
                    {
                        "apiVersion": "apps/v1",
                        "kind": "ReplicaSet",
                        "name": "another-1",
                        "controller": True,
                        "uid": "u",
                    }
                ],
            )
        ),
    )
    if rng.random() < 0.1:
        metadata["deletionTimestamp"] = _TIMES[0]
    status = _maybe(
        rng,
        phase=rng.choice(("Pending", "Running", "Failed", "Succeeded", "Unknown")),
        reason=rng.choice(("Evicted", "", "NodeLost")),
        message=rng.choice(_TEXTS),
        conditions=[
            _condition(rng, "Ready", "PodScheduled", "Initialized") for _ in range(rng.randint(0, 3))
        ],
        containerStatuses=[_container(rng) for _ in range(rng.randint(0, 2))],
    )
    return {"metadata": metadata, "spec": {"containers": [{"name": "inference"}]}, "status": status}


def _container(rng: random.Random) -> Json:
    return {
        "name": rng.choice(("inference", "sidecar")),
        "restartCount": rng.choice((0, 1, 9, 2**31 - 1)),
    } | _maybe(
        rng,
        ready=rng.random() < 0.5,
        state=rng.choice(({}, {"running": {}}, _waiting(rng), _terminated(rng))),
        lastState=rng.choice(({}, _terminated(rng))),
    )


def _waiting(rng: random.Random) -> Json:
    return {"waiting": _maybe(rng, reason=rng.choice(_WAITING), message=rng.choice(_TEXTS))}


def _terminated(rng: random.Random) -> Json:
    reason = rng.choice(("Error", "OOMKilled", "Completed", "ContainerCannotRun", ""))
    ended = _maybe(rng, reason=reason, message=rng.choice(_TEXTS), signal=9, finishedAt=rng.choice(_TIMES))
    return {"terminated": {"exitCode": rng.choice((0, 1, 137, 255, -1))} | ended}


def _forged_status(rng: random.Random) -> Any:
    """A status that somebody edited, or that an older version of the CRD allowed."""
    types, reasons = list(_CONDITIONS), ("FixedSize", "Made", "", "RolloutComplete")
    forged: Json = _maybe(
        rng,
        observedGeneration=rng.choice((0, 5, 10**12, "5", None)),
        replicas=rng.choice((0, 7, "7", None)),
        readyReplicas=rng.choice((0, 10**9)),
        desiredReplicas=rng.choice((0, 3, None)),
        endpoint=rng.choice(("http://evil.test", 5, None)),
        selector=rng.choice(("", "a=b", {})),
        load={"queued": 5},
        foreign=rng.choice(ODD),
        conditions=[
            _condition(rng, *types, "Odd") | {"reason": rng.choice(reasons)}
            for _ in range(rng.choice((0, 3, 16)))
        ],
    )
    if rng.random() < 0.2:
        forged["conditions"] = rng.choice(
            ([{}], [None], [{"type": None}], {}, "x", None, [{"type": types[0]}])
        )
    return forged if rng.random() < 0.95 else rng.choice((None, {}))
