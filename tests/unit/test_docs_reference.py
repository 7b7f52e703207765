"""docs/reference.md is what `make reference` generates, and its manual parts agree with the code."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from harness import crd
from harness.markdown import plain, rows
from posecluster_operator.builders import labels
from posecluster_operator.builders.table import CHILDREN
from posecluster_operator.resource.posecluster import PAUSED_ANNOTATION

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/reference.md").read_text(encoding="utf-8")


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "scripts/reference.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_up_to_date() -> None:
    assert script().filled(PAGE) == PAGE, "run make reference"


@pytest.mark.control
def test_control_a_changed_default_and_a_lost_marker_are_seen() -> None:
    changed = PAGE.replace("| integer | `250` |", "| integer | `251` |")
    assert changed != PAGE
    assert script().filled(changed) == PAGE
    with pytest.raises(ValueError, match="marker lines of status"):
        script().filled(PAGE.replace("<!-- status: end -->", ""))


def test_every_field_is_in_a_table() -> None:
    told = {plain(field) for field, *_rest in rows(PAGE, "field", "type", "default", "allowed", "meaning")}
    told |= {plain(field) for field, *_rest in rows(PAGE, "field", "type", "meaning")}
    leaves = {
        node.name.partition(".")[2]
        for node in crd.nodes()
        if len(node.path) > 1 and node.path[-1] != "[]" and "properties" not in node.schema
    }
    assert told == leaves


def test_labels_children_and_annotation_are_the_codes() -> None:
    told = {plain(label): on_pods for label, _value, on_pods in rows(PAGE, "label", "value", "on pods")}
    assert told.keys() == labels.labels("a", "1").keys()
    assert {label for label, on_pods in told.items() if on_pods == "yes"} == labels.pod_labels("a").keys()
    children = [(kind.partition(",")[0], plain(name)) for kind, name, _is in rows(PAGE, "kind", "name", "is")]
    assert sorted(children) == sorted(row.ident("NAME") for row in CHILDREN)
    assert [plain(name) for name, *_ in rows(PAGE, "annotation", "value", "meaning")] == [PAUSED_ANNOTATION]


def test_commands_in_the_page_and_the_make_file_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"`make ([a-z-]+)`", PAGE)):
        assert f"\n{target}:" in makefile
