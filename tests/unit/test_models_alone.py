"""The model commands work with the part of the package that the build of the image copies for them."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from harness.server import ROOT


def test_the_build_copies_all_that_the_model_commands_need(tmp_path: Path) -> None:
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
    for command, code in (("list", 0), ("verify", 1)):
        done = subprocess.run(
            # -S: not the packages of this environment, in which ours is whole
            [
                sys.executable,
                "-S",
                "-m",
                "posecluster_inference.models",
                command,
                "--dir",
                str(tmp_path / "none"),
            ],
            cwd=tmp_path,
            env={"PYTHONPATH": str(tmp_path)},
            capture_output=True,
            encoding="utf-8",
            timeout=30,
        )
        assert done.returncode == code, done.stderr
        assert ("pose_landmarker_heavy.task" in done.stdout) == (command == "list")
        assert ("has no model files" in done.stderr) == (command == "verify")
