"""Packages import from their folders, modules stay small, and every check has a test."""

import ast
import importlib
import operator
import re
import sys
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.checks import CHECKS, HOSTILE_ROWS
from harness.reliability_table import END, START

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {
    "posecluster_operator": "operator",
    "posecluster_inference": "inference",
    "posecluster_common": "common",
}
MAX_LINES = 400
ROW = re.compile(r"[A-Z]-\d+[a-z]?")


def test_the_folder_operator_does_not_hide_the_standard_module() -> None:
    assert operator.add(1, 2) == 3
    assert operator.__name__ in sys.stdlib_module_names
    assert not (ROOT / "operator" / "__init__.py").exists()
    assert not (ROOT / "inference" / "__init__.py").exists()


@pytest.mark.parametrize(("package", "folder"), PACKAGES.items())
def test_packages_come_from_their_folders(package: str, folder: str) -> None:
    module = importlib.import_module(package)
    assert Path(module.__file__ or "").parent == ROOT / folder / package
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert getattr(module, "__version__", project["version"]) == project["version"]


def test_the_shared_package_imports_only_the_standard_library_and_the_admin_port_also_aiohttp() -> None:
    imported = {
        (path.stem, name.partition(".")[0])
        for path in (ROOT / "common" / "posecluster_common").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module or ""] if isinstance(node, ast.ImportFrom) else [one.name for one in node.names]
        )
    }
    known = sys.stdlib_module_names | {"posecluster_common", "_typeshed"}
    assert ("settings", "argparse") in imported
    assert {(module, name) for module, name in imported if name not in known} == {("admin_port", "aiohttp")}


def test_modules_stay_small() -> None:
    folders = [ROOT / folder for folder in (*PACKAGES.values(), "bench", "tests")]
    lines = {
        path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for folder in folders
        for path in folder.rglob("*.py")
    }
    assert {path: count for path, count in lines.items() if count > MAX_LINES} == {}


def test_lock_files_have_hashes_and_no_addresses() -> None:
    for path in (ROOT / "requirements").glob("*.txt"):
        lines = path.read_text(encoding="utf-8").splitlines()
        pins = [
            index for index, line in enumerate(lines) if "==" in line and not line.lstrip().startswith("#")
        ]
        assert pins
        assert all("--hash=sha256:" in lines[index + 1] for index in pins), path.name
        assert not any("://" in line or "index-url" in line for line in lines), path.name


def test_every_check_has_a_test() -> None:
    assert marked_in(_tests(), "acceptance") - set(CHECKS) == set()
    assert set(CHECKS) - marked_in(_proofs(), "acceptance") == set()


def test_every_row_has_a_test() -> None:
    assert HOSTILE_ROWS - marked_in(_proofs(), "hostile") == set()
    assert {row for row in marked_in(_tests(), "hostile") if ROW.fullmatch(str(row))} <= HOSTILE_ROWS


def test_a_check_or_row_is_missed_when_its_test_is_gone() -> None:
    source = """
LINES = {"H-1": {"two lengths": 1}, "H-2": {"bare LF": 2}}
CASES = [pytest.param(row, marks=pytest.mark.hostile(row)) for row in LINES]
@pytest.mark.parametrize("row", CASES)
def test_one(row): ...
@pytest.mark.acceptance(5)
@pytest.mark.hostile("I-1", *others("I-2"))
def test_two(): ...
"""
    first, second = collect(source)
    assert marked_in([first], "hostile") == {"H-1", "H-2"}
    assert marked_in([second], "hostile") == {"I-1"}
    assert marked_in([second], "acceptance") == {5}
    assert marked_in([first], "acceptance") == set()
    assert marked_in([first, second], "control") == set()


def test_generated_parts_of_the_documents_are_filled() -> None:
    for name, start, end in (
        ("performance.md", "<!-- bench: start -->", "<!-- bench: end -->"),
        ("performance.md", "<!-- bench-operator: start -->", "<!-- bench-operator: end -->"),
        ("autoscaling.md", "<!-- bench-scaling: start -->", "<!-- bench-scaling: end -->"),
        ("reliability.md", START, END),
    ):
        text = (ROOT / "docs" / name).read_text(encoding="utf-8")
        block = text.partition(start)[2].partition(end)[0]
        assert re.search(r"\| ?---", block), f"docs/{name}: nothing between its marker lines"


Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Marked:
    """A test function: the arguments of its markers, by marker name; parametrized ones included."""

    name: str
    marks: dict[str, set[object]]


def marked_in(tests: Iterable[Marked], marker: str) -> set[object]:
    """All arguments of this marker on these tests."""
    return set().union(*(test.marks.get(marker, set()) for test in tests))


def _tests() -> list[Marked]:
    paths = (ROOT / "tests").rglob("test_*.py")
    return [test for path in paths for test in collect(path.read_text(encoding="utf-8"))]


def _proofs() -> list[Marked]:
    """A control shows only that the check can fail."""
    return [test for test in _tests() if "control" not in test.marks]


def collect(source: str) -> list[Marked]:
    """The tests of a module's source."""
    module = ast.parse(source)
    named = {
        target.id: node
        for node in module.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    functions = (node for node in ast.walk(module) if isinstance(node, Function))
    return [Marked(one.name, _marks(one, named)) for one in functions if one.name.startswith("test_")]


def _marks(function: Function, named: Mapping[str, ast.AST]) -> dict[str, set[object]]:
    """Markers in the decorators and in the module's values that these name."""
    nodes = _reachable(function.decorator_list, named)
    rows = {node.value for node in nodes if isinstance(node, ast.Constant) and _is_row(node.value)}
    found: dict[str, set[object]] = {}
    for node in nodes:
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "pytest.mark":
            found.setdefault(node.attr, set())
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            marks = found.setdefault(node.func.attr, set())
            marks |= {argument.value for argument in node.args if isinstance(argument, ast.Constant)}
            if any(isinstance(argument, ast.Name) for argument in node.args):
                # a row that a loop over a table passes on: the table's keys (`*rows(file)` proves nothing)
                marks |= rows if node.func.attr == "hostile" else set()
    return found


def _reachable(start: Iterable[ast.AST], named: Mapping[str, ast.AST]) -> list[ast.AST]:
    nodes, waiting, seen = [], list(start), set()
    while waiting:
        for node in ast.walk(waiting.pop()):
            nodes.append(node)
            if isinstance(node, ast.Name) and node.id in named and node.id not in seen:
                seen.add(node.id)
                waiting.append(named[node.id])
    return nodes


def _is_row(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[IHK]-\d+", value) is not None
