"""The Deployment of inference pods, admitted where Pod Security `restricted` is enforced."""

import copy
import hashlib
import json
from typing import Any

from posecluster_operator.builders import labels
from posecluster_operator.builders.service import CLIENT_PORT, CLIENT_PORT_NAME
from posecluster_operator.errors import InvalidSpec
from posecluster_operator.models import ImageDefaults, PoseCluster, Spec

CONTAINER = "inference"
ADMIN_PORT = 9090
ADMIN_PORT_NAME = "admin"
TOKENS_DIR = "/etc/posecluster/tokens"
# when a rollout counts as stuck; pods take 2-5 s, a pull of the image under a minute is no failure
PROGRESS_DEADLINE_SECONDS = 45
OLD_REVISIONS_KEPT = 3
# the files are root's, and the server's user and group are whatever the image or the platform chooses
_EVERYBODY_MAY_READ = 0o444
_TMP_SIZE = "64Mi"
_HASH_DIGITS = 10
# MediaPipe's workers look this name up and would report home
_TELEMETRY_HOST = "play.googleapis.com"


def check_image(spec: Spec, images: ImageDefaults) -> str:
    """Return the inference image; raises InvalidSpec if neither the spec nor the operator names one."""
    image = spec.image or images.image
    if not image:
        raise InvalidSpec("Set spec.image, or the operator's POSECLUSTER_OPERATOR_INFERENCE_IMAGE")
    return image


def deployment(
    cluster: PoseCluster, *, replicas: int | None, images: ImageDefaults, version: str
) -> dict[str, Any]:
    """Return the Deployment with `replicas` pods; raises InvalidSpec if no image is named.

    None: it says nothing of the size, which is somebody else's.

    The pod template carries a hash of itself, so that pods of this revision can be told from
    older ones without reading ReplicaSets.
    """
    template = _template(cluster, images)
    template["metadata"]["annotations"] = {labels.TEMPLATE_HASH: _hash(template)}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": labels.metadata(cluster, labels.child_name(cluster.name), version),
        "spec": {
            **({} if replicas is None else {"replicas": replicas}),
            # stated, so that `kubectl rollout pause` is drift like any other
            "paused": False,
            "progressDeadlineSeconds": PROGRESS_DEADLINE_SECONDS,
            "revisionHistoryLimit": OLD_REVISIONS_KEPT,
            # never fewer ready pods than wanted: a rollout that cannot succeed costs nothing
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0},
            },
            "selector": {"matchLabels": labels.selector(cluster.name)},
            "template": template,
        },
    }


def _hash(template: dict[str, Any]) -> str:
    text = json.dumps(template, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:_HASH_DIGITS]


def _template(cluster: PoseCluster, images: ImageDefaults) -> dict[str, Any]:
    spec = cluster.spec
    pod: dict[str, Any] = {
        "automountServiceAccountToken": False,
        # a Service called `posecluster` would set POSECLUSTER_PORT=tcp://...
        "enableServiceLinks": False,
        # with an IPv4 alias only, a look-up of IPv6 addresses would go on to DNS
        "hostAliases": [{"ip": address, "hostnames": [_TELEMETRY_HOST]} for address in ("127.0.0.1", "::1")],
        "securityContext": {
            "runAsNonRoot": True,
            **images.ids,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationGracePeriodSeconds": spec.grace_seconds,
        "containers": [_container(spec, images)],
        "volumes": _volumes(spec),
        "topologySpreadConstraints": _spread(cluster),
    }
    secrets = list(spec.image_pull_secrets) or [{"name": name} for name in images.pull_secrets]
    optional = {
        "imagePullSecrets": [dict(secret) for secret in secrets],
        "nodeSelector": dict(spec.node_selector),
        "tolerations": [dict(toleration) for toleration in spec.tolerations],
        "priorityClassName": spec.priority_class_name,
    }
    pod |= {name: value for name, value in optional.items() if value}
    return {"metadata": {"labels": labels.pod_labels(cluster.name)}, "spec": pod}


def _container(spec: Spec, images: ImageDefaults) -> dict[str, Any]:
    container: dict[str, Any] = {
        "name": CONTAINER,
        "image": check_image(spec, images),
        "env": [
            {"name": f"POSECLUSTER_{name}", "value": value} for name, value in _environment(spec).items()
        ],
        "ports": [
            {"name": CLIENT_PORT_NAME, "containerPort": CLIENT_PORT, "protocol": "TCP"},
            {"name": ADMIN_PORT_NAME, "containerPort": ADMIN_PORT, "protocol": "TCP"},
        ],
        "resources": {
            "requests": {"cpu": spec.resources.requests.cpu, "memory": spec.resources.requests.memory},
            "limits": {"cpu": spec.resources.limits.cpu, "memory": spec.resources.limits.memory},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "startupProbe": _probe("/readyz", period_seconds=1, timeout_seconds=1, tries=60),
        "readinessProbe": _probe("/readyz", period_seconds=2, timeout_seconds=2, tries=2),
        "livenessProbe": _probe("/livez", period_seconds=10, timeout_seconds=5, tries=3),
        # the server's last line says why it did not start; `failures` quotes it
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108  # nosec B108 - a volume of the pod's own
    }
    if policy := spec.image_pull_policy or images.pull_policy:
        container["imagePullPolicy"] = str(policy)
    if spec.auth.token_secret_name:
        container["volumeMounts"].append({"name": "tokens", "mountPath": TOKENS_DIR, "readOnly": True})
    return container


def _environment(spec: Spec) -> dict[str, str]:
    """Settings of the server without their prefix: all that the spec has, also where it has the default.

    So what a PoseCluster says holds with any image, whatever that image's own defaults are. HOST is unset,
    so that pods listen on all their addresses, of every family that the cluster gives them.
    """
    limits = spec.limits
    values: dict[str, str | int] = {
        "PORT": CLIENT_PORT,
        "ADMIN_PORT": ADMIN_PORT,
        "WORKERS": spec.workers,
        "QUEUE_LENGTH": spec.queue_places,
        "MODEL_TASK": spec.model.task.lower(),
        "MODEL_VARIANT": spec.model.variant.lower(),
        "MAX_PEOPLE": spec.model.max_people,
        "MAX_BODY_BYTES": limits.max_body_bytes,
        "MAX_PIXELS": limits.max_pixels,
        "MAX_SIDE_PIXELS": limits.max_side_pixels,
        "DEADLINE_MS": limits.deadline_milliseconds,
        "LATENCY_OBJECTIVE_MS": spec.scaling.objective.latency_milliseconds,
        "DRAIN_DELAY_MS": spec.drain_seconds * 1000,
        "RATE_LIMIT_PER_MINUTE": limits.requests_per_minute_per_client,
        "RATE_LIMIT_BURST": limits.burst,
        "CACHE_ENTRIES": spec.cache.entries,
    }
    if spec.auth.token_secret_name:
        values["AUTH_TOKENS_DIR"] = TOKENS_DIR
    return {name: str(value) for name, value in values.items()}


def _probe(path: str, *, period_seconds: int, timeout_seconds: int, tries: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": ADMIN_PORT_NAME, "scheme": "HTTP"},
        "periodSeconds": period_seconds,
        "timeoutSeconds": timeout_seconds,
        "failureThreshold": tries,
    }


def _volumes(spec: Spec) -> list[dict[str, Any]]:
    volumes: list[dict[str, Any]] = [{"name": "tmp", "emptyDir": {"sizeLimit": _TMP_SIZE}}]
    if spec.auth.token_secret_name:
        secret = {"secretName": spec.auth.token_secret_name, "defaultMode": _EVERYBODY_MAY_READ}
        volumes.append({"name": "tokens", "secret": secret})
    return volumes


def _spread(cluster: PoseCluster) -> list[dict[str, Any]]:
    """The user's constraints; without any, a soft spread over nodes, judged for each revision apart."""
    ours = {"matchLabels": labels.selector(cluster.name)}
    if not cluster.spec.topology_spread_constraints:
        return [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": ours,
                "matchLabelKeys": ["pod-template-hash"],
            }
        ]
    constraints = [copy.deepcopy(dict(item)) for item in cluster.spec.topology_spread_constraints]
    for constraint in constraints:
        # without a selector a constraint counts no pods and does nothing
        if constraint.get("labelSelector") is None:
            constraint["labelSelector"] = ours
    return constraints
