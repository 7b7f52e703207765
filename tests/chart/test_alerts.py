"""Alerts fire when they should and not before, use existing metrics, and are documented."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from harness.chart import CHART, Json
from harness.markdown import blocks
from harness.metric_names import unknown
from harness.server import ROOT
from posecluster_operator.resource.reasons import REASONS, ConditionType

RULES = CHART / "files" / "alerts.yaml"
CASES = Path(__file__).parent / "alert_cases.yaml"
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
SEVERITIES = {"critical", "warning"}
NO_PROMTOOL = (
    "no promtool: put it on PATH or name it in PROMTOOL; scripts/promtool fetches Debian's into build/"
)


def rules() -> dict[str, Json]:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    found = [rule for group in groups for rule in group["rules"]]
    assert len({rule["alert"] for rule in found}) == len(found) >= 15
    return {rule["alert"]: rule for rule in found}


def cases() -> dict[str, Json]:
    found: dict[str, Json] = yaml.safe_load(CASES.read_text(encoding="utf-8"))
    return found


ALERTS = rules()


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    """promtool's exit code and output; skips the test if it is missing."""
    program = (
        os.environ.get("PROMTOOL")
        or shutil.which("promtool")
        or shutil.which("promtool", path=ROOT / "build/promtool/usr/bin")
    )
    if not program:
        pytest.skip(NO_PROMTOOL)
    command = [program, *arguments]
    return subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", timeout=60
    )


def story(alert: str, case: Json, firing: list[Json]) -> Json:
    """One case as promtool's unit test: which alerts of this name fire."""
    samples = [
        f"ALERTS{yaml_labels({'alertname': alert, 'alertstate': 'firing', **ALERTS[alert]['labels'], **one})}"
        for one in firing
    ]
    return {
        "name": alert,
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in case["series"].items()],
        "promql_expr_test": [
            {
                "expr": f'ALERTS{{alertname="{alert}", alertstate="firing"}}',
                "eval_time": case["at"],
                "exp_samples": [{"labels": labels, "value": 1} for labels in samples],
            }
        ],
    }


def yaml_labels(labels: Json) -> str:
    return "{" + ", ".join(f'{name}="{value}"' for name, value in labels.items()) + "}"


def run(tmp_path: Path, tests: list[Json]) -> subprocess.CompletedProcess[str]:
    path = tmp_path / "tests.yaml"
    document = {"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return promtool("test", "rules", str(path))


def test_every_alert_has_a_story_that_fires_it_and_one_that_does_not() -> None:
    assert cases().keys() == ALERTS.keys()
    assert all({"fires", "quiet"} <= set(case) <= {"fires", "gone", "quiet"} for case in cases().values())


def test_each_alert_fires_when_it_should_and_not_else(tmp_path: Path) -> None:
    tests = []
    for alert, case in cases().items():
        assert case["fires"]["labels"]
        tests += [story(alert, one, one.get("labels", [])) for one in case.values()]
    done = run(tmp_path, tests)
    assert done.returncode == 0, done.stdout


@pytest.mark.control
def test_control_each_story_can_fail(tmp_path: Path) -> None:
    """A rule that never fired would fail the first story, one that always does the second."""
    wrong = []
    for alert, case in cases().items():
        wrong += [
            story(alert, one, [] if "labels" in one else case["fires"]["labels"]) for one in case.values()
        ]
    failed = re.findall(r'expr: "ALERTS\{alertname=\\"(\w+)\\"', run(tmp_path, wrong).stdout)
    assert sorted(failed) == sorted(alert for alert, case in cases().items() for _ in case)


def test_promtool_finds_no_fault() -> None:
    done = promtool("check", "rules", str(RULES))
    assert done.returncode == 0, done.stdout
    assert f"{len(ALERTS)} rules found" in done.stdout


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_says_what_who_and_where_to_read_on(alert: str) -> None:
    rule = ALERTS[alert]
    notes = rule["annotations"]
    assert alert.startswith("PoseCluster")
    assert rule["labels"].keys() == {"severity"}
    assert rule["labels"]["severity"] in SEVERITIES
    assert set(notes) == {"summary", "description", "runbook_url"}
    named = set(re.findall(r"\$labels\.(\w+)", notes["summary"] + notes["description"]))
    for labels in cases()[alert]["fires"]["labels"]:
        assert named <= labels.keys()
    assert notes["runbook_url"] == f"docs/operations.md#{alert.lower()}"
    assert f"\n#### {alert}\n" in PAGE


def test_expressions_name_metrics_conditions_and_reasons_that_exist() -> None:
    text = "".join(rule["expr"] for rule in ALERTS.values())
    assert unknown(text) == set()
    for condition, matched in re.findall(r'condition="(\w+)", reason[!=~]+"([\w|]+)"', text):
        assert set(matched.split("|")) <= {reason.value for reason in REASONS[ConditionType(condition)]}


@pytest.mark.control
def test_control_a_metric_that_does_not_exist_is_seen() -> None:
    assert unknown("rate(posecluster_refusals_total[5m])") == {"posecluster_refusals_total"}
    assert unknown("posecluster_operator_holder") == {"posecluster_operator_holder"}


def told() -> dict[str, tuple[str, str, str]]:
    """Severity, time and expression of each alert's section in docs/operations.md."""
    found = {}
    for part in PAGE.split("\n#### ")[1:]:
        name, _, text = part.partition("\n")
        if name not in ALERTS:
            continue
        (block,) = blocks(text.partition("\n### ")[0].partition("\n## ")[0], "promql")[:1]
        head, _, expression = block.partition("\n")
        severity, _, time = head.removeprefix("# ").partition(", for ")
        found[name] = (severity, time or "0m", " ".join(expression.split()))
    return found


def test_the_page_has_every_alert_with_its_expression() -> None:
    expected = {
        name: (rule["labels"]["severity"], rule["for"], " ".join(rule["expr"].split()))
        for name, rule in ALERTS.items()
    }
    assert told() == expected
