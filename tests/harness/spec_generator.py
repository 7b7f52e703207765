"""Generated specs: right ones, made from the schema, and spoiled ones."""

import copy
import random
from collections.abc import Iterator
from typing import Any

from harness.crd import Json, schema

# values of the wrong type, size or sign; none of a kind that the API server itself makes right (null, 1.0)
JUNK: tuple[Any, ...] = (
    -1, 0, 1, 2**31, 2**63 - 1, True, "", " ", "-1", "1", "a" * 5_000, "A_b", "ü" * 20, "a\n", "\u0663m",
    "0m", "1e3", "9" * 20, "99999999999999999Ti", "system-a", [], [[]], [{}], {}, {"a": 1},
    {"a b": "c"}, [1], ["a"],
)  # fmt: skip


class SpecGenerator:
    """Specs drawn from `rng`: equal randomness, equal specs."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def valid(self, *, share: float = 0.5) -> Json:
        """A spec that the API server takes; `share` of its fields are set."""
        spec = self._object(schema()["properties"]["spec"], share)
        _reconcile(spec)
        return spec

    def spoiled(self) -> Json:
        """A spec that was right, with one to three values replaced; a few are still right."""
        spec = self.valid(share=0.3)
        for _ in range(self._rng.randint(1, 3)):
            places = _places(spec)
            if not places:
                break
            holder, key = self._rng.choice(places)
            holder[key] = copy.deepcopy(self._rng.choice(JUNK))
        return spec

    def _value(self, one: Json, share: float) -> Any:
        rng = self._rng
        if "enum" in one:
            return rng.choice(one["enum"])
        if "x-kubernetes-int-or-string" in one:
            return rng.choice([1, 2, "1.5", "2k", "1"])  # `_reconcile` makes them fit
        if one["type"] == "boolean":
            return rng.choice([False, True])
        if one["type"] == "integer":
            low, high = one["minimum"], one["maximum"]
            return rng.choice([low, high, rng.randint(low, high), rng.randint(low, min(high, low + 20))])
        if one["type"] == "string":
            return self._text(one)
        if one["type"] == "array":
            return self._list(one, share)
        return self._object(one, share)

    def _object(self, one: Json, share: float) -> Json:
        rng = self._rng
        if "additionalProperties" in one:
            count = rng.choice([0, 1, 2, one["maxProperties"]])
            return {
                f"example.com/k{index}": self._text(one["additionalProperties"]) for index in range(count)
            }
        required = one.get("required", [])
        return {
            name: self._value(child, share)
            for name, child in one["properties"].items()
            if name in required or rng.random() < share
        }

    def _list(self, one: Json, share: float) -> list[Any]:
        most = min(one["maxItems"], 32)
        counts = [count for count in (0, 1, 1, 2, most) if count >= one.get("minItems", 0)]
        items = [self._value(one["items"], share) for _ in range(self._rng.choice(counts))]
        keys = one.get("x-kubernetes-list-map-keys")
        if not keys:
            return items
        by_key = {tuple(item[key] for key in keys): item for item in items}
        return list(by_key.values())

    def _text(self, one: Json) -> str:
        if one.get("format") == "cidr":
            return self._rng.choice(["10.0.0.0/8", "0.0.0.0/0", "2001:db8::/32", "::1/128", "192.0.2.7/32"])
        if "://" in one.get("pattern", ""):
            return self._rng.choice(["https://example.com", "http://localhost:3000", "http://[::1]:8000"])
        letters = "abcdefghijklmnopqrstuvwxyz0123456789"
        length = min(self._rng.choice([1, 5, 20, 63]), one["maxLength"])
        return "".join(self._rng.choices(letters, k=length))


def _places(value: Any) -> list[tuple[Any, Any]]:
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
    found = [(value, key) for key in keys]
    for key in keys:
        found += _places(value[key])
    return found


def _reconcile(spec: Json) -> None:
    """Make true what joins fields."""
    scaling, limits = spec.get("scaling", {}), spec.get("limits", {})
    _order(scaling, "minReplicas", "maxReplicas", 1, 10)
    if "scaleDown" in scaling:
        _order(scaling["scaleDown"], "holdSeconds", "maxHoldSeconds", 60, 300)
    objective = scaling.get("objective", {})
    deadline = limits.get("deadlineMilliseconds", 10_000)
    if objective.get("latencyMilliseconds", 250) > deadline:
        scaling.setdefault("objective", objective)["latencyMilliseconds"] = deadline
        spec["scaling"] = scaling
    for group in spec.get("resources", {}).values():
        for name, value in group.items():
            group[name] = f"{value}".removesuffix("k") + {"cpu": "", "memory": "Gi"}[name]
    if resources := spec.get("resources"):
        requests, most = resources.setdefault("requests", {}), resources.setdefault("limits", {})
        for name, least in (("cpu", "100m"), ("memory", "128Mi")):
            if name in most or name in requests:
                requests[name] = least
                most.setdefault(name, {"cpu": 2, "memory": "1Gi"}[name])
    if "workerMemoryBytes" in (advanced := spec.get("advanced", {})):
        advanced["workerMemoryBytes"] %= 1 << 30
    service = spec.get("service", {})
    if service.get("type", "ClusterIP") == "ClusterIP":
        service.pop("externalTrafficPolicy", None)
    if service.get("type") != "LoadBalancer":
        service.pop("loadBalancerClass", None)
    for expression in _expressions(spec.get("affinity", {})):
        operator = expression["operator"]
        values = {"In": ["a", "b"], "NotIn": ["a"], "Gt": ["1"], "Lt": ["9"]}
        expression["values"] = values.get(operator, [])
    for item in spec.get("tolerations", []):
        _toleration(item)
    for item in spec.get("topologySpreadConstraints", []):
        if "minDomains" in item and item["whenUnsatisfiable"] != "DoNotSchedule":
            del item["minDomains"]
        for expression in item.get("labelSelector", {}).get("matchExpressions", []):
            expression["values"] = ["a", "b"] if expression["operator"] in {"In", "NotIn"} else []


def _expressions(value: Any) -> Iterator[Json]:
    """Every match expression below."""
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if isinstance(value, dict) and "operator" in value:
        yield value
    for child in children:
        yield from _expressions(child)


def _toleration(item: Json) -> None:
    if "key" not in item:
        item["operator"] = "Exists"
    if item.get("operator") == "Exists":
        item.pop("value", None)
    if item.get("effect") != "NoExecute":
        item.pop("tolerationSeconds", None)


def _order(holder: Json, low: str, high: str, low_default: int, high_default: int) -> None:
    first, second = holder.get(low, low_default), holder.get(high, high_default)
    if first > second:
        holder[low], holder[high] = second, first
