"""The Deployment of inference pods, which complies with Pod Security level `restricted`."""

import copy
import hashlib
import json
from collections.abc import Mapping
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any

from posecluster_operator.builders import labels
from posecluster_operator.builders.environment import ADMIN_PORT, CLIENT_PORT, TOKENS_DIR, environment
from posecluster_operator.builders.service import CLIENT_PORT_NAME
from posecluster_operator.errors import InvalidSpec
from posecluster_operator.resource.posecluster import PodDefaults, PoseCluster, Spec

CONTAINER = "inference"
ADMIN_PORT_NAME = "admin"
# Pods start in 2-5 s without pulling the image.
PROGRESS_DEADLINE_SECONDS = 45
OLD_REVISIONS_KEPT = 3
# The files belong to root, and the image or the platform chooses the server's user and group.
_EVERYBODY_MAY_READ = 0o444
_TMP_VOLUME, _TMP_SIZE = "tmp", "64Mi"
# Without it, cluster-autoscaler does not remove a node whose pods have an emptyDir.
_EVICTABLE_VOLUMES = "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes"
# Kubernetes' default is 300 s, during which the capacity of the pods on a failed node is not replaced.
_NODE_FAILURES = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
_NODE_FAILURE_SECONDS = 30
_HASH_DIGITS = 10

_OTLP_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"  # the standard variable of the OpenTelemetry SDK
# MediaPipe sends telemetry to this host.
_TELEMETRY_HOST = "play.googleapis.com"


def check_image(spec: Spec, images: PodDefaults) -> str:
    """Return the inference image; raises InvalidSpec if neither the spec nor the operator names one."""
    image = spec.image or images.image
    if not image:
        raise InvalidSpec("spec.image is unset: set it, or the setting POSECLUSTER_OPERATOR_INFERENCE_IMAGE")
    return image


def _check_keys(spec: Spec, images: PodDefaults) -> None:
    """Raise InvalidSpec, which names the labels and annotations of pods that the operator does not allow."""
    for field, keys, patterns, setting, value in (
        ("podLabels", spec.pod_labels, images.allowed_labels, "LABELS", "Labels"),
        ("podAnnotations", spec.pod_annotations, images.allowed_annotations, "ANNOTATIONS", "Annotations"),
    ):
        refused = [key for key in sorted(keys) if not any(fnmatchcase(key, one) for one in patterns)]
        if refused:
            raise InvalidSpec(
                f"{field} must have only keys that the operator allows: remove {', '.join(refused[:3])}, or "
                f"add it to the operator's setting POSECLUSTER_OPERATOR_ALLOWED_POD_{setting} "
                f"(chart value operator.allowedPod{value})"
            )


def deployment(
    cluster: PoseCluster,
    selector: dict[str, str],
    *,
    replicas: int | None,
    images: PodDefaults,
    notes: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Any]:
    """Return the Deployment with `replicas` pods, which carry the labels of `selector`.

    Raises InvalidSpec if no image is named, or a label or annotation of the pods is not allowed.

    `replicas` is None if another client sets the size. `notes`: annotations of the Deployment.

    The pod template carries a hash of itself, so that pods of this revision can be distinguished from
    older ones without reading ReplicaSets.
    """
    _check_keys(cluster.spec, images)
    template = _template(cluster.spec, selector, images)
    template["metadata"]["annotations"][labels.TEMPLATE_HASH] = _hash(template)
    return {
        "metadata": {"annotations": dict(notes)} if notes else {},
        "spec": {
            **({} if replicas is None else {"replicas": replicas}),
            # set explicitly, so that `kubectl rollout pause` is reverted
            "paused": False,
            "progressDeadlineSeconds": PROGRESS_DEADLINE_SECONDS,
            "revisionHistoryLimit": OLD_REVISIONS_KEPT,
            # maxUnavailable is 0 by default, so that a failing rollout costs no capacity
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {
                    "maxSurge": "25%",
                    "maxUnavailable": cluster.spec.rollout.max_unavailable,
                },
            },
            "selector": {"matchLabels": selector},
            "template": template,
        },
    }


def _hash(template: dict[str, Any]) -> str:
    text = json.dumps(template, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:_HASH_DIGITS]


def _template(spec: Spec, selector: dict[str, str], images: PodDefaults) -> dict[str, Any]:
    pod: dict[str, Any] = {
        "automountServiceAccountToken": False,
        # A Service called `posecluster` would set POSECLUSTER_PORT=tcp://...
        "enableServiceLinks": False,
        # With an IPv4 alias only, IPv6 addresses would still be resolved through DNS.
        "hostAliases": [{"ip": address, "hostnames": [_TELEMETRY_HOST]} for address in ("127.0.0.1", "::1")],
        "securityContext": {
            "runAsNonRoot": True,
            **images.ids,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationGracePeriodSeconds": spec.grace_seconds,
        "containers": [_container(spec, images)],
        "volumes": _volumes(spec),
        "topologySpreadConstraints": _spread(spec, selector),
    }
    secrets = list(spec.image_pull_secrets) or [{"name": name} for name in images.pull_secrets]
    optional = {
        "imagePullSecrets": [dict(secret) for secret in secrets],
        "nodeSelector": dict(spec.node_selector),
        "affinity": _affinity(spec, selector),
        "tolerations": _tolerations(spec),
        "priorityClassName": spec.priority_class_name,
    }
    pod |= {name: value for name, value in optional.items() if value}
    metadata: dict[str, Any] = {"labels": {**spec.pod_labels, **labels.managed(selector)}}
    metadata["annotations"] = {_EVICTABLE_VOLUMES: _TMP_VOLUME, **spec.pod_annotations}
    return {"metadata": metadata, "spec": pod}


def _tolerations(spec: Spec) -> list[dict[str, Any]]:
    """Return the user's tolerations, and 30 s for taints of failed nodes that these do not cover.

    A toleration covers a taint if its key is the taint's or unset, and its effect is NoExecute or unset.
    The API server's DefaultTolerationSeconds plugin, which would add 300 s, has the same rule.
    """
    return [dict(one) for one in spec.tolerations] + [
        {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": _NODE_FAILURE_SECONDS}
        for key in _NODE_FAILURES
        if not any(
            one.get("key") in (None, "", key) and one.get("effect") in (None, "", "NoExecute")
            for one in spec.tolerations
        )
    ]


def _container(spec: Spec, images: PodDefaults) -> dict[str, Any]:
    variables = environment(spec)
    if images.otlp_endpoint:
        variables[_OTLP_ENDPOINT] = images.otlp_endpoint
    container: dict[str, Any] = {
        "name": CONTAINER,
        "image": check_image(spec, images),
        "env": [{"name": name, "value": value} for name, value in variables.items()],
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
        # The server's last line says why it did not start; `rollout_diagnosis` quotes it.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": _TMP_VOLUME, "mountPath": "/tmp"}],  # noqa: S108  # nosec B108 - a volume of the pod
    }
    if policy := spec.image_pull_policy or images.pull_policy:
        container["imagePullPolicy"] = str(policy)
    if spec.auth.token_secret_name:
        container["volumeMounts"].append({"name": "tokens", "mountPath": TOKENS_DIR, "readOnly": True})
    return container


def _probe(path: str, *, period_seconds: int, timeout_seconds: int, tries: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": ADMIN_PORT_NAME, "scheme": "HTTP"},
        "periodSeconds": period_seconds,
        "timeoutSeconds": timeout_seconds,
        "failureThreshold": tries,
    }


def _volumes(spec: Spec) -> list[dict[str, Any]]:
    volumes: list[dict[str, Any]] = [{"name": _TMP_VOLUME, "emptyDir": {"sizeLimit": _TMP_SIZE}}]
    if spec.auth.token_secret_name:
        secret = {"secretName": spec.auth.token_secret_name, "defaultMode": _EVERYBODY_MAY_READ}
        volumes.append({"name": "tokens", "secret": secret})
    return volumes


def _affinity(spec: Spec, selector: dict[str, str]) -> dict[str, Any]:
    """Return the user's affinity; a term without a selector, which would match no pods, gets ours."""
    ours = {"matchLabels": selector}
    affinity = copy.deepcopy(dict(spec.affinity))
    for kind in ("podAffinity", "podAntiAffinity"):
        terms = affinity.get(kind) or {}
        for term in (
            *(terms.get("requiredDuringSchedulingIgnoredDuringExecution") or ()),
            *(
                preferred["podAffinityTerm"]
                for preferred in terms.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
            ),
        ):
            if term.get("labelSelector") is None:
                term["labelSelector"] = ours
    return affinity


def _spread(spec: Spec, selector: dict[str, str]) -> list[dict[str, Any]]:
    """Return the user's constraints, or by default a soft spread over nodes, evaluated per revision."""
    ours = {"matchLabels": selector}
    if not spec.topology_spread_constraints:
        return [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": ours,
                "matchLabelKeys": ["pod-template-hash"],
            }
        ]
    constraints = [copy.deepcopy(dict(item)) for item in spec.topology_spread_constraints]
    for constraint in constraints:
        # A constraint without a selector counts no pods and has no effect.
        if constraint.get("labelSelector") is None:
            constraint["labelSelector"] = ours
    return constraints
