"""The OpenAPI document is valid and complete: routes, statuses, reasons, limits."""

import ast
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import jsonschema_rs
import pytest
import schemathesis

import posecluster_inference
from posecluster_inference.errors import Reason, Refusal
from posecluster_inference.server.http import pages
from posecluster_inference.server.http import routes as http_routes
from posecluster_inference.server.http.negotiation import CONTENT_TYPES, detect_parameters
from posecluster_inference.server.http.openapi import document, encoded
from posecluster_inference.server.http.service import Service
from posecluster_inference.server.workers.health import Status
from posecluster_inference.server.workers.process import State
from posecluster_inference.settings import Settings
from posecluster_inference.worker.tasks import pose

pytestmark = pytest.mark.unit

PACKAGE = Path(posecluster_inference.__file__).parent
PROBLEM = "application/problem+json"
# a different number for each, so that no limit can stand in for another
SETTINGS = Settings(
    max_people=3,
    max_body_bytes=1_234_567,
    max_pixels=7_654_321,
    max_side_pixels=4_321,
    deadline_ms=6_543,
    rate_limit_per_minute=57,
    rate_limit_burst=13,
    queue_length=29,
)


@pytest.fixture
def described() -> dict[str, Any]:
    return document(SETTINGS)


def operations(described: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            yield path, method.upper(), operation


def problems(responses: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Status and body of each problem that is shown."""
    for status, response in responses.items():
        for example in response["content"].get(PROBLEM, {"examples": {}})["examples"].values():
            yield status, example["value"]


def described_reasons(described: dict[str, Any]) -> set[tuple[int, str]]:
    shown = [operation["responses"] for _path, _method, operation in operations(described)]
    shown += [{"404": described["components"]["responses"]["UnknownPath"]}]
    return {(int(status), body["reason"]) for responses in shown for status, body in problems(responses)}


def source() -> Iterator[ast.AST]:
    """Every node of the package's modules, except those of the table and of the document."""
    for path in PACKAGE.rglob("*.py"):
        if path.name not in ("errors.py", "openapi.py"):
            yield from ast.walk(ast.parse(path.read_text(encoding="utf-8")))


def reasons_in_source() -> set[tuple[int, str]]:
    """Status and reason of each refusal that the package makes, found in the calls that make them."""
    return {found for node in source() if isinstance(node, ast.Call) for found in _reasons_of(node)}


def _reasons_of(call: ast.Call) -> Iterator[tuple[int, str]]:
    constants = [
        part.value
        for keyword in call.keywords
        if keyword.arg == "status"
        for part in ast.walk(keyword.value)
        if isinstance(part, ast.Constant) and isinstance(part.value, int)
    ]
    for argument in call.args:
        if isinstance(argument, ast.Attribute) and ast.unparse(argument.value) == "Reason":
            reason = Reason[argument.attr]
            yield from ((status, reason) for status in constants or [Refusal(reason, "").status])


@cache
def sentences_in_source() -> tuple[re.Pattern[str], ...]:
    """The texts of the package; what an f-string fills in may be anything."""
    texts = {
        node.value for node in source() if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    patterns = [re.escape(text) for text in texts]
    for node in source():
        if isinstance(node, ast.JoinedStr):
            parts = [
                re.escape(part.value) if isinstance(part, ast.Constant) else ".+" for part in node.values
            ]
            if sum(len(part) for part in parts if part != ".+") >= 5:
                patterns.append("".join(parts))
    return tuple(map(re.compile, patterns))


def is_said(detail: str) -> bool:
    return any(pattern.fullmatch(detail) for pattern in sentences_in_source())


def test_the_document_is_valid_openapi(described: dict[str, Any]) -> None:
    schemathesis.openapi.from_dict(json.loads(json.dumps(described))).validate()


@pytest.mark.control
def test_control_a_wrong_document_is_not_valid(described: dict[str, Any]) -> None:
    del described["paths"]["/healthz"]["get"]["responses"]["200"]["description"]
    with pytest.raises(jsonschema_rs.ValidationError):
        schemathesis.openapi.from_dict(described).validate()


def test_references_lead_somewhere(described: dict[str, Any]) -> None:
    text = json.dumps(described)
    references = {part.split('"', 1)[0] for part in text.split('"$ref": "')[1:]}
    assert len(references) > 20
    for reference in references:
        node = described
        for key in reference.removeprefix("#/").split("/"):
            node = node[key]
    unused = {
        f"#/components/{kind}/{name}"
        for kind in ("schemas", "headers", "parameters", "examples")
        for name in described["components"][kind]
    } - references
    assert not unused


def test_every_route_is_described_and_no_other(described: dict[str, Any]) -> None:
    service = Mock(spec=Service)
    routes = {
        (route.resource.canonical, route.method)
        for route in http_routes.client_app(service).router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    assert {(path, method) for path, method, _operation in operations(described)} == routes
    names = [operation["operationId"] for _path, _method, operation in operations(described)]
    assert len(set(names)) == len(names)


def test_every_reason_is_described_with_each_of_its_statuses(described: dict[str, Any]) -> None:
    assert described_reasons(described) == reasons_in_source()
    table = {(status, reason) for reason in Reason for status in (reason.status, *reason.other_statuses)}
    assert described_reasons(described) == table
    assert {reason for _status, reason in described_reasons(described)} == set(Reason)
    assert set(described["components"]["schemas"]["Problem"]["properties"]["reason"]["enum"]) == set(Reason)


def test_each_example_of_a_refusal_is_what_the_code_says(described: dict[str, Any]) -> None:
    details = {
        body["detail"]
        for _path, _method, operation in operations(described)
        for _status, body in problems(operation["responses"])
    }
    assert len(details) >= 20
    assert {detail for detail in details if not is_said(detail)} == set()
    assert {detail for detail in details if not detail.endswith(".")} == set()


@pytest.mark.control
@pytest.mark.parametrize("detail", ["All connections are busy.", "The WebP is cut off: send it again"])
def test_control_an_example_that_differs_from_the_code_is_noticed(detail: str) -> None:
    assert not is_said(detail)


@pytest.mark.control
def test_control_a_new_status_in_the_source_is_seen() -> None:
    call = ast.parse("Refusal(Reason.DEADLINE, 'x', status=425 if late else 408)", mode="eval").body
    assert isinstance(call, ast.Call)
    assert set(_reasons_of(call)) == {(425, "deadline"), (408, "deadline")}


def test_retry_after_is_documented_where_waiting_helps(described: dict[str, Any]) -> None:
    for path, _method, operation in operations(described):
        for status, response in operation["responses"].items():
            assert ("Retry-After" in response["headers"]) == (status in ("429", "503")), (path, status)
            assert "X-Request-Id" in response["headers"]


def test_closed_lists_are_those_of_the_code(described: dict[str, Any]) -> None:
    components, paths = described["components"], described["paths"]
    health = components["schemas"]["Health"]["properties"]
    assert health["status"]["enum"] == list(Status)
    assert health["workers"]["items"]["properties"]["state"]["enum"] == list(State)
    known = detect_parameters(pose)
    parameters = {name: components["parameters"][name]["schema"]["enum"] for name in known}
    assert parameters == {name: list(values) for name, values in known.items()}
    detect, asset = paths["/v1/detect"]["post"], paths["/assets/{name}"]["get"]
    assert set(detect["responses"]["200"]["content"]) == set(CONTENT_TYPES.values())
    assert ", ".join(CONTENT_TYPES[kind] for kind in known["draw"]) in detect["description"]
    of_assets = {kind for suffix, kind in pages.CONTENT_TYPES.items() if suffix != ".html"}
    assert set(asset["responses"]["200"]["content"]) == of_assets
    names = next(one for one in asset["parameters"] if one.get("name") == "name")["schema"]["enum"]
    assert names == pages.asset_names()


def test_every_placeholder_of_the_document_is_filled(described: dict[str, Any]) -> None:
    text = json.dumps(described)
    assert "${" not in text
    assert "x-refusals" not in text
    groups = json.loads((PACKAGE / "data/openapi.json").read_text(encoding="utf-8"))["x-refusals"]
    shown = {
        body["detail"]
        for _path, _method, one in operations(described)
        for _status, body in problems(one["responses"])
    }
    assert groups.keys()
    for name, refusals in groups.items():
        assert name == "unknown path" or set(refusals.values()) <= shown, name


LIMITS = [
    "max_people",
    "max_body_bytes",
    "max_pixels",
    "max_side_pixels",
    "deadline_ms",
    "rate_limit_per_minute",
    "rate_limit_burst",
]


@pytest.mark.parametrize("limit", LIMITS)
def test_limits_are_those_of_the_settings(described: dict[str, Any], limit: str) -> None:
    value = getattr(SETTINGS, limit)
    assert value in numbers_told(described)
    assert value not in numbers_told(document(Settings()))
    assert value in described["components"]["examples"]["Model"]["value"]["limits"].values()


def numbers_told(described: dict[str, Any]) -> set[int]:
    text = described["paths"]["/v1/detect"]["post"]["description"]
    text += described["components"]["parameters"]["X-Request-Timeout-Ms"]["description"]
    return {int(number) for number in re.findall(r"[0-9]+", text)}


def test_examples_fit_their_schemas(described: dict[str, Any]) -> None:
    checked = 0
    for _path, _method, operation in operations(described):
        for response in operation["responses"].values():
            for content in response["content"].values():
                for example in content.get("examples", {}).values():
                    value = example.get("value") or _resolved(described, example["$ref"])["value"]
                    root = {**content["schema"], "components": described["components"]}
                    jsonschema_rs.validator_for(root).validate(value)
                    checked += 1
    assert checked > 30


@pytest.mark.control
def test_control_a_wrong_example_does_not_fit(described: dict[str, Any]) -> None:
    value = described["components"]["examples"]["Detection"]["value"]
    del value["people"][0]["world_landmarks"][32]["z"]
    root = {"$ref": "#/components/schemas/Detection", "components": described["components"]}
    with pytest.raises(jsonschema_rs.ValidationError):
        jsonschema_rs.validator_for(root).validate(value)


def _resolved(described: dict[str, Any], reference: str) -> Any:
    node: Any = described
    for key in reference.removeprefix("#/").split("/"):
        node = node[key]
    return node


def test_the_example_names_all_landmarks_and_joins_them(described: dict[str, Any]) -> None:
    examples = described["components"]["examples"]
    names = examples["Model"]["value"]["landmarks"]
    person = examples["Detection"]["value"]["people"][0]
    assert len(names) == 33
    for kind in ("landmarks", "world_landmarks"):
        assert [point["name"] for point in person[kind]] == names
    joined = {index for bone in examples["Model"]["value"]["bones"] for index in bone}
    assert joined == set(range(33))


def test_a_token_is_asked_for_only_where_there_are_tokens(tmp_path: Path) -> None:
    tokens = Settings(auth_tokens_dir=str(tmp_path))
    asked: list[dict[str, Any]] = [{"bearer": []}]
    for settings, expected in ((Settings(), []), (tokens, asked)):
        paths = document(settings)["paths"]
        assert paths["/v1/detect"]["post"]["security"] == expected
        assert paths["/v1/model"]["get"]["security"] == expected
        assert "security" not in paths["/healthz"]["get"]


def test_documents_share_nothing() -> None:
    first = document(SETTINGS)
    before = json.dumps(first)
    document(Settings())
    assert json.dumps(first) == before


def test_the_document_is_encoded_once() -> None:
    assert json.loads(encoded(SETTINGS)) == document(SETTINGS)
    assert encoded(SETTINGS) is encoded(SETTINGS)
