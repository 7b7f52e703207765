"""docs/api.md and docs/operations.md say what the code does: names, defaults, figures, examples, links."""

import ast
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import jsonschema_rs
import pytest

import posecluster_inference
from posecluster_inference import app, memory, supervisor
from posecluster_inference.metrics import Metrics
from posecluster_inference.openapi import document
from posecluster_inference.service import Service
from posecluster_inference.settings import PREFIX, Settings

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path(posecluster_inference.__file__).parent
API = (ROOT / "docs/api.md").read_text(encoding="utf-8")
OPERATIONS = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
DEFAULTS = Settings()
# read by `posecluster-inference models`, not by the server
MODEL_COMMAND_VARIABLES = {f"{PREFIX}MODEL_SOURCE"}
SAMPLES = {"_bucket", "_sum", "_count"}


def rows(text: str, *columns: str) -> list[list[str]]:
    """The cells of every table with just these columns."""
    found: list[list[str]] = []
    inside = False
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if cells == list(columns):
            inside = True
        elif not cells:
            inside = False
        elif inside and set(line) - set("|-: "):
            found.append(cells)
    return found


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def plain(cell: str) -> str:
    return cell.strip("`")


# --- settings ---


def settings_expected() -> dict[str, tuple[str, str, str]]:
    expected = {}
    for item in fields(Settings):
        rules = item.metadata
        allowed = f"{rules['low']}-{rules['high']}" if "low" in rules else ", ".join(rules.get("allowed", []))
        default = "empty" if item.default == "" else f"`{item.default}`"
        expected[PREFIX + item.name.upper()] = (default, allowed or "text", rules["help"])
    return expected


def settings_told(text: str) -> dict[str, tuple[str, ...]]:
    return {
        plain(name): tuple(rest) for name, *rest in rows(text, "variable", "default", "allowed", "meaning")
    }


def test_every_setting_is_told_with_default_bounds_and_meaning() -> None:
    assert settings_told(OPERATIONS) == settings_expected()


@pytest.mark.control
def test_control_a_changed_default_and_a_dropped_row_are_seen() -> None:
    changed = OPERATIONS.replace("| `25000000` |", "| `24000000` |")
    assert settings_told(changed) != settings_expected()
    start = OPERATIONS.index("| `POSECLUSTER_WORKERS` |")
    dropped = OPERATIONS[:start] + OPERATIONS[OPERATIONS.index("\n", start) + 1 :]
    assert settings_expected().keys() - settings_told(dropped).keys() == {"POSECLUSTER_WORKERS"}


@pytest.mark.parametrize("text", [API, OPERATIONS], ids=["api", "operations"])
def test_every_variable_that_is_named_exists(text: str) -> None:
    named = set(re.findall(rf"{PREFIX}[A-Z][A-Z_]*[A-Z]", text))
    assert named
    assert named - settings_expected().keys() - MODEL_COMMAND_VARIABLES == set()


def test_limits_are_the_defaults() -> None:
    accepted = " ".join(
        limit for _what, limit, _beyond in rows(API, "", "limit, unless set otherwise", "beyond it")
    )
    for number in (DEFAULTS.max_body_bytes, DEFAULTS.max_pixels, DEFAULTS.max_side_pixels):
        assert f"{number:,}" in accepted
    assert (
        f"head {DEFAULTS.header_timeout_ms // 1000} s, body {DEFAULTS.body_timeout_ms // 1000} s" in accepted
    )
    assert f"the server's deadline ({DEFAULTS.deadline_ms:,})" in API


def test_the_grace_period_adds_up() -> None:
    (cells,) = rows(OPERATIONS, "drain delay", "head", "body", "deadline", "workers", "sum")
    *parts, total = (int(cell.strip("*")) for cell in cells)
    assert parts == [
        DEFAULTS.drain_delay_ms // 1000,
        DEFAULTS.header_timeout_ms // 1000,
        DEFAULTS.body_timeout_ms // 1000,
        DEFAULTS.deadline_ms // 1000,
        supervisor._STOP_SECONDS,
    ]
    assert total == sum(parts)


def test_memory_and_back_off_figures_are_those_of_the_code() -> None:
    share = memory.worker_share_bytes(1 << 30, 2) >> 20
    told = {
        what: example for what, _source, example in rows(OPERATIONS, "", "from", "with 1 GiB and 2 workers")
    }
    assert told["share of a worker"] == f"{share} MiB"
    assert told["503 `memory` for new work"] == f"{round(memory._REFUSE_SHARE * 1024)} MiB"
    assert told["`Connection: close` on answers"] == f"{round(memory._CLOSE_CONNECTIONS_SHARE * 1024)} MiB"
    assert ", ".join(map(str, supervisor._RESTART_SECONDS)) in OPERATIONS
    assert f"{supervisor._BEYOND_REPAIR_STARTS} starts in a row failed" in OPERATIONS


# --- metrics ---


@cache
def metrics_expected() -> dict[str, tuple[str, str]]:
    """Name to kind and labels: the registry's, and the gauges that the service adds to it."""
    expected = {}
    for collector in list(Metrics().registry._collector_to_names):
        name, kind = collector._name, collector._type  # type: ignore[attr-defined]
        labels = ", ".join(collector._labelnames)  # type: ignore[attr-defined]
        expected[f"{name}_total" if kind == "counter" else name] = (kind, labels)
    for call in ast.walk(ast.parse((PACKAGE / "service.py").read_text(encoding="utf-8"))):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
            texts = [str(node.value) for node in call.args if isinstance(node, ast.Constant)]
            if call.func.attr == "gauge":
                expected[f"posecluster_{texts[0]}"] = ("gauge", "")
            elif call.func.attr == "gauge_by":
                expected[f"posecluster_{texts[0]}"] = ("gauge", texts[1])
            elif call.func.attr == "build_info":
                labels = ", ".join(str(keyword.arg) for keyword in call.keywords)
                expected["posecluster_build_info"] = ("gauge", labels)
    return expected


def metrics_told(text: str) -> dict[str, tuple[str, str]]:
    table = rows(text, "metric", "kind", "labels", "meaning")
    return {plain(name): (kind, labels) for name, kind, labels, _meaning in table}


def unknown_metrics(text: str) -> set[str]:
    named = set(re.findall(r"\bposecluster_[a-z_]+[a-z]", text))
    known = metrics_expected()
    histograms = {name for name, (kind, _labels) in known.items() if kind == "histogram"}
    return named - known.keys() - {name + sample for name in histograms for sample in SAMPLES}


def test_every_metric_is_told_with_kind_and_labels() -> None:
    assert len(metrics_expected()) == 18
    assert metrics_told(OPERATIONS) == metrics_expected()


def test_expressions_name_metrics_that_exist() -> None:
    assert len(blocks(OPERATIONS, "promql")) >= 10
    assert unknown_metrics(OPERATIONS) - {"posecluster_inference"} == set()


@pytest.mark.control
def test_control_a_renamed_metric_is_seen() -> None:
    assert unknown_metrics("rate(posecluster_refusals_total[5m])") == {"posecluster_refusals_total"}
    renamed = OPERATIONS.replace("| `posecluster_running` |", "| `posecluster_active` |")
    assert metrics_told(renamed) != metrics_expected()


# --- log lines ---


def test_every_log_line_is_told_with_its_level() -> None:
    told = {
        plain(message): level.lower()
        for message, level, _fields in rows(OPERATIONS, "message", "level", "fields")
    }
    logged = {}
    for path in PACKAGE.rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(call, ast.Call)
                and isinstance(call.func, ast.Attribute)
                and ast.unparse(call.func.value) == "logger"
            ):
                assert isinstance(call.args[0], ast.Constant), f"{path.name}: not a constant text"
                logged[call.args[0].value] = call.func.attr
    assert told == logged


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


def test_every_status_and_reason_is_told() -> None:
    assert problems_told(API) == set(shown_problems(described()))


@pytest.mark.control
def test_control_a_dropped_reason_is_seen() -> None:
    dropped = API.replace("| 504 | `worker_hung` |", "| 503 | `worker_hung` |")
    assert problems_told(dropped) != set(shown_problems(described()))


def test_routes_are_those_of_the_applications() -> None:
    told = {plain(route) for route, _does in rows(API, "route", "does")}
    assert told == {f"{method.upper()} {path}" for path, on in described()["paths"].items() for method in on}
    admin = {
        route.resource.canonical
        for route in app.admin_app(Mock(spec=Service)).router.routes()
        if route.resource
    }
    ports = rows(OPERATIONS, "port", "for", "reach")
    assert set(re.findall(r"/[a-z]+", ports[1][1])) == admin


def test_headers_are_those_of_the_contract() -> None:
    shown = " ".join(name for name, _on, _meaning in rows(API, "header", "on", "meaning"))
    asked = " ".join(name for name, _meaning in rows(API, "header", "meaning"))
    components = described()["components"]
    assert {name for name in components["headers"] if name not in shown} == set()
    assert {name for name in components["parameters"] if name not in asked} == set()
    assert components["headers"]
    assert components["parameters"]


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
        assert "Refused" in json.loads(block)["message"]


def test_commands_ask_for_routes_and_files_that_exist() -> None:
    commands = [shlex.split(block.replace("\\\n", "")) for block in blocks(API, "sh")]
    assert len(commands) >= 8
    for words in commands:
        assert words[0] == "curl"
        path = words[-1].removeprefix("http://127.0.0.1:8080")
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
            assert (ROOT / "docs" / link).is_file(), link
