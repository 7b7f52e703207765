"""The API's objects to `models`.

Types, bounds and rules are checked again, for a stored object may predate the CRD: `RULES` are its
CEL rules, in its words.
"""

import dataclasses
import re
import types
import typing
from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import cache
from typing import Any, TypeVar

from posecluster_operator.errors import InvalidSpec
from posecluster_operator.models import (
    GROUP,
    KEY_PATTERN,
    LONGEST_KEY,
    PAUSED_ANNOTATION,
    Json,
    MatchExpression,
    MatchOperator,
    PoseCluster,
    Spec,
    TaintEffect,
    Toleration,
    TolerationOperator,
    TopologySpreadConstraint,
    WhenUnsatisfiable,
)
from posecluster_operator.quantity import parse_quantity

T = TypeVar("T")
# pods are named NAME-pose-<10>-<5>, with everything before the last 5 cut to 58 characters
LONGEST_CLUSTER_NAME = 40
CLUSTER_NAME_PATTERN = "^[a-z]([-a-z0-9]*[a-z0-9])?$"


def parse(body: Json, spec: Spec | None = None) -> PoseCluster:
    """Return the resource; raises InvalidSpec. `spec` stands in for one that is wrong, which is not read."""
    metadata = body["metadata"]
    cluster = PoseCluster(
        name=metadata["name"],
        namespace=metadata["namespace"],
        uid=metadata["uid"],
        generation=metadata["generation"],
        resource_version=metadata["resourceVersion"],
        paused=(metadata.get("annotations") or {}).get(PAUSED_ANNOTATION) == "true",
        status=body.get("status") or {},
        spec=parse_spec(body.get("spec")) if spec is None else spec,
    )
    if spec is None:
        _check_rules(cluster)
    return cluster


def parse_spec(value: object) -> Spec:
    """Return the spec with defaults filled in; raises InvalidSpec naming the field and what to do."""
    return _read(Spec, {} if value is None else value, "spec")


def camel(name: str) -> str:
    """`max_people` to `maxPeople`."""
    first, *others = name.split("_")
    return first + "".join(part.capitalize() for part in others)


@cache
def _types(cls: Any) -> Mapping[str, Any]:
    return typing.get_type_hints(cls)


def _read(cls: type[T], value: object, path: str) -> T:
    if not isinstance(value, Mapping):
        raise InvalidSpec(f"{path} must be an object")
    known: dict[str, Any] = {}
    for item in dataclasses.fields(cls):  # type: ignore[arg-type]
        name = camel(item.name)
        if value.get(name) is not None:
            known[item.name] = _value(
                _types(typing.cast("Any", cls))[item.name], value[name], item.metadata, f"{path}.{name}"
            )
        elif item.default is item.default_factory is dataclasses.MISSING:
            raise InvalidSpec(f"{path}.{name} is missing: set it")
    return _check_rules(cls(**known))


def _value(kind: Any, value: object, rules: Mapping[str, Any], path: str) -> Any:
    if isinstance(kind, types.UnionType):
        kind = typing.get_args(kind)[0]
    if dataclasses.is_dataclass(kind):
        return _read(typing.cast("type[Any]", kind), value, path)
    origin = typing.get_origin(kind)
    if origin is tuple:
        return _list(value, rules, path)
    if origin is not None:
        return _mapping(value, rules, path)
    if kind is int:
        return _int(value, rules, path)
    if issubclass(kind, StrEnum):
        return _choice(kind, value, path)
    return _quantity(value, rules, path) if path.endswith((".cpu", ".memory")) else _text(value, rules, path)


def _int(value: object, rules: Mapping[str, Any], path: str) -> int:
    low, high = rules["low"], rules["high"]
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InvalidSpec(f"{path} must be a whole number from {low} to {high}")
    return value


def _choice(kind: type[StrEnum], value: object, path: str) -> StrEnum:
    try:
        return kind(str(value))
    except ValueError as error:
        raise InvalidSpec(f"{path} must be one of {', '.join(kind)}") from error


def _quantity(value: object, rules: Mapping[str, Any], path: str) -> str:
    """A quantity may be a bare number, but not one that is too long to print (ValueError)."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63:
        value = str(value)
    return _text(value, rules, path)


def _text(value: object, rules: Mapping[str, Any], path: str) -> str:
    if (
        not isinstance(value, str)
        or len(value) > rules["longest"]
        or not re.fullmatch(rules["pattern"], value, re.ASCII)
    ):
        raise InvalidSpec(
            f"{path} must match {rules['pattern']} and have at most {rules['longest']} characters"
        )
    return value


def _list(value: object, rules: Mapping[str, Any], path: str) -> tuple[Any, ...]:
    """Texts, or objects: these are checked, and handed on as they are."""
    if not isinstance(value, list) or len(value) > rules["most"]:
        raise InvalidSpec(f"{path} must be a list with at most {rules['most']} items")
    if "item" not in rules:
        return tuple(_text(one, rules, f"{path}[{index}]") for index, one in enumerate(value))
    for index, one in enumerate(value):
        _read(rules["item"], one, f"{path}[{index}]")
    keys = rules["keys"]
    if keys and len({tuple(one[key] for key in keys) for one in value}) < len(value):
        raise InvalidSpec(f"{path} must not have two items with the same {' and '.join(keys)}")
    return tuple(value)


def _mapping(value: object, rules: Mapping[str, Any], path: str) -> Mapping[str, str]:
    if (
        not isinstance(value, Mapping)
        or len(value) > rules["most"]
        or not all(isinstance(key, str) for key in value)
    ):
        raise InvalidSpec(f"{path} must map at most {rules['most']} texts to texts")
    return {key: _text(text, rules, f"{path}[{key[:80]}]") for key, text in value.items()}


def _check_rules(value: T) -> T:
    for message, holds in RULES.get(type(value), ()):
        if not holds(value):
            raise InvalidSpec(message)
    return value


def _ordered(*quantities: str) -> bool:
    numbers = [parse_quantity(text) for text in quantities]
    return numbers == sorted(numbers)


def _are_keys(keys: Mapping[str, str]) -> bool:
    return all(len(key) <= LONGEST_KEY and re.fullmatch(KEY_PATTERN, key, re.ASCII) for key in keys)


# what each object must fulfil, in the order of the CRD
RULES: Mapping[type, tuple[tuple[str, Callable[[Any], bool]], ...]] = {
    PoseCluster: (
        (
            "metadata.name must have at most 40 characters, so that no child's name is cut: shorten it",
            lambda one: len(one.name) <= LONGEST_CLUSTER_NAME,
        ),
        (
            "metadata.name must be a DNS label, because Services are named after it: start with a letter, "
            "use a-z, 0-9 and -",
            lambda one: re.fullmatch(CLUSTER_NAME_PATTERN, one.name, re.ASCII) is not None,
        ),
    ),
    Spec: (
        (
            "scaling.minReplicas must not exceed scaling.maxReplicas: lower the first or raise the second",
            lambda one: one.scaling.min_replicas <= one.scaling.max_replicas,
        ),
        (
            "scaling.scaleDown.holdSeconds must not exceed scaling.scaleDown.maxHoldSeconds: "
            "lower the first or raise the second",
            lambda one: one.scaling.scale_down.hold_seconds <= one.scaling.scale_down.max_hold_seconds,
        ),
        (
            "scaling.objective.latencyMilliseconds must not exceed limits.deadlineMilliseconds: "
            "lower the first or raise the second",
            lambda one: one.scaling.objective.latency_milliseconds <= one.limits.deadline_milliseconds,
        ),
        (
            "resources.requests.cpu must not exceed resources.limits.cpu: set both, each has a default",
            lambda one: _ordered(one.resources.requests.cpu, one.resources.limits.cpu),
        ),
        (
            "resources.requests.memory must not exceed resources.limits.memory: set both, each has a default",
            lambda one: _ordered(one.resources.requests.memory, one.resources.limits.memory),
        ),
        (
            "resources.limits.cpu must be from 100m to 1024: choose a value between",
            lambda one: _ordered("100m", one.resources.limits.cpu, "1024"),
        ),
        (
            "resources.limits.memory must be from 256Mi to 16Ti: choose a value between",
            lambda one: _ordered("256Mi", one.resources.limits.memory, "16Ti"),
        ),
        (
            "keys of service.annotations must not start with posecluster.io/, which is the operator's: "
            "use another prefix",
            lambda one: not any(key.startswith(f"{GROUP}/") for key in one.service.annotations),
        ),
        (
            "keys of service.annotations must be as Kubernetes has them, such as example.com/name: "
            "correct the key",
            lambda one: _are_keys(one.service.annotations),
        ),
        (
            "keys of nodeSelector must be as Kubernetes has them, such as example.com/name: correct the key",
            lambda one: _are_keys(one.node_selector),
        ),
        (
            "priorityClassName must not start with system-, which is for the cluster's own pods: "
            "name another class",
            lambda one: not (one.priority_class_name or "").startswith("system-"),
        ),
    ),
    Toleration: (
        (
            "a toleration without key must have operator Exists: name the key, or set the operator",
            lambda one: one.key is not None or one.operator is TolerationOperator.EXISTS,
        ),
        (
            "a toleration with operator Exists must not have a value: remove the one or the other",
            lambda one: one.operator is not TolerationOperator.EXISTS or not one.value,
        ),
        (
            "a toleration with tolerationSeconds must have effect NoExecute: set it, or remove the seconds",
            lambda one: one.toleration_seconds is None or one.effect is TaintEffect.NO_EXECUTE,
        ),
    ),
    TopologySpreadConstraint: (
        (
            "a topologySpreadConstraint with minDomains must have whenUnsatisfiable DoNotSchedule: set it, "
            "or remove minDomains",
            lambda one: (
                one.min_domains is None or one.when_unsatisfiable is WhenUnsatisfiable.DO_NOT_SCHEDULE
            ),
        ),
    ),
    MatchExpression: (
        (
            "matchExpressions must have values with operator In or NotIn, and none with Exists or "
            "DoesNotExist: correct the values",
            lambda one: (one.operator in {MatchOperator.IN, MatchOperator.NOT_IN}) == bool(one.values),
        ),
    ),
}
