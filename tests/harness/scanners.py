"""The scanners that `make scanners` installs; a test whose scanner is missing is skipped with that reason."""

import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.server import ROOT

FOLDER = ROOT / "build" / "scanners"
MISSING = "no scanners: run make scanners"


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One failed rule at one place: `subject` is a file, or the kind and name of an object."""

    rule: str
    subject: str


def scanner(environment: str, program: str) -> Path:
    """A program of one of the scanners' environments; skips the test if it is not there."""
    path = FOLDER / environment / "bin" / program
    if not path.is_file():
        pytest.skip(MISSING)
    return path


def run(program: str | Path, *arguments: str | Path, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """The program's end and what it printed, run in `folder`; any exit code will do."""
    return subprocess.run(
        [program, *arguments],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=240,
    )


def checkov(framework: str, paths: Iterable[Path]) -> tuple[list[Finding], int]:
    """What checkov holds against these files, and how many checks they passed."""
    files = [argument for path in paths for argument in ("--file", str(path))]
    program = scanner("checkov", "checkov")
    done = run(program, "--framework", framework, "--skip-download", "--output", "json", "--quiet", *files)
    report: dict[str, Any] = json.loads(done.stdout)
    assert report["summary"]["parsing_errors"] == 0, done.stderr
    failed = [Finding(one["check_id"], _subject(one)) for one in report["results"]["failed_checks"]]
    return sorted(failed), report["summary"]["passed"]


def _subject(failed: dict[str, Any]) -> str:
    """`inference/Dockerfile` of a Dockerfile; `Deployment posecluster-operator` of a manifest."""
    if failed["check_class"].startswith("checkov.dockerfile"):
        return "/".join(Path(failed["file_abs_path"]).parts[-2:])
    kind, _, name, *_ = str(failed["resource"]).split(".")
    return f"{kind} {name}"


def bandit(paths: Sequence[Path]) -> tuple[list[Finding], int]:
    """bandit's findings of medium and high severity in these folders, and how many files it read."""
    program = Path(sys.executable).with_name("bandit")  # one of our own packages
    configuration = ROOT / "pyproject.toml"
    done = run(program, "--recursive", "--format", "json", "--quiet", "-c", configuration, *paths)
    report = json.loads(done.stdout)
    assert report["errors"] == []
    grave = [one for one in report["results"] if one["issue_severity"] in ("MEDIUM", "HIGH")]
    found = [Finding(one["test_id"], f"{one['filename']}:{one['line_number']}") for one in grave]
    return sorted(found), len(report["metrics"]) - 1  # one of them is the total
