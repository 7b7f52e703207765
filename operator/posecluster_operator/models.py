"""PoseCluster in Python: the spec as frozen dataclasses, with the same defaults and bounds as the CRD.

Field names are the CRD's in snake case. `tests/unit/test_models.py` walks the schema and these
classes side by side. Reading is in `parsing`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any

from posecluster_operator.quantity import parse_quantity

GROUP, VERSION, PLURAL, KIND = "posecluster.io", "v1alpha1", "poseclusters", "PoseCluster"
API_VERSION = f"{GROUP}/{VERSION}"
PAUSED_ANNOTATION = f"{GROUP}/paused"
QUEUE_PLACES_PER_WORKER = 8

Json = Mapping[str, Any]


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


class PullPolicy(StrEnum):
    ALWAYS = "Always"
    IF_NOT_PRESENT = "IfNotPresent"
    NEVER = "Never"


class TolerationOperator(StrEnum):
    EXISTS = "Exists"
    EQUAL = "Equal"


class TaintEffect(StrEnum):
    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


class WhenUnsatisfiable(StrEnum):
    DO_NOT_SCHEDULE = "DoNotSchedule"
    SCHEDULE_ANYWAY = "ScheduleAnyway"


class NodePolicy(StrEnum):
    HONOR = "Honor"
    IGNORE = "Ignore"


class MatchOperator(StrEnum):
    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


def _number(default: int | None, low: int, high: int) -> Any:
    return field(default=default, metadata={"low": low, "high": high})


def _text(default: str | None, longest: int, pattern: str) -> Any:
    return field(default=default, metadata={"longest": longest, "pattern": pattern})


def _required_text(longest: int, pattern: str) -> Any:
    return field(metadata={"longest": longest, "pattern": pattern})


def _objects(most: int, item: type, *keys: str) -> Any:
    """Objects of class `item`, kept as they are; no two with the same `keys`."""
    return field(default=(), metadata={"most": most, "item": item, "keys": keys})


def _texts(most: int, longest: int, pattern: str) -> Any:
    return field(default=(), metadata={"most": most, "longest": longest, "pattern": pattern})


def _mapping(most: int, longest: int, pattern: str) -> Any:
    return field(default_factory=dict, metadata={"most": most, "longest": longest, "pattern": pattern})


# a name in Kubernetes (RFC 1123 subdomain); a label's or annotation's key; a label's value
_DOMAIN = "[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
NAME_PATTERN = f"^{_DOMAIN}$"
KEY_PATTERN = f"^({_DOMAIN}/)?[A-Za-z0-9]([-A-Za-z0-9_.]{{0,61}}[A-Za-z0-9])?$"
LABEL_PATTERN = "^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$"
IMAGE_PATTERN = "^[A-Za-z0-9][-A-Za-z0-9._:/@]*$"
QUANTITY_PATTERN = "^[0-9]+([.][0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$"
ANY_TEXT = "(?s:.*)"
LONGEST_NAME, LONGEST_KEY, LONGEST_LABEL, LONGEST_QUANTITY = 253, 317, 63, 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    task: Task = Task.POSE
    variant: Variant = Variant.FULL
    max_people: int = _number(1, 1, 10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    latency_milliseconds: int = _number(250, 1, 3_600_000)
    late_permille: int = _number(10, 1, 200)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleDown:
    hold_seconds: int = _number(60, 0, 86_400)
    max_hold_seconds: int = _number(300, 0, 86_400)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    mode: ScalingMode = ScalingMode.AUTO
    min_replicas: int = _number(1, 1, 500)
    max_replicas: int = _number(10, 1, 500)
    objective: Objective = field(default_factory=Objective)
    scale_down: ScaleDown = field(default_factory=ScaleDown)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Of one pod; bounds are those of the server's own settings."""

    max_body_bytes: int = _number(10_485_760, 1_024, 134_217_728)
    max_pixels: int = _number(25_000_000, 1, 80_000_000)
    max_side_pixels: int = _number(16_384, 1, 1_048_576)
    deadline_milliseconds: int = _number(10_000, 1, 3_600_000)
    requests_per_minute_per_client: int = _number(0, 0, 1_000_000)
    burst: int = _number(10, 1, 1_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    entries: int = _number(1_024, 0, 1_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Auth:
    token_secret_name: str | None = _text(None, LONGEST_NAME, NAME_PATTERN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    type: ServiceType = ServiceType.CLUSTER_IP
    port: int = _number(80, 1, 65_535)
    annotations: Mapping[str, str] = _mapping(32, 4_096, ANY_TEXT)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceRequests:
    cpu: str = _text("500m", LONGEST_QUANTITY, QUANTITY_PATTERN)
    memory: str = _text("512Mi", LONGEST_QUANTITY, QUANTITY_PATTERN)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceLimits:
    cpu: str = _text("2", LONGEST_QUANTITY, QUANTITY_PATTERN)
    memory: str = _text("1Gi", LONGEST_QUANTITY, QUANTITY_PATTERN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    requests: ResourceRequests = field(default_factory=ResourceRequests)
    limits: ResourceLimits = field(default_factory=ResourceLimits)


@dataclass(frozen=True, slots=True, kw_only=True)
class PullSecret:
    name: str = _required_text(LONGEST_NAME, NAME_PATTERN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Toleration:
    """Like the next three, only to check what is handed on to the pods as it is."""

    key: str | None = _text(None, LONGEST_KEY, KEY_PATTERN)
    operator: TolerationOperator | None = None
    value: str | None = _text(None, LONGEST_LABEL, LABEL_PATTERN)
    effect: TaintEffect | None = None
    toleration_seconds: int | None = _number(None, 0, 2_147_483_647)


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchExpression:
    key: str = _required_text(LONGEST_KEY, KEY_PATTERN)
    operator: MatchOperator
    values: tuple[str, ...] = _texts(32, LONGEST_LABEL, LABEL_PATTERN)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSelector:
    match_labels: Mapping[str, str] = _mapping(16, LONGEST_LABEL, LABEL_PATTERN)
    match_expressions: tuple[Json, ...] = _objects(16, MatchExpression)


@dataclass(frozen=True, slots=True, kw_only=True)
class TopologySpreadConstraint:
    max_skew: int = field(metadata={"low": 1, "high": 500})
    topology_key: str = _required_text(LONGEST_KEY, KEY_PATTERN)
    when_unsatisfiable: WhenUnsatisfiable
    min_domains: int | None = _number(None, 1, 10_000)
    node_affinity_policy: NodePolicy | None = None
    node_taints_policy: NodePolicy | None = None
    match_label_keys: tuple[str, ...] = _texts(8, LONGEST_KEY, KEY_PATTERN)
    label_selector: LabelSelector | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What the user wants. `None` and empty mean: the operator's setting, or computed."""

    model: Model = field(default_factory=Model)
    image: str | None = _text(None, 512, IMAGE_PATTERN)
    image_pull_policy: PullPolicy | None = None
    image_pull_secrets: tuple[Json, ...] = _objects(16, PullSecret, "name")
    replicas: int = _number(1, 0, 500)
    scaling: Scaling = field(default_factory=Scaling)
    workers_per_pod: int | None = _number(None, 1, 64)
    queue_length: int | None = _number(None, 1, 100_000)
    limits: Limits = field(default_factory=Limits)
    cache: Cache = field(default_factory=Cache)
    auth: Auth = field(default_factory=Auth)
    drain_seconds: int = _number(15, 0, 3_600)
    service: Service = field(default_factory=Service)
    resources: Resources = field(default_factory=Resources)
    node_selector: Mapping[str, str] = _mapping(32, LONGEST_LABEL, LABEL_PATTERN)
    tolerations: tuple[Json, ...] = _objects(32, Toleration)
    topology_spread_constraints: tuple[Json, ...] = _objects(
        8, TopologySpreadConstraint, "topologyKey", "whenUnsatisfiable"
    )
    priority_class_name: str | None = _text(None, LONGEST_NAME, NAME_PATTERN)

    @property
    def workers(self) -> int:
        """Worker processes of a pod: as asked for, else the CPU limit rounded up, 1-64."""
        if self.workers_per_pod is not None:
            return self.workers_per_pod
        return max(1, min(64, math.ceil(parse_quantity(self.resources.limits.cpu))))

    @property
    def queue_places(self) -> int:
        """Waiting places of a pod."""
        return self.queue_length or QUEUE_PLACES_PER_WORKER * self.workers

    @property
    def grace_seconds(self) -> int:
        """Longest way to a pod's end: drain, header 5 s, body 60 s, deadline, workers 5 s."""
        return self.drain_seconds + 5 + 60 + math.ceil(Decimal(self.limits.deadline_milliseconds) / 1000) + 5


@dataclass(frozen=True, slots=True, kw_only=True)
class PoseCluster:
    """One resource as read; `status` is what it says now, in the API's own form."""

    name: str
    namespace: str
    uid: str
    generation: int
    resource_version: str
    paused: bool
    status: Json
    spec: Spec

    @property
    def key(self) -> str:
        """`namespace/name`, as in logs and queues."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageDefaults:
    """The operator's settings for pods: `ids` (runAsUser …) for all, the rest if the spec names none."""

    image: str | None = None
    pull_policy: PullPolicy | None = None
    pull_secrets: tuple[str, ...] = ()
    ids: Mapping[str, int] = field(default_factory=dict)
