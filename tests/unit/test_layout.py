"""The folders keep out of each other's way, and every check in force has a test."""

import ast
import importlib
import operator
import sys
import tomllib
from pathlib import Path

import pytest

from harness.checks import CHECKS

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {"posecluster_operator": "operator", "posecluster_inference": "inference"}
MAX_LINES = 300

# Checks that must have a test; an issue that covers more adds its numbers here.
IN_FORCE: frozenset[int] = frozenset()
# Rows of hostile inputs that must have a test, such as "I-5".
ROWS_IN_FORCE: frozenset[str] = frozenset()


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
    assert module.__version__ == project["version"]


def test_modules_stay_small() -> None:
    sources = [path for folder in PACKAGES.values() for path in (ROOT / folder).rglob("*.py")]
    assert sources
    long = {str(path.relative_to(ROOT)) for path in sources if len(path.read_text().splitlines()) > MAX_LINES}
    assert not long


def test_lock_files_have_hashes_and_no_addresses() -> None:
    for path in (ROOT / "requirements").glob("*.txt"):
        lines = path.read_text(encoding="utf-8").splitlines()
        pins = [
            index for index, line in enumerate(lines) if "==" in line and not line.lstrip().startswith("#")
        ]
        assert pins
        assert all("--hash=sha256:" in lines[index + 1] for index in pins), path.name
        assert not any("://" in line or "index-url" in line for line in lines), path.name


def test_every_check_in_force_has_a_test() -> None:
    marked = _marked("acceptance")
    assert {number for number in marked if number not in CHECKS} == set()
    assert IN_FORCE - marked == set()


def test_every_row_in_force_has_a_test() -> None:
    assert ROWS_IN_FORCE - _marked("hostile") == set()


def _marked(name: str) -> set[object]:
    """Arguments of all `pytest.mark.<name>(...)` under tests/."""
    found: set[object] = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == name:
                found |= {argument.value for argument in node.args if isinstance(argument, ast.Constant)}
    return found
