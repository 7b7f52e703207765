"""The PoseCluster as frozen dataclasses, with the same defaults and bounds as the CRD.

Field names are those of the CRD in snake case; `tests/unit/test_posecluster.py` compares both. `parsing`
creates instances from API objects.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any

from posecluster_common import origins
from posecluster_operator.resource.fields import (
    ANY_TEXT,
    IMAGE_PATTERN,
    KEY_PATTERN,
    LABEL_PATTERN,
    LONGEST_KEY,
    LONGEST_LABEL,
    LONGEST_NAME,
    LONGEST_ORIGIN,
    LONGEST_QUANTITY,
    NAME_PATTERN,
    QUANTITY_PATTERN,
    Json,
    mapping,
    networks,
    number,
    objects,
    one_object,
    required_text,
    text,
    texts,
)
from posecluster_operator.resource.placement import Affinity, Toleration, TopologySpreadConstraint
from posecluster_operator.resource.quantity import parse_quantity

GROUP, VERSION, PLURAL, KIND = "posecluster.io", "v1alpha1", "poseclusters", "PoseCluster"
API_VERSION = f"{GROUP}/{VERSION}"
PAUSED_ANNOTATION = f"{GROUP}/paused"
QUEUE_PLACES_PER_WORKER = 8


class Task(StrEnum):
    POSE = "Pose"


class Variant(StrEnum):
    LITE = "Lite"
    FULL = "Full"
    HEAVY = "Heavy"


class ScalingMode(StrEnum):
    AUTO = "Auto"
    FIXED = "Fixed"


class ServiceType(StrEnum):
    CLUSTER_IP = "ClusterIP"
    NODE_PORT = "NodePort"
    LOAD_BALANCER = "LoadBalancer"


class ExternalTrafficPolicy(StrEnum):
    CLUSTER = "Cluster"
    LOCAL = "Local"


class TrafficDistribution(StrEnum):
    PREFER_CLOSE = "PreferClose"
    PREFER_SAME_ZONE = "PreferSameZone"
    PREFER_SAME_NODE = "PreferSameNode"


class LogFormat(StrEnum):
    TEXT = "Text"
    JSON = "Json"


class RequestLog(StrEnum):
    NONE = "None"
    SAMPLED = "Sampled"
    ALL = "All"


class PullPolicy(StrEnum):
    ALWAYS = "Always"
    IF_NOT_PRESENT = "IfNotPresent"
    NEVER = "Never"


_RESERVED_PREFIXES = ("app.kubernetes.io/", f"{GROUP}/")
_RESERVED_KEYS = frozenset({"pod-template-hash", "controller.kubernetes.io/pod-deletion-cost"})


def is_reserved(key: str) -> bool:
    """Return whether the operator or Kubernetes sets this label or annotation of the pods."""
    return key.startswith(_RESERVED_PREFIXES) or key in _RESERVED_KEYS


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    task: Task = Task.POSE
    variant: Variant = Variant.FULL
    max_people: int = number(1, 1, 10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    latency_milliseconds: int = number(250, 1, 3_600_000)
    late_permille: int = number(10, 1, 200)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleDown:
    hold_seconds: int = number(60, 0, 86_400)
    max_hold_seconds: int = number(300, 0, 86_400)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    mode: ScalingMode = ScalingMode.AUTO
    min_replicas: int = number(1, 1, 500)
    max_replicas: int = number(10, 1, 500)
    objective: Objective = field(default_factory=Objective)
    scale_down: ScaleDown = field(default_factory=ScaleDown)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    max_unavailable: int = number(0, 0, 500)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of one pod, with the bounds of the server's settings."""

    max_body_bytes: int = number(10_485_760, 1_024, 134_217_728)
    max_pixels: int = number(25_000_000, 1, 80_000_000)
    max_side_pixels: int = number(16_384, 1, 1_048_576)
    deadline_milliseconds: int = number(10_000, 1, 3_600_000)
    hang_milliseconds: int = number(5_000, 1, 3_600_000)
    max_connections: int = number(512, 1, 1_000_000)
    trusted_proxies: tuple[str, ...] = networks(64)
    requests_per_minute_per_client: int = number(0, 0, 1_000_000)
    burst: int = number(10, 1, 1_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Advanced:
    """Settings of one pod. A 0 disables a feature, except that the server computes `worker_memory_bytes`."""

    header_timeout_milliseconds: int = number(5_000, 1, 3_600_000)
    body_timeout_milliseconds: int = number(60_000, 1, 3_600_000)
    body_bytes_per_second: int = number(50_000, 0, 1_073_741_824)
    idle_timeout_milliseconds: int = number(75_000, 1, 86_400_000)
    write_timeout_milliseconds: int = number(10_000, 1, 3_600_000)
    connection_age_milliseconds: int = number(300_000, 0, 86_400_000)
    busy_connection_age_milliseconds: int = number(3_000, 0, 86_400_000)
    recycle_requests: int = number(5_000, 0, 1_000_000_000)
    worker_memory_bytes: int = number(0, 0, 17_592_186_044_416)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    entries: int = number(1_024, 0, 1_000_000)
    shared: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Auth:
    token_secret_name: str | None = text(None, LONGEST_NAME, NAME_PATTERN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    type: ServiceType = ServiceType.CLUSTER_IP
    port: int = number(80, 1, 65_535)
    external_traffic_policy: ExternalTrafficPolicy | None = None
    traffic_distribution: TrafficDistribution | None = None
    load_balancer_class: str | None = text(None, LONGEST_KEY, KEY_PATTERN)
    annotations: Mapping[str, str] = mapping(32, 4_096, ANY_TEXT)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceRequests:
    cpu: str = text("500m", LONGEST_QUANTITY, QUANTITY_PATTERN)
    memory: str = text("512Mi", LONGEST_QUANTITY, QUANTITY_PATTERN)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceLimits:
    cpu: str = text("2", LONGEST_QUANTITY, QUANTITY_PATTERN)
    memory: str = text("1Gi", LONGEST_QUANTITY, QUANTITY_PATTERN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    requests: ResourceRequests = field(default_factory=ResourceRequests)
    limits: ResourceLimits = field(default_factory=ResourceLimits)


@dataclass(frozen=True, slots=True, kw_only=True)
class PullSecret:
    name: str = required_text(LONGEST_NAME, NAME_PATTERN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """The desired state. For `None` or an empty value, an operator setting or a computed value applies."""

    model: Model = field(default_factory=Model)
    image: str | None = text(None, 512, IMAGE_PATTERN)
    image_pull_policy: PullPolicy | None = None
    image_pull_secrets: tuple[Json, ...] = objects(16, PullSecret, "name")
    replicas: int = number(1, 0, 500)
    scaling: Scaling = field(default_factory=Scaling)
    workers_per_pod: int | None = number(None, 1, 64)
    queue_length: int | None = number(None, 1, 100_000)
    limits: Limits = field(default_factory=Limits)
    allowed_origins: tuple[str, ...] = texts(64, LONGEST_ORIGIN, origins.PATTERN)
    log_format: LogFormat = LogFormat.TEXT
    request_log: RequestLog = RequestLog.NONE
    advanced: Advanced = field(default_factory=Advanced)
    cache: Cache = field(default_factory=Cache)
    auth: Auth = field(default_factory=Auth)
    drain_seconds: int = number(15, 0, 3_600)
    rollout: Rollout = field(default_factory=Rollout)
    service: Service = field(default_factory=Service)
    resources: Resources = field(default_factory=Resources)
    pod_labels: Mapping[str, str] = mapping(32, LONGEST_LABEL, LABEL_PATTERN)
    pod_annotations: Mapping[str, str] = mapping(32, 4_096, ANY_TEXT)
    node_selector: Mapping[str, str] = mapping(32, LONGEST_LABEL, LABEL_PATTERN)
    affinity: Mapping[str, Any] = one_object(Affinity)
    tolerations: tuple[Json, ...] = objects(32, Toleration)
    topology_spread_constraints: tuple[Json, ...] = objects(
        8, TopologySpreadConstraint, "topologyKey", "whenUnsatisfiable"
    )
    priority_class_name: str | None = text(None, LONGEST_NAME, NAME_PATTERN)

    @property
    def workers(self) -> int:
        """Worker processes per pod: `workers_per_pod`, or by default the CPU limit rounded up, 1-64."""
        if self.workers_per_pod is not None:
            return self.workers_per_pod
        return max(1, min(64, math.ceil(parse_quantity(self.resources.limits.cpu))))

    @property
    def queue_places(self) -> int:
        """Queue capacity per pod, in requests."""
        return self.queue_length or QUEUE_PLACES_PER_WORKER * self.workers

    @property
    def grace_seconds(self) -> int:
        """Longest time from SIGTERM to the end of a pod: drain, one request, and 5 s to stop the workers."""
        request_milliseconds = (
            self.advanced.header_timeout_milliseconds
            + self.advanced.body_timeout_milliseconds
            + self.limits.deadline_milliseconds
        )
        return self.drain_seconds + math.ceil(Decimal(request_milliseconds) / 1000) + 5


@dataclass(frozen=True, slots=True, kw_only=True)
class PoseCluster:
    """A PoseCluster as read from the API server; `status` is kept unparsed.

    `scaled`: `spec.replicas` was last set through the scale subresource (`kubectl scale`, an HPA).
    """

    name: str
    namespace: str
    uid: str
    generation: int
    resource_version: str
    paused: bool
    status: Json
    spec: Spec
    scaled: bool = False

    @property
    def key(self) -> str:
        """`namespace/name`, as in logs and in the work queue."""
        return f"{self.namespace}/{self.name}"

    @property
    def is_scale_ignored(self) -> bool:
        """Whether `spec.replicas` was set through the scale subresource although the mode is `Auto`."""
        return self.scaled and self.spec.scaling.mode is ScalingMode.AUTO


@dataclass(frozen=True, slots=True, kw_only=True)
class PodDefaults:
    """The operator's settings for pods.

    `image`, `pull_policy` and `pull_secrets` apply if they are unset in the spec; `ids` (runAsUser …) and
    `otlp_endpoint` apply to all pods. podLabels and podAnnotations may only have the allowed keys, where
    `prefix/*` allows a whole prefix.
    """

    image: str | None = None
    pull_policy: PullPolicy | None = None
    pull_secrets: tuple[str, ...] = ()
    ids: Mapping[str, int] = field(default_factory=dict)
    otlp_endpoint: str | None = None
    allowed_labels: tuple[str, ...] = ()
    allowed_annotations: tuple[str, ...] = ()
