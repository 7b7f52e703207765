"""Access to untrusted JSON objects. A value of the wrong type counts as absent; no function raises."""

from collections.abc import Mapping
from typing import Any

from posecluster_operator.resource.fields import Json

_EMPTY: Json = {}


def child(value: object, *path: str) -> Json:
    """Return the object at `path`, or an empty one."""
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else _EMPTY


def children(value: object, name: str) -> list[Json]:
    """Return the objects in the list `name`, without items of other types."""
    found = child(value).get(name)
    return [item for item in found if isinstance(item, Mapping)] if isinstance(found, list) else []


def text(value: object, name: str) -> str:
    """Return the text `name`, or an empty text."""
    found = child(value).get(name)
    return found if isinstance(found, str) else ""


def count(value: object, name: str) -> int:
    """Return the positive whole number `name`, or 0."""
    found: Any = child(value).get(name)
    return found if isinstance(found, int) and not isinstance(found, bool) and found > 0 else 0


def condition(status: object, kind: str) -> Json:
    """Return the condition of type `kind` in a status, or an empty object."""
    return next((item for item in children(status, "conditions") if text(item, "type") == kind), _EMPTY)
