"""Parsing of API objects into the classes of `posecluster`.

Types, bounds and the CRD's CEL rules (`RULES`) are checked again, because a stored object may predate the
CRD.
"""

import dataclasses
import ipaddress
import re
import types
import typing
from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from typing import Any, TypeVar

from posecluster_operator.errors import InvalidSpec
from posecluster_operator.resource.fields import Json
from posecluster_operator.resource.json_access import child, children, text
from posecluster_operator.resource.posecluster import PAUSED_ANNOTATION, PoseCluster, Spec
from posecluster_operator.resource.rules import RULES

T = TypeVar("T")


def parse(body: Json, spec: Spec | None = None) -> PoseCluster:
    """Return the PoseCluster; raises InvalidSpec. With `spec`, the object's own spec is not read."""
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
        scaled=any(
            text(entry, "subresource") == "scale" and "f:replicas" in child(entry, "fieldsV1", "f:spec")
            for entry in children(metadata, "managedFields")
        ),
    )
    if spec is None:
        _check_rules(cluster)
    return cluster


def parse_spec(value: object) -> Spec:
    """Return the spec with its defaults. Raises InvalidSpec, which names the field and what to do."""
    return _read(Spec, {} if value is None else value, "spec")


def camel(name: str) -> str:
    """Return a name in camel case: `maxPeople` for `max_people`."""
    first, *others = name.split("_")
    return first + "".join(part.capitalize() for part in others)


@cache
def field_types(cls: Any) -> Mapping[str, Any]:
    """Return the class, or the class of the items, of each field by its name in the API."""
    found = {}
    for item in dataclasses.fields(cls):
        kind = item.metadata.get("item", _types(cls)[item.name])
        found[camel(item.name)] = typing.get_args(kind)[0] if isinstance(kind, types.UnionType) else kind
    return found


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
    if "item" in rules:
        _read(rules["item"], value, path)
        return value
    if origin is not None:
        return _mapping(value, rules, path)
    if kind is int:
        return _int(value, rules, path)
    if kind is bool:
        return _bool(value, path)
    if issubclass(kind, StrEnum):
        return _choice(kind, value, path)
    return _quantity(value, rules, path) if path.endswith((".cpu", ".memory")) else _text(value, rules, path)


def _int(value: object, rules: Mapping[str, Any], path: str) -> int:
    low, high = rules["low"], rules["high"]
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InvalidSpec(f"{path} must be a whole number from {low} to {high}")
    return value


def _bool(value: object, path: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidSpec(f"{path} must be true or false")
    return value


def _choice(kind: type[StrEnum], value: object, path: str) -> StrEnum:
    try:
        return kind(str(value))
    except ValueError as error:
        raise InvalidSpec(f"{path} must be one of {', '.join(kind)}") from error


def _quantity(value: object, rules: Mapping[str, Any], path: str) -> str:
    """Return a quantity as text. It may be a number, unless Python refuses to print it (ValueError)."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63:
        value = str(value)
    if isinstance(value, float):
        raise InvalidSpec(f'{path} must not be a number with a fraction: quote it, as in "{value}"')
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
    if rules.get("format") == "cidr":
        _check_network(value, path)
    return value


def _check_network(text: str, path: str) -> None:
    """Refuse bits beyond the prefix. The API server accepts them, but their meaning is ambiguous."""
    try:
        ipaddress.ip_network(text)
    except ValueError as error:
        raise InvalidSpec(
            f"{path} must be a network without bits beyond its prefix, such as 10.0.0.0/8: correct {text}"
        ) from error


def _list(value: object, rules: Mapping[str, Any], path: str) -> tuple[Any, ...]:
    """Return a list of texts, or of objects, which are checked but kept unparsed."""
    least, most = rules.get("least", 0), rules["most"]
    if not isinstance(value, list) or not least <= len(value) <= most:
        raise InvalidSpec(f"{path} must be a list with {least} to {most} items")
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
