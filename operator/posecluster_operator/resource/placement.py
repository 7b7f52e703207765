"""Scheduling fields of the spec. They are copied to the pods unparsed; these classes only check them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from posecluster_operator.resource.fields import (
    KEY_PATTERN,
    LABEL_PATTERN,
    LONGEST_KEY,
    LONGEST_LABEL,
    Json,
    mapping,
    number,
    objects,
    required_objects,
    required_text,
    text,
    texts,
)


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


class NodeOperator(StrEnum):
    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"
    GT = "Gt"
    LT = "Lt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Toleration:
    """A toleration. This and the following classes only check fields that are copied to the pods."""

    key: str | None = text(None, LONGEST_KEY, KEY_PATTERN)
    operator: TolerationOperator | None = None
    value: str | None = text(None, LONGEST_LABEL, LABEL_PATTERN)
    effect: TaintEffect | None = None
    toleration_seconds: int | None = number(None, 0, 2_147_483_647)


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchExpression:
    key: str = required_text(LONGEST_KEY, KEY_PATTERN)
    operator: MatchOperator
    values: tuple[str, ...] = texts(32, LONGEST_LABEL, LABEL_PATTERN)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSelector:
    match_labels: Mapping[str, str] = mapping(16, LONGEST_LABEL, LABEL_PATTERN)
    match_expressions: tuple[Json, ...] = objects(16, MatchExpression)


@dataclass(frozen=True, slots=True, kw_only=True)
class TopologySpreadConstraint:
    max_skew: int = field(metadata={"low": 1, "high": 500})
    topology_key: str = required_text(LONGEST_KEY, KEY_PATTERN)
    when_unsatisfiable: WhenUnsatisfiable
    min_domains: int | None = number(None, 1, 10_000)
    node_affinity_policy: NodePolicy | None = None
    node_taints_policy: NodePolicy | None = None
    match_label_keys: tuple[str, ...] = texts(8, LONGEST_KEY, KEY_PATTERN)
    label_selector: LabelSelector | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeExpression:
    key: str = required_text(LONGEST_KEY, KEY_PATTERN)
    operator: NodeOperator
    values: tuple[str, ...] = texts(32, LONGEST_LABEL, LABEL_PATTERN)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeTerm:
    match_expressions: tuple[Json, ...] = objects(8, NodeExpression)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeTerms:
    node_selector_terms: tuple[Json, ...] = required_objects(8, NodeTerm)


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferredNodes:
    weight: int = field(metadata={"low": 1, "high": 100})
    preference: NodeTerm


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeAffinity:
    required_during_scheduling_ignored_during_execution: NodeTerms | None = None
    preferred_during_scheduling_ignored_during_execution: tuple[Json, ...] = objects(8, PreferredNodes)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnPodTerm:
    """A term without `namespaces` and `namespaceSelector`, which would affect pods in other namespaces."""

    topology_key: str = required_text(LONGEST_KEY, KEY_PATTERN)
    match_label_keys: tuple[str, ...] = texts(8, LONGEST_KEY, KEY_PATTERN)


@dataclass(frozen=True, slots=True, kw_only=True)
class PodTerm(OwnPodTerm):
    label_selector: LabelSelector | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferredPods:
    weight: int = field(metadata={"low": 1, "high": 100})
    pod_affinity_term: PodTerm


@dataclass(frozen=True, slots=True, kw_only=True)
class PodAffinity:
    required_during_scheduling_ignored_during_execution: tuple[Json, ...] = objects(8, PodTerm)
    preferred_during_scheduling_ignored_during_execution: tuple[Json, ...] = objects(8, PreferredPods)


@dataclass(frozen=True, slots=True, kw_only=True)
class PodAntiAffinity:
    """Required terms apply only to this PoseCluster's pods, because they also keep other pods off a node."""

    required_during_scheduling_ignored_during_execution: tuple[Json, ...] = objects(8, OwnPodTerm)
    preferred_during_scheduling_ignored_during_execution: tuple[Json, ...] = objects(8, PreferredPods)


@dataclass(frozen=True, slots=True, kw_only=True)
class Affinity:
    node_affinity: NodeAffinity | None = None
    pod_affinity: PodAffinity | None = None
    pod_anti_affinity: PodAntiAffinity | None = None
