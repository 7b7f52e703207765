"""The project lists the Python versions that its tests ran with; `make test-pythons` names missing ones."""

import re
import sys
import tomllib
from pathlib import Path

import pytest

from harness.server import ROOT
from harness.stand_ins import StandIns

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NAMED = [name.rpartition(" ")[2] for name in PROJECT["classifiers"] if " Python :: 3." in name]
SCRIPT = (ROOT / "scripts" / "pythons").read_text(encoding="utf-8")


def test_the_project_names_the_versions_that_its_tests_run_with() -> None:
    tried = re.search(r"VERSIONS:-([\d. ]+)\}", SCRIPT)
    assert tried is not None
    assert set(NAMED) <= set(tried[1].split())
    assert f"{sys.version_info[0]}.{sys.version_info[1]}" in NAMED
    assert PROJECT["requires-python"] == f">={NAMED[0]}"


def test_the_tests_that_it_names_are_there() -> None:
    (folder, names) = re.findall(r"(tests/component)/test_\{([\w,]+)\}\.py", SCRIPT)[0]
    assert [name for name in names.split(",") if not (ROOT / folder / f"test_{name}.py").is_file()] == []


@pytest.mark.skipif(not (ROOT / ".venv").is_dir(), reason="no .venv: run make set-up-dev")
def test_a_version_that_is_not_here_is_named(tmp_path: Path) -> None:
    done = StandIns(tmp_path).run("scripts/pythons", PYENV_ROOT=str(tmp_path), VERSIONS="3.98 3.99")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1:] == [
        f"Python {version}: not run, because it is not here" for version in ("3.98", "3.99")
    ]


@pytest.mark.control
@pytest.mark.skipif(not (ROOT / ".venv").is_dir(), reason="no .venv: run make set-up-dev")
def test_a_version_that_fails_fails_the_command(tmp_path: Path) -> None:
    programs = StandIns(tmp_path)
    programs.add("uname", "echo Darwin")  # so that the set-up stops at its first step
    programs.add("python3.99")
    done = programs.run("scripts/pythons", PYENV_ROOT=str(tmp_path), VERSIONS="3.99")
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == "Python 3.99: FAILED"
