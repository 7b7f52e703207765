"""Check 38: the server refuses to start in an environment that it cannot rely on."""

import subprocess
import sys

import pytest

from harness.server import environment, run_to_end

_OLD_AIOHTTP = (
    "import sys, aiohttp; aiohttp.__version__ = '3.14.0'; "
    "from posecluster_inference.__main__ import main; sys.exit(main(['serve']))"
)


@pytest.mark.acceptance(38)
@pytest.mark.parametrize("variable", ["PYTHONOPTIMIZE", "AIOHTTP_NO_EXTENSIONS"])
def test_an_interpreter_without_asserts_or_the_c_parser_stops_the_start(variable):
    ended = run_to_end("serve", env={variable: "1"}, engine="stub")
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert variable in line


@pytest.mark.acceptance(38)
def test_an_old_aiohttp_stops_the_start():
    ended = subprocess.run(
        [sys.executable, "-c", _OLD_AIOHTTP],
        env=environment({"engine": "stub"}),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert "aiohttp 3.14.0" in line


@pytest.mark.acceptance(38)
def test_an_old_opencv_stops_the_start(tmp_path):
    (tmp_path / "cv2.py").write_text("__version__ = '4.11.0'\n", encoding="utf-8")
    path = f"{tmp_path}:{environment({})['PYTHONPATH']}"
    ended = run_to_end("serve", env={"PYTHONPATH": path}, engine="stub")
    assert ended.returncode == 1
    assert "opencv-python-headless 4.11.0" in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr
