"""A processor without an instruction that native libraries need is reported at the start, in one line."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.server import ServerProcess, run_to_end

pytestmark = pytest.mark.component

ENGINE = "fault_engines:IllegalInstruction"
SAID = "SIGILL ended a worker at start"


@pytest.mark.parametrize("workers", [1, 2])
def test_sigill_of_a_worker_during_the_start_ends_the_server(tmp_path: Path, workers: int) -> None:
    fault = tmp_path / "fault"
    fault.touch()
    done = run_to_end("serve", engine=ENGINE, workers=workers, env={"FAULT_FILE": str(fault)})
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]  # which a pod shows as the container's message
    assert last.startswith(f"posecluster-inference: {SAID}")
    assert "instruction" in last


def test_sigill_of_a_worker_after_the_start_is_logged(
    start: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    fault = tmp_path / "fault"
    server = start(engine=ENGINE, workers=2, env={"FAULT_FILE": str(fault)})
    fault.touch()
    os.kill(server.worker_pids()[0], signal.SIGKILL)
    server.wait_until(lambda: SAID in server.logs(), "the reason in the log")
    assert server.is_ready()  # by the other worker


@pytest.mark.control
def test_other_signals_during_the_start_are_retried(
    start: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    fault = tmp_path / "fault"
    fault.write_text(str(int(signal.SIGABRT)), encoding="ascii")
    server = start(engine=ENGINE, workers=1, env={"FAULT_FILE": str(fault)}, ready=False)
    server.wait_until(
        lambda: "cause=start requests=0 signal=SIGABRT" in server.logs(), "the signal in the log"
    )
    fault.unlink()
    server.wait_ready()
    assert SAID not in server.logs()
