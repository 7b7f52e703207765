"""The wheel holds the packages and their data, and nothing of the tests, their pictures or the scripts."""

import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

from harness.server import ROOT

NOT_COPIED = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__", "*.task")
MOST_BYTES = 1_500_000


def test_the_wheel_holds_only_the_packages(tmp_path: Path) -> None:
    source = shutil.copytree(ROOT, tmp_path / "source", ignore=NOT_COPIED)
    assert (source / "tests" / "data" / "pictures").is_dir()
    assert (source / "scripts" / "models" / "repack.py").is_file()
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
    ]
    subprocess.run([*command, "--wheel-dir", tmp_path, source], check=True, timeout=80)
    (wheel,) = tmp_path.glob("*.whl")
    names = ZipFile(wheel).namelist()
    packages = {"posecluster_inference", "posecluster_operator"}
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops <= packages | {"posecluster_common"}
    assert packages <= tops
    assert "posecluster_inference/data/astronaut.jpg" in names
    assert "posecluster_inference/models/store.py" in names
    modules = {name.rpartition("/")[2] for name in names}
    assert modules & {"packages.py", "repack.py", "package_sources.py"} == set(), (
        "they belong to scripts/models"
    )
    assert wheel.stat().st_size < MOST_BYTES
