"""Reading a PoseCluster from a YAML manifest."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from posecluster_operator.errors import InvalidInput, InvalidSpec
from posecluster_operator.files import read_file
from posecluster_operator.resource.parsing import field_types, parse
from posecluster_operator.resource.posecluster import API_VERSION, KIND, PoseCluster, Spec

_MOST_BYTES = 1024 * 1024


def read_manifest(path: Path) -> PoseCluster:
    """Return the only PoseCluster of a file, which may also contain other kinds.

    Raises InvalidInput, which names the file. Unknown fields are refused, as by kubectl, to detect typos.
    """
    found = [document for document in _documents(path) if _is_ours(document)]
    if len(found) != 1:
        number = f"{len(found) or 'no'} {KIND}{'s' if found else ''}"
        raise InvalidInput(f"{path} has {number} of {API_VERSION}: it must have exactly one")
    try:
        _refuse_unknown(Spec, found[0].get("spec"), "spec")
        return parse(_as_stored(found[0]))
    except InvalidSpec as error:
        raise InvalidInput(f"{path}: {error}") from error


def _documents(path: Path) -> list[Any]:
    too_large = f"has more than {_MOST_BYTES // 1024} KiB: use a smaller file"
    data = read_file(path, most_bytes=_MOST_BYTES, too_large=too_large)
    try:
        return list(yaml.safe_load_all(data))
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # an invalid date raises ValueError
        raise InvalidInput(f"{path} is not valid YAML: {error}") from error


def _is_ours(document: Any) -> bool:
    return (
        isinstance(document, Mapping)
        and document.get("kind") == KIND
        and document.get("apiVersion") == API_VERSION
    )


def _as_stored(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the object with the metadata that the API server would add."""
    metadata = document.get("metadata")
    if not isinstance(metadata, Mapping) or not isinstance(metadata.get("name"), str):
        raise InvalidSpec("metadata.name is missing: set it")
    kept = {"name": metadata["name"], "namespace": "default", "uid": "", "generation": 1}
    return {"metadata": {**kept, "resourceVersion": ""}, "spec": document.get("spec")}


def _refuse_unknown(cls: Any, value: object, path: str) -> None:
    if not isinstance(value, Mapping):
        return  # `parse` reports it
    known = field_types(cls)
    for name, inner in value.items():
        if name not in known:
            raise InvalidSpec(f"{path} has no field {str(name)[:80]!r}: correct or remove it")
        if dataclasses.is_dataclass(known[name]):
            for one in inner if isinstance(inner, list) else [inner]:
                _refuse_unknown(known[name], one, f"{path}.{name}")
