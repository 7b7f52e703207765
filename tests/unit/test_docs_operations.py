"""docs/operations.md agrees with the code: settings, figures, metrics, log lines."""

import ast
import re
from dataclasses import fields
from pathlib import Path

import pytest

import posecluster_inference
from harness import metric_names
from harness.markdown import blocks, plain, rows
from posecluster_inference.machine import memory
from posecluster_inference.server.workers import supervisor
from posecluster_inference.settings import PREFIX, Settings
from posecluster_operator.builders.environment import FIELDS

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path(posecluster_inference.__file__).parent
API = (ROOT / "docs/api.md").read_text(encoding="utf-8")
# the operator's part is compared in test_docs_operator.py
OPERATIONS, _, _ = (ROOT / "docs/operations.md").read_text(encoding="utf-8").partition("\n## Operator\n")
DEFAULTS = Settings()
# read by `posecluster-inference models`, not by the server
MODEL_COMMAND_VARIABLES = {f"{PREFIX}MODEL_SOURCE"}


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


def test_every_setting_is_documented_with_default_bounds_and_meaning() -> None:
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


@pytest.mark.parametrize("text", [API, OPERATIONS.partition("\n## Probes\n")[2]], ids=["api", "operations"])
def test_a_variable_is_named_only_beside_its_field(text: str) -> None:
    """People who run a PoseCluster can set the field, and only the field."""
    assert alone(text) == []


@pytest.mark.control
def test_control_a_variable_without_its_field_is_found() -> None:
    assert alone("Raise `POSECLUSTER_HANG_LIMIT_MS`.\n\n`limits.hangMilliseconds` is five seconds.") == [
        "HANG_LIMIT_MS"
    ]


def alone(text: str) -> list[str]:
    """Variables that a paragraph or a row of a table names without their field."""
    return [
        name
        for block in re.split(r"\n\n|\n(?=\|)", text)
        for name in re.findall(rf"{PREFIX}([A-Z][A-Z_]*[A-Z])", block)
        if name in FIELDS and f"`{FIELDS[name]}" not in block
    ]


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


def metrics_told(text: str) -> dict[str, tuple[str, str]]:
    table = rows(text, "metric", "kind", "labels", "meaning")
    return {plain(name): (kind, labels) for name, kind, labels, _meaning in table}


def test_every_metric_is_documented_with_kind_and_labels() -> None:
    assert len(metric_names.inference()) == 23
    assert metrics_told(OPERATIONS) == metric_names.inference()


def test_expressions_name_metrics_that_exist() -> None:
    assert len(blocks(OPERATIONS, "promql")) >= 10
    assert metric_names.unknown(OPERATIONS) - {"posecluster_inference"} == set()


@pytest.mark.control
def test_control_a_renamed_metric_is_seen() -> None:
    assert metric_names.unknown("rate(posecluster_refusals_total[5m])") == {"posecluster_refusals_total"}
    renamed = OPERATIONS.replace("| `posecluster_running` |", "| `posecluster_active` |")
    assert metrics_told(renamed) != metric_names.inference()


# --- log lines ---


def test_every_log_line_is_documented_with_its_level() -> None:
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
