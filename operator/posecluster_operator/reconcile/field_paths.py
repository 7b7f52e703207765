"""Which fields of an object differ, and which field managers own them. Pure.

A path is a tuple of steps. A step is the name of a field or, in a list of named objects such as containers,
the object itself, because `managedFields` identify list items by some of their fields.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from posecluster_operator.builders import labels
from posecluster_operator.resource.fields import Json
from posecluster_operator.resource.quantity import parse_quantity

Path = tuple[str | Json, ...]

# derived from the rest of the pod template
_DERIVED = ("spec", "template", "metadata", "annotations", labels.TEMPLATE_HASH)
# The API server may change or choose these.
_METADATA = ("labels", "annotations", "ownerReferences")


def changed_paths(before: Json, after: Json) -> list[Path]:
    """Return the paths of the spec, labels, annotations and owners that differ between two versions."""
    return [
        path
        for start, old, new in _parts(before, after)
        for path in _differences(old or {}, new or {}, start)
        if path != _DERIVED
    ]


def overridden_paths(manifest: Json, live: Json) -> list[Path]:
    """Return the paths of the manifest's fields whose live values differ from the applied ones.

    Directly after an apply, only admission can have changed them. Fields that the manifest does not set,
    and other notations of the same quantity, do not count.
    """
    return [
        path
        for start, sent, found in _parts(manifest, live)
        if sent is not None
        for path in _unlike(sent, found, start)
    ]


def text_of(path: Path) -> str:
    """Return a path as text: `spec.template.spec.containers[inference].image`."""
    words = ""
    for step in path:
        name = step if isinstance(step, str) else str(step.get("name"))
        plain = isinstance(step, str) and name.replace("-", "").isalnum()
        words += (f".{name}" if words else name) if plain else f"[{name}]"
    return words


def owners(body: Json, path: Path) -> set[str]:
    """Return the field managers that own the field according to `managedFields`."""
    return {
        str(entry.get("manager"))
        for entry in body["metadata"].get("managedFields") or ()
        if _owns(entry.get("fieldsV1") or {}, path)
    }


def _parts(one: Json, other: Json) -> Iterator[tuple[Path, Any, Any]]:
    """Yield the compared parts of two objects, with the path of each."""
    yield ("spec",), one.get("spec"), other.get("spec")
    for key in _METADATA:
        yield ("metadata", key), one["metadata"].get(key), other["metadata"].get(key)


def _owns(fields: Json, path: Path) -> bool:
    if not fields:
        return False
    for step in path:
        if not fields:
            return True  # the value is owned as a whole
        below = fields.get(f"f:{step}") if isinstance(step, str) else _item(fields, step)
        if below is None:
            return False
        fields = below
    return True


def _item(fields: Json, item: Json) -> Json | None:
    """Return the fields of this list item, whose key is `k:` and a JSON object of some of its fields."""
    for key, below in fields.items():
        if key.startswith("k:") and json.loads(key.removeprefix("k:")).items() <= item.items():
            return below or {}
    return None


def _differences(old: Any, new: Any, path: Path) -> Iterator[Path]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted({*old, *new}):
            if key not in old or key not in new:
                yield (*path, key)
            else:
                yield from _differences(old[key], new[key], (*path, key))
    elif (olds := _by_name(old)) is not None and (news := _by_name(new)) is not None:
        for name in sorted({*olds, *news}):
            if name not in olds or name not in news:
                yield (*path, olds.get(name) or news[name])
            else:
                yield from _differences(olds[name], news[name], (*path, olds[name]))
    elif old != new:
        yield path


def _by_name(value: Any) -> dict[str, Json] | None:
    """Return a list of named objects by name, or None if it is another value."""
    if not isinstance(value, list) or not all(isinstance(one, Mapping) and "name" in one for one in value):
        return None
    return {str(one["name"]): one for one in value}


def _unlike(sent: Any, found: Any, path: Path) -> Iterator[Path]:
    if not sent and not found:
        return  # the API server omits empty values
    if isinstance(sent, Mapping) and isinstance(found, Mapping):
        for key, value in sent.items():
            yield from _unlike(value, found.get(key), (*path, key))
    elif isinstance(sent, list) and isinstance(found, list) and len(sent) == len(found):
        for one, other in zip(sent, found, strict=True):
            is_named = isinstance(one, Mapping) and "name" in one
            below = [*_unlike(one, other, (*path, one) if is_named else path)]
            yield from below if is_named else below[:1] and [path]
    elif sent != found and not _is_same_quantity(sent, found):
        yield path


def _is_same_quantity(sent: Any, found: Any) -> bool:
    try:
        return parse_quantity(str(sent)) == parse_quantity(str(found))
    except ValueError:
        return False
