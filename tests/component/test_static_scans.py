"""Check 40, sources: linters and scanners find nothing in Dockerfiles, scripts and both packages.

Each has a control: a planted fault that it must find.
"""

from pathlib import Path

import pytest

from harness import scanners
from harness.recorder import RecordFigure
from harness.server import ROOT

pytestmark = pytest.mark.timeout(300)  # scanners start slowly, more so beside other tests

DOCKERFILES = sorted(ROOT.glob("*/Dockerfile"))
SCRIPTS = sorted(
    path
    for path in (*(ROOT / ".ci").iterdir(), *(ROOT / "scripts").iterdir())
    if path.is_file()
    and (path.suffix == ".sh" or path.read_bytes().startswith((b"#!/usr/bin/env bash", b"#!/bin/sh")))
)
PACKAGES = [ROOT / "inference", ROOT / "operator"]

# checkov's rules that we do not follow, and why
NOT_FOLLOWED = {
    "CKV_DOCKER_2": "HEALTHCHECK: the OCI format has none, and in a cluster the pod's probes do it",
    "CKV_DOCKER_7": "it cannot read the default of BASE_IMAGE: test_supply.py sees that it has a tag",
}


@pytest.mark.acceptance(40)
def test_hadolint_finds_nothing(record_figure: RecordFigure) -> None:
    hadolint = scanners.scanner("scan", "hadolint")
    done = scanners.run(hadolint, "--no-color", *DOCKERFILES)
    record_figure("Dockerfile lint", len(done.stdout.splitlines()), bar="0", sample=len(DOCKERFILES))
    assert (done.returncode, done.stdout) == (0, "")
    assert [path.parent.name for path in DOCKERFILES] == ["inference", "operator"]
    for path in DOCKERFILES:
        assert "hadolint ignore" not in path.read_text(encoding="utf-8"), path


@pytest.mark.acceptance(40)
@pytest.mark.control
@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("USER 10001:10001\n", "USER 10001:10001\nRUN cd /tmp\n", "DL3003"),
        ('ENTRYPOINT ["posecluster-inference"]', "ENTRYPOINT posecluster-inference", "DL3025"),
        ("FROM ${BASE_IMAGE} AS packages", "FROM python AS packages", "DL3006"),
    ],
)
def test_hadolint_finds_a_planted_fault(tmp_path: Path, old: str, new: str, rule: str) -> None:
    text = (ROOT / "inference" / "Dockerfile").read_text(encoding="utf-8")
    assert old in text
    planted = tmp_path / "Dockerfile"
    planted.write_text(text.replace(old, new), encoding="utf-8")
    done = scanners.run(scanners.scanner("scan", "hadolint"), "--no-color", planted)
    assert rule in done.stdout


@pytest.mark.acceptance(40)
def test_checkov_finds_nothing_in_dockerfiles(record_figure: RecordFigure) -> None:
    found, passed = scanners.checkov("dockerfile", DOCKERFILES)
    unexcused = [one for one in found if one.rule not in NOT_FOLLOWED]
    record_figure("Dockerfile rules failed", len(unexcused), bar="0", sample=passed)
    assert unexcused == []
    assert {one.rule for one in found} == set(NOT_FOLLOWED), "one is followed now: take it off"
    assert passed > 100


@pytest.mark.acceptance(40)
@pytest.mark.control
def test_checkov_finds_a_planted_root_user(tmp_path: Path) -> None:
    planted = tmp_path / "Dockerfile"
    planted.write_text('FROM python:3.11-slim\nUSER root\nCMD ["python"]\n', encoding="utf-8")
    found, _ = scanners.checkov("dockerfile", [planted])
    assert "CKV_DOCKER_8" in {one.rule for one in found}


@pytest.mark.acceptance(40)
def test_bandit_finds_nothing_of_medium_severity(record_figure: RecordFigure) -> None:
    found, files = scanners.bandit(PACKAGES)
    record_figure("bandit, medium or high", len(found), bar="0", sample=files)
    assert found == []
    assert files == sum(1 for package in PACKAGES for _ in package.rglob("*.py"))


@pytest.mark.acceptance(40)
@pytest.mark.control
def test_bandit_finds_a_planted_shell(tmp_path: Path) -> None:
    (tmp_path / "planted.py").write_text(
        "import subprocess\nsubprocess.call(input(), shell=True)\n", encoding="utf-8"
    )
    found, _ = scanners.bandit([tmp_path])
    assert [one.rule for one in found] == ["B602"]


@pytest.mark.acceptance(40)
def test_shellcheck_finds_nothing_in_our_scripts(record_figure: RecordFigure) -> None:
    shellcheck = scanners.scanner("scan", "shellcheck")
    done = scanners.run(shellcheck, "--external-sources", "--format=gcc", *SCRIPTS)
    record_figure("script lint", len(done.stdout.splitlines()), bar="0", sample=len(SCRIPTS))
    assert (done.returncode, done.stdout) == (0, "")
    assert {path.name for path in SCRIPTS} >= {"deploy", "images", "kind", "lib.sh", "lock", "run", "setup"}


@pytest.mark.acceptance(40)
@pytest.mark.control
def test_shellcheck_finds_a_planted_unquoted_removal(tmp_path: Path) -> None:
    planted = tmp_path / "planted.sh"
    planted.write_text("#!/bin/bash\nrm -rf $1/*\n", encoding="utf-8")
    done = scanners.run(scanners.scanner("scan", "shellcheck"), planted)
    assert "SC2115" in done.stdout
