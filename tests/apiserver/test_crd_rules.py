"""Each CEL rule and each bound of the CRD accepts and refuses on a real API server, with its message."""

import random
from typing import Any

import pytest

from harness import crd
from harness.kubernetes.api import Api, ApiError
from harness.spec_cases import CASES, Json, body
from harness.spec_generator import SpecGenerator
from posecluster_operator.builders.kinds import DEPLOYMENTS
from posecluster_operator.builders.table import CHILDREN
from posecluster_operator.errors import InvalidSpec
from posecluster_operator.resource.parsing import parse, parse_spec

SPOILED, VALID = 100, 40


def verdict(api: Api, case: Json | str) -> str:
    """Empty if the API server takes it (nothing is stored), else why not."""
    try:
        api.create(body(case), dry_run=True)
    except ApiError as error:
        if error.status not in {400, 422}:
            raise
        return error.message
    return ""


@pytest.mark.parametrize("start", CASES)
def test_a_rule_accepts_and_refuses_with_its_message(api: Api, start: str) -> None:
    (message,) = {message for _place, message in crd.rules() if message.startswith(start)}
    accepted, refused = CASES[start]
    for case in accepted:
        assert verdict(api, case) == ""
    for case in refused:
        assert message in verdict(api, case)


def test_every_rule_has_its_pair() -> None:
    assert uncovered(crd.schema()) == []


@pytest.mark.control
def test_control_a_rule_without_its_pair_is_found() -> None:
    rule = {"rule": "true", "message": "replicas must be odd: add one"}
    assert uncovered({"x-kubernetes-validations": [rule]}) == [rule["message"]]


def uncovered(schema: Json) -> list[str]:
    messages = [rule["message"] for node in crd.nodes(schema) for rule in crd.rules_of(node.schema)]
    pairs = {start for start, (accepted, refused) in CASES.items() if accepted and refused}
    return [message for message in messages if sum(message.startswith(start) for start in pairs) != 1]


@pytest.mark.parametrize("message", [message for _place, message in crd.rules()])
def test_a_message_says_what_to_do(message: str) -> None:
    rule, _, act = message.partition(": ")
    assert "must" in rule
    assert act


def test_every_bound_accepts_its_limit_and_refuses_what_is_beyond(api: Api) -> None:
    bounds = list(crd.bounds())
    assert len(bounds) > 100
    assert {node.name for node in crd.nodes() if "maximum" in node.schema and node.path[0] == "spec"} <= {
        bound.name for bound in bounds
    }
    for bound in bounds:
        assert verdict(api, bound.inside) == "", bound
        assert bound.named.rpartition(".")[2] in verdict(api, bound.beyond), bound


def test_the_api_server_and_the_operator_judge_alike(api: Api, seed: int) -> None:
    generator = SpecGenerator(random.Random(seed))
    specs = [generator.spoiled() for _ in range(SPOILED)] + [generator.valid() for _ in range(VALID)]
    told = [(spec, verdict(api, spec), refusal(spec)) for spec in specs]
    differing = [one for one in told if bool(one[1]) != bool(one[2]) and "unknown field" not in one[1]]
    assert differing == []
    assert sum(bool(said) for _spec, said, _ours in told) >= SPOILED // 2
    assert sum(not said for _spec, said, _ours in told) >= VALID


def refusal(spec: Json) -> str:
    try:
        parse_spec(spec)
    except InvalidSpec as error:
        return str(error)
    return ""


# --- rows of hostile resources ---


def without_spec() -> Json:
    manifest = body({})
    del manifest["spec"]
    return manifest


K1 = [
    ({"replicas": -1}, "greater than or equal to 0"),
    ({"replicas": 2**31}, "less than or equal to 500"),
    ({"replicas": "3"}, "must be of type integer"),
    ({"replicas": 1.5}, "must be of type integer"),
    (
        {"resources": {"limits": {"cpu": 0.5}}},
        'must be of type integer,string: "number"',
    ),
    ({"scaling": {"minReplicas": 3, "maxReplicas": 2}}, "lower the first or raise the second"),
]


@pytest.mark.hostile("K-1")
@pytest.mark.parametrize(("spec", "said"), K1)
def test_impossible_sizes_are_refused(api: Api, spec: Json, said: str) -> None:
    assert said in verdict(api, spec)


@pytest.mark.hostile("K-1")
@pytest.mark.parametrize("missing", [without_spec(), body({}) | {"spec": None}], ids=["missing", "null"])
def test_an_object_without_spec_has_every_default(api: Api, missing: Json) -> None:
    assert api.create(missing, dry_run=True)["spec"] == api.create(body({}), dry_run=True)["spec"]
    assert parse_spec(None) == parse_spec({})


@pytest.mark.hostile("K-2")
@pytest.mark.parametrize("name", ["a" * 253, "a" * 41, "0123456789", "1", "a.b"])
def test_names_that_children_could_not_have_are_refused(api: Api, name: str) -> None:
    assert "metadata.name must" in verdict(api, name)


@pytest.mark.hostile("K-2")
def test_no_child_of_the_longest_name_is_cut_and_none_is_shared(api: Api, namespace: str) -> None:
    names = ["a" * 40, "a" * 39, "a", "a-pose", "a-pose-pods", "a-pose-pose"]
    children: list[str] = []
    for name in names:
        api.create(body({}, name=name, namespace=namespace))
        children += {row.name(name) for row in CHILDREN}
    assert len(set(children)) == len({row.suffix for row in CHILDREN}) * len(names)
    assert max(len(child) for child in children) <= 63
    deployments = [row.name("a" * 40) for row in CHILDREN if row.resource is DEPLOYMENTS]
    assert max(map(len, deployments)) + len("-0123456789-") <= 58


@pytest.mark.hostile("K-4")
@pytest.mark.parametrize("image", ["", " ", "two words", "-a", "a\n", "https://" + "a" * 505, "a" * 4096])
def test_an_invalid_image_is_refused(api: Api, image: str) -> None:
    assert "spec.image" in verdict(api, {"image": image})


def resources(request: Any, limit: Any) -> Json:
    return {"resources": {"requests": {"memory": request}, "limits": {"memory": limit}}}


@pytest.mark.hostile("K-5")
@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (resources("1Gi", "465458732Gi"), "from 256Mi to 16Ti"),
        (resources(0, 0), "from 256Mi to 16Ti"),
        (resources(0, -1), "greater than or equal to 0"),
        (resources("2Gi", "1Gi"), "requests.memory must not exceed"),
        (resources("1", "9" * 19 + "T"), "from 256Mi to 16Ti"),
    ],
)
def test_absurd_memory_is_refused(api: Api, spec: Json, said: str) -> None:
    assert said in verdict(api, spec)


@pytest.mark.hostile("K-6")
def test_too_many_or_reserved_annotations_are_refused(api: Api) -> None:
    big = body({})
    big["metadata"]["annotations"] = {"example.com/a": "a" * (256 << 10)}
    with pytest.raises(ApiError, match="Too long: may not be more than 262144 bytes"):
        api.create(big, dry_run=True)
    assert "posecluster.io/" in verdict(api, {"service": {"annotations": {"posecluster.io/paused": "true"}}})
    many = {f"example.com/{index}": "a" * 4_000 for index in range(64)}
    assert "must have at most 32" in verdict(api, {"service": {"annotations": many}})


@pytest.mark.hostile("K-6")
@pytest.mark.parametrize("value", ["True", "yes", "", "1", "a" * 100_000])
def test_an_unknown_value_of_the_pause_annotation_is_accepted_and_ignored(api: Api, value: str) -> None:
    manifest = body({})
    manifest["metadata"]["annotations"] = {"posecluster.io/paused": value}
    stored = api.create(manifest, dry_run=True)
    stored["metadata"].setdefault("resourceVersion", "1")
    assert not parse(stored).paused
