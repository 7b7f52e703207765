"""docs/gitops.md: its snippets are valid, and the Argo CD script gives the verdicts of its table."""

import itertools
import json
import re
import shutil
import subprocess
from typing import Any

import pytest
import yaml

from harness.kstatus import CURRENT, FAILED, IN_PROGRESS, kstatus
from harness.server import ROOT

pytestmark = pytest.mark.unit

PAGE = (ROOT / "docs" / "gitops.md").read_text(encoding="utf-8")
SNIPPETS = [
    list(yaml.safe_load_all(text))
    for text in re.findall(r"^```yaml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
]
HEALTH = {CURRENT: "Healthy", IN_PROGRESS: "Progressing", FAILED: "Degraded"}
PAUSED = {"posecluster.io/paused": "true"}


def script() -> str:
    """The Lua script for Argo CD."""
    (found,) = [one["data"] for (one, *_) in SNIPPETS if "data" in one]
    text: str = found["resource.customizations.health.posecluster.io_PoseCluster"]
    return text


def lua(value: Any) -> str:
    """A JSON value as Lua writes it; null is absent, as in Argo CD."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"[{json.dumps(key)}] = {lua(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "{" + ", ".join(map(lua, value)) + "}"
    return "nil" if value is None else json.dumps(value)


def health_of(items: list[dict[str, Any]]) -> list[str]:
    """What the script says of each object."""
    program = shutil.which("lua5.4") or shutil.which("lua5.1") or shutil.which("lua")
    if program is None:
        pytest.skip("open: lua is not installed (apt install lua5.4)")
    lines = [f"function health(obj)\n{script()}\nend"]
    lines += [f"print(health({lua(item)}).status)" for item in items]
    done = subprocess.run(
        [program, "-"], input="\n".join(lines), capture_output=True, text=True, timeout=20, check=True
    )
    return done.stdout.split()


def item(status: Any, annotations: Any = None) -> dict[str, Any]:
    return {"metadata": {"generation": 7, "annotations": annotations}, "status": status}


def status(generation: int, *conditions: str) -> dict[str, Any]:
    pairs = [one.split("=") for one in conditions]
    listed = [{"type": kind, "status": value, "message": "why"} for kind, value in pairs]
    return {"observedGeneration": generation, "conditions": listed}


def test_the_argo_cd_script_agrees_with_kstatus() -> None:
    ready = (["Ready=True"], ["Ready=False", "Reconciling=True"], ["Ready=False", "Stalled=True"],
             ["Ready=Unknown"], ["Available=True", "Ready=False"])  # fmt: skip
    items = [
        item(status(generation, *conditions))
        for generation, conditions in itertools.product((0, 6, 7), ready)
    ]
    assert health_of(items) == [HEALTH[kstatus(one)] for one in items]


def test_the_argo_cd_script_handles_paused_and_missing_status() -> None:
    cases = [
        (item(None), "Progressing"),
        (item({}), "Progressing"),
        (item(status(7, "Ready=True"), PAUSED), "Healthy"),
        (item(status(6, "Ready=True"), PAUSED), "Suspended"),
        (item(status(7, "Ready=False"), PAUSED), "Suspended"),
        (item(status(0, "Ready=Unknown"), PAUSED), "Suspended"),
        (item(status(7, "Ready=False", "Stalled=True"), PAUSED), "Degraded"),
        (item(status(6, "Ready=True"), {"posecluster.io/paused": "yes"}), "Progressing"),
    ]
    assert health_of([one for one, _ in cases]) == [expected for _, expected in cases]


def test_snippets_are_whole_manifests_or_parts() -> None:
    kinds = {one["kind"] for snippet in SNIPPETS for one in snippet if "kind" in one}
    assert kinds == {"Application", "Kustomization", "HelmRelease"}
    (expressions,) = [one["healthCheckExprs"] for (one, *_) in SNIPPETS if "healthCheckExprs" in one]
    assert {"apiVersion", "kind", "current", "failed"} == set(expressions[0])
