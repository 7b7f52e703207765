"""The CRD for tests: its nodes, its CEL rules, and for each bound a value inside and one beyond it."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).resolve().parents[2] / "crds" / "poseclusters.yaml"
Json = dict[str, Any]
LONG = "x" * 5_000


@cache
def document() -> Json:
    """The CustomResourceDefinition."""
    loaded = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    assert isinstance(loaded, dict)
    return loaded


def version() -> Json:
    """Its one version."""
    (only,) = document()["spec"]["versions"]
    assert isinstance(only, dict)
    return only


def schema() -> Json:
    """Of the whole object."""
    found = version()["schema"]["openAPIV3Schema"]
    assert isinstance(found, dict)
    return found


@dataclass(frozen=True, slots=True)
class Node:
    """A place in the schema: `path` has property names, and "[]" for the items of a list or map."""

    path: tuple[str, ...]
    schema: Json

    @property
    def name(self) -> str:
        """`spec.tolerations[].key`."""
        return ".".join(self.path).replace(".[]", "[]")


def nodes(start: Json | None = None, path: tuple[str, ...] = ()) -> Iterator[Node]:
    """Every place, parents first."""
    one = schema() if start is None else start
    yield Node(path, one)
    for name, child in one.get("properties", {}).items():
        yield from nodes(child, (*path, name))
    for keyword in ("items", "additionalProperties"):
        if keyword in one:
            yield from nodes(one[keyword], (*path, "[]"))


def rules_of(one: Json) -> list[Json]:
    """CEL rules of a place about the object itself, not about a change of it."""
    return [rule for rule in one.get("x-kubernetes-validations", []) if "oldSelf" not in rule["rule"]]


def rules() -> list[tuple[str, str]]:
    """Place and message of every CEL rule about the object itself."""
    return [(node.name, rule["message"]) for node in nodes() for rule in rules_of(node.schema)]


@dataclass(frozen=True, slots=True)
class Bound:
    """One limit of one field: a spec at it, one beyond it, and what the refusal names."""

    name: str
    keyword: str
    inside: Json
    beyond: Json
    named: str


# fields that a rule joins with the one at its limit, and fields that must stand beside it
_BESIDE: dict[str, Json] = {
    "spec.scaling.minReplicas": {"scaling": {"maxReplicas": 500}},
    "spec.scaling.objective.latencyMilliseconds": {"limits": {"deadlineMilliseconds": 3_600_000}},
    "spec.limits.deadlineMilliseconds": {"scaling": {"objective": {"latencyMilliseconds": 1}}},
    "spec.scaling.scaleDown.holdSeconds": {"scaling": {"scaleDown": {"maxHoldSeconds": 86_400}}},
    "spec.scaling.scaleDown.maxHoldSeconds": {"scaling": {"scaleDown": {"holdSeconds": 0}}},
    "spec.advanced.workerMemoryBytes": {"resources": {"limits": {"memory": "16Ti"}}},
    "spec.service.externalTrafficPolicy": {"service": {"type": "NodePort"}},
    "spec.service.loadBalancerClass": {"service": {"type": "LoadBalancer"}},
    "spec.resources.limits.cpu": {"resources": {"requests": {"cpu": 0}}},
    "spec.resources.limits.memory": {"resources": {"requests": {"memory": 0}}},
}
_ITEMS: dict[str, Json] = {
    "spec.imagePullSecrets[]": {"name": "a"},
    "spec.tolerations[]": {"key": "a", "effect": "NoExecute"},
    "spec.topologySpreadConstraints[]": {
        "maxSkew": 1,
        "topologyKey": "a",
        "whenUnsatisfiable": "DoNotSchedule",
    },
}
_EXPRESSION: Json = {"key": "a", "operator": "In", "values": ["a"]}
_TERM: Json = {"topologyKey": "a"}
_PREFERRED_TERM: Json = {"weight": 1, "podAffinityTerm": _TERM}
_REQUIRED, _PREFERRED = (
    f"{when}DuringSchedulingIgnoredDuringExecution" for when in ("required", "preferred")
)
_AFFINITY: dict[str, Json] = {
    f"spec.affinity.nodeAffinity.{_REQUIRED}": {"nodeSelectorTerms": [{}]},
    f"spec.affinity.nodeAffinity.{_REQUIRED}.nodeSelectorTerms[]": {},
    f"spec.affinity.nodeAffinity.{_PREFERRED}[]": {"weight": 1, "preference": {}},
}
_ITEMS |= _AFFINITY | {
    f"spec.affinity.{kind}.{when}": item
    for kind in ("podAffinity", "podAntiAffinity")
    for when, item in (
        (f"{_REQUIRED}[]", _TERM),
        (f"{_PREFERRED}[]", _PREFERRED_TERM),
        (f"{_PREFERRED}[].podAffinityTerm", _TERM),
    )
}
# by pattern: a text that fits and one that does not; `enum` values need more beside them here and there
_TEXTS = {
    "image": ("registry.test:5000/pose/inference@sha256:0", "pose inference"),
    "cpu": ("0.5", "1e3"),
    "memory": ("0.5Gi", "1Gb"),
    "key": ("example.com/a_B.c", "-a"),
    "label": ("a_B.c", "a b"),
    "name": ("a.b-c", "A..b"),
    "network": ("2001:db8::/32", "proxy.example/32"),
    "origin": ("http://[::1]:3000", "https://example.com/"),
}
_LONGEST = {
    "image": "a" * 512,
    "cpu": "0" * 19 + "1",
    "key": "a" * 251 + ".b/" + "c" * 63,
    "label": "a" * 63,
    "network": ":".join(["ffff"] * 8) + "/128",
    "origin": "https://" + "a" * 247,
}


def bounds() -> Iterator[Bound]:
    """Every limit of every field of the spec."""
    for node in nodes(schema()["properties"]["spec"], ("spec",)):
        for keyword, inside, beyond in _edges(node):
            yield Bound(
                node.name,
                keyword,
                _put(node.path, inside, node.name),
                _put(node.path, beyond, node.name),
                node.name.partition("[]")[0],
            )


def _edges(node: Node) -> Iterator[tuple[str, Any, Any]]:
    one, name = node.schema, node.path[-1]
    if "minimum" in one:
        low = {"cpu": 1, "memory": 1 << 30}.get(name, one["minimum"])
        yield "minimum", low, one["minimum"] - 1
    if "maximum" in one:
        yield "maximum", one["maximum"], one["maximum"] + 1
    if "enum" in one:
        for value in one["enum"]:
            yield f"enum {value}", value, "Other"
    if one.get("type") == "boolean":
        for value in (False, True):
            yield f"boolean {value}", value, str(value).lower()
    kind = _kind(node)
    if "pattern" in one:
        yield "pattern", *_TEXTS[kind]
    if "maxLength" in one:
        longest = _LONGEST.get(kind, "a" * one["maxLength"])
        if kind == "memory":
            longest = "0" * 10 + "1073741824"
        yield "maxLength", longest, ("1" if kind in {"cpu", "memory"} else "a") * (one["maxLength"] + 1)
    if "format" in one and one["format"] not in {"int32", "int64"}:
        yield "format", _TEXTS[kind][0], "999.0.0.0/8"
    if "minItems" in one:
        yield "minItems", [_item(node.name + "[]", 0)] * one["minItems"], []
    if "maxItems" in one:
        most = one["maxItems"]
        items = [_item(node.name + "[]", index) for index in range(most + 1)]
        yield "maxItems", items[:most], items
    if "maxProperties" in one:
        pairs = {f"key{index}": "a" for index in range(one["maxProperties"] + 1)}
        yield "maxProperties", dict(list(pairs.items())[:-1]), pairs
    for required in one.get("required", []):
        whole = _item(node.name, 0)
        yield f"required {required}", whole, {key: value for key, value in whole.items() if key != required}
    if one.get("x-kubernetes-list-type") == "map":
        items = [_item(node.name + "[]", index) for index in range(2)]
        yield "list-map", items, [items[0], items[0]]


@cache
def _listed() -> frozenset[str]:
    """Names of the items of lists, in difference to those of maps."""
    return frozenset(f"{node.name}[]" for node in nodes() if "items" in node.schema)


def _kind(node: Node) -> str:
    pattern, name = node.schema.get("pattern", ""), node.path[-1]
    if name in {"image", "cpu", "memory"}:
        return name
    if "://" in pattern:
        return "origin"
    if node.schema.get("format") == "cidr":
        return "network"
    if "/)?" in pattern:
        return "key"
    return "label" if "A-Z" in pattern else "name"


def _item(name: str, index: int) -> Any:
    if name.endswith(("values[]", "matchLabelKeys[]")):
        return f"a{index}"
    if name.endswith("trustedProxies[]"):
        return f"10.0.{index}.0/24"
    if name.endswith("allowedOrigins[]"):
        return f"https://a{index}"
    item: Json = copy.deepcopy(_EXPRESSION if name.endswith("matchExpressions[]") else _ITEMS[name])
    for key in ("name", "topologyKey"):
        if key in item:
            item[key] = f"a{index}"
    return item


def _put(path: tuple[str, ...], value: Any, name: str) -> Json:
    """A spec with this value at this place, and beside it what the value needs."""
    spec = copy.deepcopy(_BESIDE.get(name, {}))
    place: Any = {"spec": spec}
    for index, step in enumerate(path[:-1]):
        following = path[index + 1]
        if step == "[]":
            place = place[0] if isinstance(place, list) else place
        elif following == "[]":
            here = ".".join(path[: index + 1]).replace(".[]", "[]") + "[]"
            place = place.setdefault(step, [_item(here, 0)] if here in _listed() else {})
        else:
            place = place.setdefault(step, {})
    last = path[-1]
    if last == "[]":
        if isinstance(place, list):
            place[0] = value
        else:
            place["key"] = value
    else:
        place[last] = value
        _complete(place, last, value)
    return spec


def _complete(place: Json, last: str, value: Any) -> None:
    """What an enum's other values ask for."""
    if last == "operator" and value in {"Exists", "DoesNotExist"}:
        place.pop("values", None)
    if last == "operator" and value in {"Gt", "Lt"}:
        place["values"] = ["1"]
    if last == "effect":
        place.pop("tolerationSeconds", None)
