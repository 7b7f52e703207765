"""The operator's part of docs/operations.md agrees with the code: settings, figures, metrics."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from harness import metric_names
from harness.markdown import plain, rows
from posecluster_operator.admin import health
from posecluster_operator.admin.metrics import RESULTS, Metrics
from posecluster_operator.settings import PREFIX, Settings
from posecluster_operator.watch import kopf_runner

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
_, _, OPERATOR = (ROOT / "docs/operations.md").read_text(encoding="utf-8").partition("\n## Operator\n")


def settings_expected() -> dict[str, tuple[str, ...]]:
    expected = {}
    for item in fields(Settings):
        rules = item.metadata
        words = ", ".join(word or "empty" for word in rules.get("allowed", ()))
        allowed = f"{rules['low']}-{rules['high']}" if "low" in rules else words or "text"
        default = "empty" if item.default in ("", None) else f"`{item.default}`"
        expected[PREFIX + item.name.upper()] = (default, allowed, rules["help"])
    return expected


def settings_told(text: str) -> dict[str, tuple[str, ...]]:
    table = rows(text, "variable", "default", "allowed", "meaning")
    return {plain(name): tuple(rest) for name, *rest in table}


def test_every_setting_is_documented_with_default_bounds_and_meaning() -> None:
    assert len(settings_expected()) == 24
    assert settings_told(OPERATOR) == settings_expected()


def test_every_variable_that_is_named_exists() -> None:
    named = set(re.findall(rf"{PREFIX}[A-Z][A-Z_]*[A-Z]", OPERATOR))
    assert named == settings_expected().keys()


def metrics_told(text: str) -> dict[str, tuple[str, str]]:
    table = rows(text, "metric", "kind", "labels", "meaning")
    return {plain(name): (kind, labels) for name, kind, labels, _meaning in table}


def test_every_metric_is_documented_with_kind_and_labels() -> None:
    assert len(metric_names.operator()) == 17
    assert metrics_told(OPERATOR) == metric_names.operator()


def test_results_and_process_metrics_are_documented() -> None:
    (row,) = [
        row for row in rows(OPERATOR, "metric", "kind", "labels", "meaning") if "reconcile_total" in row[0]
    ]
    assert [result for result in RESULTS if f"`{result}`" not in row[3]] == []
    text = Metrics(version="x").text([]).decode()
    shown = set(re.findall(r"^(process_\w+)", text, re.MULTILINE))
    assert shown == set(re.findall(r"`(process_\w+)`", OPERATOR))


def test_figures_are_those_of_the_code() -> None:
    assert f"the event loop is {health._LONGEST_LAG_SECONDS:.0f} s late" in OPERATOR
    assert f"a reconciliation takes more than {health._LONGEST_PASS_SECONDS:.0f} s" in OPERATOR
    first, last = kopf_runner._FIRST_BACK_OFF_SECONDS, kopf_runner._LONGEST_BACK_OFF_SECONDS
    assert f"a back-off of {first:.0f} s,\nwhich grows up to {last:.0f} s" in OPERATOR


@pytest.mark.control
def test_control_a_changed_default_and_a_renamed_metric_are_seen() -> None:
    changed = OPERATOR.replace("| `9091` |", "| `9090` |")
    assert settings_told(changed) != settings_expected()
    renamed = OPERATOR.replace("| `posecluster_operator_leader` |", "| `posecluster_operator_holder` |")
    assert metrics_told(renamed) != metric_names.operator()
