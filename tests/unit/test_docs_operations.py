"""docs/operations.md says what the code does: settings, figures, metrics, log lines."""

import ast
import re
from dataclasses import fields
from functools import cache
from pathlib import Path

import pytest

import posecluster_inference
from harness.markdown import blocks, plain, rows
from posecluster_inference import memory, supervisor
from posecluster_inference.metrics import Metrics
from posecluster_inference.settings import PREFIX, Settings

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path(posecluster_inference.__file__).parent
API = (ROOT / "docs/api.md").read_text(encoding="utf-8")
# the operator's part is compared in test_docs_operator.py
OPERATIONS, _, _ = (ROOT / "docs/operations.md").read_text(encoding="utf-8").partition("\n## Operator\n")
DEFAULTS = Settings()
# read by `posecluster-inference models`, not by the server
MODEL_COMMAND_VARIABLES = {f"{PREFIX}MODEL_SOURCE"}
SAMPLES = {"_bucket", "_sum", "_count"}


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
    assert len(metrics_expected()) == 19
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
