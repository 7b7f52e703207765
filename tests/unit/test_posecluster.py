"""The model in Python and the CRD's schema say the same; nothing but InvalidSpec comes out of parsing."""

import dataclasses
import random
import time
import types
import typing
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import crd
from harness.spec_cases import CASES, body
from harness.spec_generator import SpecGenerator
from posecluster_operator.errors import InvalidSpec
from posecluster_operator.resource import fields, posecluster, rules
from posecluster_operator.resource.parsing import camel, parse, parse_spec
from posecluster_operator.resource.posecluster import PoseCluster, Spec
from posecluster_operator.resource.rules import RULES

SPEC_SCHEMA = crd.schema()["properties"]["spec"]
GENERATED = 2_000
Row = tuple[str, str, object]
_SIZES = ("int32", "int64", "date-time")  # formats that a type in Python says
FIELDS = st.sampled_from(sorted(camel(item.name) for item in dataclasses.fields(Spec)))
ANY_DOCUMENT = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=50),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(FIELDS | st.text(max_size=9), inner, max_size=6)
    ),
    max_leaves=12,
)


# --- side by side ---


def told_by_schema(one: Mapping[str, Any], path: str) -> Iterator[Row]:
    """(place, what, value) of everything that binds a user, as the schema has it."""
    yield from ((path, "rule", rule["message"]) for rule in crd.rules_of(one))
    yield from ((path, "required", name) for name in one.get("required", []))
    yield from ((path, "key", name) for name in one.get("x-kubernetes-list-map-keys", []))
    quantity = "x-kubernetes-int-or-string" in one
    for keyword in (
        "minimum", "maximum", "enum", "pattern", "format", "maxLength", "minItems", "maxItems",
        "maxProperties",
    ):  # fmt: skip
        if keyword in one and one[keyword] not in _SIZES and not (quantity and keyword == "minimum"):
            yield path, keyword, tuple(one[keyword]) if keyword == "enum" else one[keyword]
    if one.get("default") not in (None, {}) and path != "spec":  # compared as a whole below
        yield path, "default", one["default"]
    for name, child in one.get("properties", {}).items():
        yield f"{path}.{name}", "is", "there"
        yield from told_by_schema(child, f"{path}.{name}")
    for keyword in ("items", "additionalProperties"):
        if keyword in one:
            yield from told_by_schema(one[keyword], f"{path}[]")


def told_by_class(cls: type, path: str) -> Iterator[Row]:
    """The same of a dataclass of `models`."""
    yield from ((path, "rule", message) for message, _holds in RULES.get(cls, ()))
    for item in dataclasses.fields(cls):
        place = f"{path}.{camel(item.name)}"
        yield place, "is", "there"
        if item.default is item.default_factory is dataclasses.MISSING:
            yield path, "required", camel(item.name)
        elif item.default not in (dataclasses.MISSING, None, ()):
            yield place, "default", item.default
        kind = typing.get_type_hints(cls)[item.name]
        yield from _told_by_field(kind, item.metadata, place)


def _told_by_field(kind: Any, bounds: Mapping[str, Any], place: str) -> Iterator[Row]:
    kind = typing.get_args(kind)[0] if isinstance(kind, types.UnionType) else kind
    origin = typing.get_origin(kind)
    names = {"low": "minimum", "high": "maximum"}
    if "least" in bounds:
        yield place, "minItems", bounds["least"]
    if "most" in bounds:
        yield place, "maxItems" if origin is tuple else "maxProperties", bounds["most"]
        place += "[]"
    yield from ((place.removesuffix("[]"), "key", key) for key in bounds.get("keys", ()))
    if "item" in bounds:
        yield from told_by_class(bounds["item"], place)
    names |= {"longest": "maxLength", "pattern": "pattern", "format": "format"}
    for name, keyword in names.items():
        if name in bounds and bounds[name] != fields.ANY_TEXT:
            yield place, keyword, bounds[name]
    if dataclasses.is_dataclass(kind):
        yield from told_by_class(typing.cast("type", kind), place)
    elif origin is None and issubclass(kind, StrEnum):
        yield place, "enum", tuple(kind)


def test_schema_and_model_agree_on_names_defaults_bounds_enums_patterns_and_rules() -> None:
    by_schema, by_class = set(told_by_schema(SPEC_SCHEMA, "spec")), set(told_by_class(Spec, "spec"))
    assert len(by_schema) > 150
    assert by_schema - by_class == set()
    assert by_class - by_schema == set()


@pytest.mark.control
def test_control_a_changed_bound_and_a_dropped_field_are_seen() -> None:
    changed = {**SPEC_SCHEMA, "properties": dict(SPEC_SCHEMA["properties"])}
    changed["properties"]["drainSeconds"] = SPEC_SCHEMA["properties"]["drainSeconds"] | {"maximum": 60}
    del changed["properties"]["priorityClassName"]
    missing = set(told_by_class(Spec, "spec")) - set(told_by_schema(changed, "spec"))
    assert ("spec.drainSeconds", "maximum", 3_600) in missing
    assert ("spec.priorityClassName", "is", "there") in missing


def test_rules_stand_in_the_order_of_the_schema() -> None:
    listed = [message for rules in RULES.values() for message, _holds in rules]
    assert listed == list(dict.fromkeys(message for _place, message in crd.rules()))


def test_parents_of_defaults_default_to_nothing_so_that_every_default_applies() -> None:
    for node in crd.nodes(SPEC_SCHEMA, ("spec",)):
        children = node.schema.get("properties", {}).values()
        if any("default" in child for child in children) and node.name != "spec":
            assert node.schema["default"] == {}, node.name


def test_every_field_is_described_and_every_text_list_and_map_is_bounded() -> None:
    for node in crd.nodes():
        kind = node.schema.get("type")
        assert node.schema.get("description") or node.path[-1] == "[]", node.name
        assert kind != "number", node.name
        assert kind != "string" or "maxLength" in node.schema or "enum" in node.schema, node.name
        assert kind != "array" or {"maxItems", "x-kubernetes-list-type"} <= node.schema.keys(), node.name
        assert "additionalProperties" not in node.schema or "maxProperties" in node.schema, node.name
        assert "x-kubernetes-preserve-unknown-fields" not in node.schema, node.name


# --- parsing ---


@pytest.mark.parametrize("bound", list(crd.bounds()), ids=lambda bound: f"{bound.name} {bound.keyword}")
def test_parsing_accepts_the_limit_and_names_the_field_beyond_it(bound: crd.Bound) -> None:
    parse_spec(bound.inside)
    with pytest.raises(InvalidSpec, match=bound.named.rpartition(".")[2]):
        parse_spec(bound.beyond)


@pytest.mark.parametrize("start", CASES)
def test_each_rule_accepts_and_refuses_in_its_own_words(start: str) -> None:
    accepted, refused = CASES[start]
    for case in accepted:
        parse(stored(body(case)))
    for case in refused:
        with pytest.raises(InvalidSpec) as raised:
            parse(stored(body(case)))
        assert str(raised.value) in {message for _place, message in crd.rules()}


def stored(manifest: dict[str, Any]) -> dict[str, Any]:
    manifest["metadata"] |= {"uid": "u", "generation": 3, "resourceVersion": "7"}
    return manifest


def test_an_empty_spec_has_the_defaults_of_the_schema() -> None:
    assert parse_spec({}) == parse_spec(None) == Spec()
    assert parse_spec(defaulted(SPEC_SCHEMA, {})) == Spec()
    assert parse_spec(SPEC_SCHEMA["default"]) == Spec(), "it may only repeat the defaults of the fields"


def defaulted(one: Mapping[str, Any], value: Any) -> Any:
    """What the API server makes of a value."""
    if isinstance(value, dict) and "properties" in one:
        for name, child in one["properties"].items():
            if name not in value and "default" in child:
                value[name] = {} if child["default"] == {} else child["default"]
            if name in value:
                defaulted(child, value[name])
    return value


def test_parsing_is_the_same_before_and_after_defaults() -> None:
    rng = random.Random(31)
    generate = SpecGenerator(rng).valid
    for _ in range(200):
        spec = generate()
        assert parse_spec(spec) == parse_spec(defaulted(SPEC_SCHEMA, spec))


def test_the_rest_of_the_object_is_read_as_it_is() -> None:
    manifest = stored(body({}, name="shop", namespace="team"))
    manifest["metadata"] |= {"deletionTimestamp": "2030-01-01T00:00:00Z"}
    cluster = parse(manifest | {"status": {"replicas": 2}})
    assert cluster.key == "team/shop"
    assert (cluster.uid, cluster.generation, cluster.resource_version) == ("u", 3, "7")
    assert cluster.status == {"replicas": 2}


@pytest.mark.parametrize(
    ("value", "paused"),
    [("true", True), ("True", False), ("yes", False), ("", False), ("false", False), ("true ", False)],
)
def test_only_the_annotation_value_true_pauses(value: str, paused: bool) -> None:
    manifest = stored(body({}))
    manifest["metadata"]["annotations"] = {posecluster.PAUSED_ANNOTATION: value}
    assert parse(manifest).paused is paused


def test_the_last_good_spec_stands_in_for_one_that_is_wrong() -> None:
    good = parse_spec({"replicas": 3})
    assert parse(stored(body({"replicas": -1}, name="2" * 50)), good).spec is good


def test_list_items_are_passed_through_unchanged() -> None:
    tolerations = [{"key": "a", "operator": "Exists"}]
    assert parse_spec({"tolerations": tolerations}).tolerations == tuple(tolerations)


@pytest.mark.parametrize(("limit", "workers"), [("100m", 1), ("1", 1), ("1.5", 2), (2, 2), ("1024", 64)])
def test_workers_follow_the_cpu_limit(limit: str | int, workers: int) -> None:
    resources = {"requests": {"cpu": "100m"}, "limits": {"cpu": limit}}
    spec = parse_spec({"resources": resources})
    assert (spec.workers, spec.queue_places) == (workers, 8 * workers)
    assert parse_spec({"resources": resources, "workersPerPod": 3, "queueLength": 5}).queue_places == 5


@pytest.mark.parametrize(("field", "number"), [("cpu", 0.5), ("memory", 1.5e9)])
def test_a_quantity_with_a_fraction_must_be_quoted(field: str, number: float) -> None:
    with pytest.raises(InvalidSpec, match=rf'requests\.{field} must .*: quote it, as in "{number}"$'):
        parse_spec({"resources": {"requests": {field: number}}})


def test_the_grace_period_covers_the_drain_and_a_whole_request() -> None:
    assert parse_spec({}).grace_seconds == 15 + 5 + 60 + 10 + 5
    assert parse_spec({"drainSeconds": 0, "limits": {"deadlineMilliseconds": 1_001}}).grace_seconds == 72
    short = {"headerTimeoutMilliseconds": 500, "bodyTimeoutMilliseconds": 1_500}
    assert parse_spec({"advanced": short}).grace_seconds == 15 + 2 + 10 + 5


@pytest.mark.parametrize(
    "text", ["10.0.0.1/8", "2001:db8::1/32", "10.0.0.0/33", "10.0.0.0/255.0.0.0", "10.0.0.0", "fe80::%1/64"]
)
def test_a_network_is_named_exactly(text: str) -> None:
    with pytest.raises(InvalidSpec, match=r"^spec\.limits\.trustedProxies\[1\] must "):
        parse_spec({"limits": {"trustedProxies": ["192.0.2.1/32", text]}})


def read(value: object) -> Spec | str:
    """The spec, or what is wrong with it."""
    try:
        return parse_spec(value)
    except InvalidSpec as error:
        return str(error)


@settings(max_examples=GENERATED)
@given(st.integers(0, 1 << 64), st.booleans())
def test_generated_specs_are_read_or_refused_in_bounded_time(seed: int, spoil: bool) -> None:
    generator = SpecGenerator(random.Random(seed))  # drawing each value by Hypothesis takes 20 times as long
    spec = generator.spoiled() if spoil else generator.valid()
    began = time.perf_counter()
    parsed = read(spec)
    if isinstance(parsed, Spec):
        assert 1 <= parsed.workers <= 64
        assert 6 <= parsed.grace_seconds <= 14_405
    else:
        assert spoil, parsed
        assert 0 < len(parsed) < 1_000
    assert time.perf_counter() - began < 1


@settings(max_examples=500)
@given(ANY_DOCUMENT)
def test_any_document_at_all_is_read_or_refused(value: Any) -> None:
    for whole in (value, {"resources": {"limits": value}}, {"tolerations": value}, {"scaling": value}):
        assert read(whole)


def test_every_class_of_the_model_with_rules_is_known() -> None:
    assert {PoseCluster, Spec} <= RULES.keys()
    assert rules.LONGEST_CLUSTER_NAME + len("-pose-") + 10 + len("-") <= 58
