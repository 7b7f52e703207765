"""`make run` serves, with the Python that runs these tests, until Ctrl-C ends it."""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import client, pictures
from harness.server import ServerProcess
from harness.stub import DETECT

pytestmark = pytest.mark.component


def test_make_run_serves_until_it_is_interrupted(
    start: Callable[..., ServerProcess], full_model: Path
) -> None:
    if not (Path(sys.prefix) / ".set-up-run").is_file():
        pytest.skip("this Python's environment is not one of scripts/setup")
    server = start(
        command=("make", "run", f"VENV={sys.prefix}"),
        env={"PYTHONWARNINGS": ""},  # or pip fails by its own, where the environment has to be renewed
        model_dir=str(full_model.parent),
        drain_delay_ms=60_000,
    )
    answer = client.post(server.url + DETECT, pictures.built_in())
    assert answer.status == 200, answer.body
    assert len(json.loads(answer.body)["people"]) == 1
    os.killpg(server.pid, signal.SIGINT)  # as a terminal does: to make and to the server
    server.wait(20)
    assert "Stopped" in server.logs()
    assert "Traceback" not in server.logs()
