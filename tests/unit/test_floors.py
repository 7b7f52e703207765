"""The start stops, with one line that says what to change, on anything below the floors."""

import os
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

import posecluster_inference
from posecluster_inference import floors
from posecluster_inference.errors import InvalidSetting

PROGRAM = """
from posecluster_inference import floors
from posecluster_inference.errors import InvalidSetting
try:
    floors.check()
except InvalidSetting as error:
    print("refused:", error)
else:
    print("passed")
"""


def _check(*options: str, **environment: str) -> str:
    """Run the check in an interpreter of its own."""
    path = str(Path(posecluster_inference.__file__).parents[1])
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONOPTIMIZE"}
    ended = subprocess.run(
        [sys.executable, *options, "-c", PROGRAM],
        env={**clean, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    (line,) = ended.stdout.splitlines()
    return line


def test_this_environment_is_good_enough() -> None:
    assert _check() == "passed"


@pytest.mark.parametrize(
    ("options", "environment", "names"),
    [
        (["-O"], {}, "python -O"),
        ([], {"PYTHONOPTIMIZE": "1"}, "PYTHONOPTIMIZE"),
        ([], {"AIOHTTP_NO_EXTENSIONS": "1"}, "AIOHTTP_NO_EXTENSIONS"),
    ],
)
def test_an_interpreter_that_drops_checks_is_refused(
    options: list[str], environment: dict[str, str], names: str
) -> None:
    line = _check(*options, **environment)
    assert line.startswith("refused: ")
    assert names in line


@pytest.mark.parametrize("version", ["3.14.1", "3.14.5", "3.15.0", "3.15.0a1", "4.0.0", "3.100.0"])
def test_newer_parsers_pass(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aiohttp, "__version__", version)
    floors.check()


@pytest.mark.parametrize("version", ["3.14.0", "3.9.99", "2.99.99", "3.14", "3.14.1rc1"])
def test_older_parsers_are_refused(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aiohttp, "__version__", version)
    with pytest.raises(InvalidSetting, match=rf"^aiohttp {version}: 3\.14\.1 or newer is needed$"):
        floors.check()


def test_an_older_python_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 14))
    with pytest.raises(InvalidSetting, match=r"Python 3\.11"):
        floors.check()
