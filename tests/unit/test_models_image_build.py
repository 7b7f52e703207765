"""The image build fetches the model files with only those parts of the checkout that it copies."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.dockerfile import parse
from harness.server import ROOT
from posecluster_inference.models.catalogue import CATALOGUE


@pytest.mark.parametrize("variant", [model.variant for model in CATALOGUE])
def test_the_build_copies_all_that_fetching_needs(tmp_path: Path, variant: str) -> None:
    text = (ROOT / "inference" / "Dockerfile").read_text(encoding="utf-8")
    copied = re.findall(r"^COPY (.+) /fetch/(\S+)$", text, flags=re.MULTILINE)
    assert copied
    for sources, target in copied:
        for source in map(ROOT.joinpath, sources.split()):
            if source.is_dir():
                shutil.copytree(source, tmp_path / target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                (tmp_path / target).mkdir(exist_ok=True)
                shutil.copy(source, tmp_path / target)
    given = tmp_path / "given"
    given.write_bytes(b"not a model")
    done = subprocess.run(
        # -S: not the packages of this environment, in which ours is whole
        [
            sys.executable,
            "-S",
            "-m",
            "scripts.models",
            "--variant",
            variant,
            "--from",
            given,
            "--dir",
            "none",
        ],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        encoding="utf-8",
        timeout=30,
    )
    assert done.returncode == 1
    assert f"pose_landmarker_{variant}.task from {given} is the wrong file" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("image", ["inference", "operator"])
def test_only_a_stage_for_building_gets_the_scripts(image: str) -> None:
    """The scripts are copied to one stage, and only the model files are taken from that stage."""
    instructions = parse((ROOT / image / "Dockerfile").read_text(encoding="utf-8"))
    stages: dict[str, list[str]] = {}
    name = ""
    for one in instructions:
        if one.name == "FROM":
            name = one.text.partition(" AS ")[2]
            stages[name] = [one.text]
        elif name or one.name != "ARG":
            stages[name].append(one.text)
    with_scripts = {stage for stage, texts in stages.items() if any("scripts" in text for text in texts)}
    assert with_scripts == ({"models"} if image == "inference" else set())
    taken = [
        text
        for texts in stages.values()
        for text in texts
        if "--from=models" in text or text.startswith("models AS")
    ]
    assert taken == (["--from=models /models /models"] if image == "inference" else [])
