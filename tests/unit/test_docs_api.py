"""docs/api.md agrees with the code: limits, refusals, routes, headers, examples and links."""

import json
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import jsonschema_rs
import pytest

from harness.markdown import blocks, plain, rows
from posecluster_inference.server.http import routes, strict_parser
from posecluster_inference.server.http.negotiation import detect_parameters
from posecluster_inference.server.http.openapi import document
from posecluster_inference.server.http.pace import GRACE_SECONDS
from posecluster_inference.server.http.service import Service
from posecluster_inference.settings import Settings
from posecluster_inference.worker.tasks import pose

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
API = (ROOT / "docs/api.md").read_text(encoding="utf-8")
OPERATIONS = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
DEFAULTS = Settings()


def test_limits_are_the_defaults() -> None:
    accepted = " ".join(
        limit for _what, limit, _beyond in rows(API, "", "limit, unless set otherwise", "beyond it")
    )
    for number in (
        *(DEFAULTS.max_body_bytes, DEFAULTS.max_pixels, DEFAULTS.max_side_pixels),
        *(
            strict_parser.LINE_BYTES,
            strict_parser.FIELD_BYTES,
            strict_parser.HEAD_BYTES,
            strict_parser.FIELDS,
        ),
    ):
        assert f"{number:,}" in accepted
    assert (
        f"head {DEFAULTS.header_timeout_ms // 1000} s, body {DEFAULTS.body_timeout_ms // 1000} s and "
        f"{DEFAULTS.body_bytes_per_second:,} bytes a second"
    ) in accepted
    assert f"with pauses of at most {GRACE_SECONDS:g} s" in API
    assert f"the server's deadline ({DEFAULTS.deadline_ms:,})" in API


# --- the API ---


@cache
def described() -> dict[str, Any]:
    return document(DEFAULTS)


def shown_problems(node: object) -> Iterator[tuple[int, str]]:
    if isinstance(node, dict):
        if "reason" in node and isinstance(node.get("status"), int):
            yield node["status"], node["reason"]
        for child in node.values():
            yield from shown_problems(child)


def problems_told(text: str) -> set[tuple[int, str]]:
    table = rows(text, "status", "reason", "when", "what a client does")
    return {(int(status), plain(reason)) for status, reason, _when, _act in table}


def test_every_status_and_reason_is_documented() -> None:
    assert problems_told(API) == set(shown_problems(described()))


@pytest.mark.control
def test_control_a_missing_reason_is_noticed() -> None:
    dropped = API.replace("| 504 | `worker_hung` |", "| 503 | `worker_hung` |")
    assert problems_told(dropped) != set(shown_problems(described()))


def test_routes_are_those_of_the_applications() -> None:
    told = {plain(route) for route, _does in rows(API, "route", "does")}
    assert told == {f"{method.upper()} {path}" for path, on in described()["paths"].items() for method in on}
    admin = {
        route.resource.canonical
        for route in routes.admin_app(Mock(spec=Service)).router.routes()
        if route.resource
    }
    ports = rows(OPERATIONS, "port", "for", "access")
    assert set(re.findall(r"/[a-z]+", ports[1][1])) == admin


def test_headers_are_those_of_the_contract() -> None:
    shown = " ".join(name for name, _on, _meaning in rows(API, "header", "on", "meaning"))
    asked = " ".join(name for name, _meaning in rows(API, "header", "meaning"))
    components = described()["components"]
    assert {name for name in components["headers"] if name not in shown} == set()
    told = " ".join(name for name, _meaning in rows(API, "parameter", "meaning"))
    place = {"header": asked, "query": told}
    parameters = components["parameters"].items()
    assert {name for name, one in parameters if name not in place[one["in"]]} == set()
    assert {one["in"] for _name, one in parameters} == place.keys()
    assert components["headers"]


def test_query_parameters_are_those_of_the_code() -> None:
    told = [plain(part) for name, _meaning in rows(API, "parameter", "meaning") for part in name.split(", ")]
    known = [f"{name}={value}" for name, values in detect_parameters(pose).items() for value in values]
    assert sorted(told) == sorted(known)


# --- examples and links ---


def schema_for(value: dict[str, Any]) -> str:
    for member, schema in (
        ("people", "Detection"),
        ("limits", "Model"),
        ("workers", "Health"),
        ("reason", "Problem"),
    ):
        if member in value:
            return schema
    raise AssertionError(f"an example of nothing known: {value.keys()}")


def test_json_examples_fit_their_schemas() -> None:
    schemas = set()
    for block in blocks(API, "json"):
        value = json.loads(block)
        schemas.add(schema_for(value))
        root = {"$ref": f"#/components/schemas/{schema_for(value)}", "components": described()["components"]}
        jsonschema_rs.validator_for(root).validate(value)
    assert schemas == {"Detection", "Model", "Health", "Problem"}
    for block in blocks(OPERATIONS, "json"):
        assert "Request refused" in json.loads(block)["message"]


def test_commands_ask_for_routes_and_files_that_exist() -> None:
    commands = [shlex.split(block.replace("\\\n", "")) for block in blocks(API, "sh")]
    assert len(commands) >= 8
    for words in commands:
        assert words[0] == "curl"
        path = words[-1].removeprefix("http://127.0.0.1:8080").partition("?")[0]
        assert path in described()["paths"], words
        sends_a_body = any(word in ("--data-binary", "-F") for word in words)
        assert sends_a_body == (path == "/v1/detect")
        for word in words:
            if "@" in word:
                assert (ROOT / word.partition("@")[2]).is_file(), word


@pytest.mark.parametrize("name", ["api.md", "operations.md"])
def test_links_lead_somewhere(name: str) -> None:
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    anchors = {
        re.sub(r"[^a-z -]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.+)$", text, re.M)
    }
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert links
    for link in links:
        if link.startswith("#"):
            assert link[1:] in anchors, link
        else:
            assert (ROOT / "docs" / link.partition("#")[0]).is_file(), link
