"""The real server as a child process: started, observed, ended and counted.

    with start_server(workers=2, engine="stub", deadline_ms=2000) as server:
        reply = client.post(server.url + "/v1/detect", picture)

All methods block: in an async test call them through `asyncio.to_thread`.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any

from harness import client, processes
from harness.metrics import read_metric
from posecluster_common.listening import host_and_port

ROOT = Path(__file__).resolve().parents[2]
STUB_ENGINE = "stub_engine:StubEngine"
_ENGINES = ROOT / "tests" / "engines"
_PORT = re.compile(r'\bport"?[=:]\s*"?(\d+)')
_ADMIN_PORT = re.compile(r'\badmin_port"?[=:]\s*"?(\d+)')
_LOG_TAIL = 4_000
_HOST = "127.0.0.1"
# What differs from the server's own defaults, so that tests do not wait for a drain at their end.
DEFAULTS: Mapping[str, object] = {"port": 0, "admin_port": 0, "workers": 1, "drain_delay_ms": 100}


class ServerFailed(AssertionError):
    """The server did not do what the harness waited for; the message ends with its log."""


class ServerProcess:
    """A running server. `process` is the plain `subprocess.Popen`; its session holds all workers."""

    def __init__(self, process: "subprocess.Popen[bytes]", log_path: Path, host: str = _HOST) -> None:
        self.process = process
        self.log_path = log_path
        self.host = host
        self.port = 0
        self.admin_port = 0
        self.started_seconds = time.monotonic()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def url(self) -> str:
        """Of the client port, without a slash at the end."""
        return f"http://{host_and_port((self.host, self.port))}"

    @property
    def admin_url(self) -> str:
        """Of the admin port, without a slash at the end."""
        return f"http://{host_and_port((self.host, self.admin_port))}"

    @property
    def address(self) -> tuple[str, int]:
        """Of the client port, for sockets."""
        return (self.host, self.port)

    def logs(self) -> str:
        """All that the server and its workers have written so far."""
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def health(self) -> dict[str, Any]:
        """GET /healthz of the admin port, with any status."""
        document: dict[str, Any] = client.get(self.admin_url + "/healthz", timeout_seconds=5).json()
        return document

    def worker_pids(self) -> list[int]:
        """Pids of the workers that /healthz lists."""
        return [worker["pid"] for worker in self.health()["workers"] if worker["pid"]]

    def metrics(self, name: str, **labels: str) -> float:
        """Sum of a metric's samples that have these labels; 0 if none has, KeyError if no such metric.

        `name` with or without `posecluster_`; of a histogram give `..._count`, `..._sum` or `..._bucket`.
        """
        name = name if name.startswith("posecluster_") else f"posecluster_{name}"
        return read_metric(self.admin_url, name, labels)

    def rss(self) -> int:
        """Resident bytes of the server process without its workers; see `rss_with_workers`."""
        return processes.rss(self.pid)

    def rss_with_workers(self) -> int:
        """Resident bytes of the server and all its children, shared pages counted each time."""
        total = 0
        for process in processes.in_session(self.pid):
            with suppress(ProcessLookupError):
                total += processes.rss(process.pid)
        return total

    def signal(self, number: int) -> None:
        """Send a signal to the server process, not to its workers."""
        self.process.send_signal(number)

    def terminate(self) -> None:
        """SIGTERM to the server process; see `wait`."""
        self.process.terminate()

    def kill(self) -> None:
        """SIGKILL to the server process; its workers should follow by themselves."""
        self.process.kill()

    def wait(self, timeout_seconds: float) -> int:
        """Wait for the server's end; its exit code, or ServerFailed when the time is over."""
        try:
            return self.process.wait(timeout_seconds)
        except subprocess.TimeoutExpired as error:
            raise self.failed(f"still runs after {timeout_seconds} s") from error

    def wait_until(self, fact: Callable[[], bool], what: str, timeout_seconds: float = 10.0) -> float:
        """Wait until `fact()` holds and return the seconds it took; ServerFailed when the time is over.

        A refused or cut connection counts as not yet.
        """
        start = time.monotonic()
        while (passed := time.monotonic() - start) < timeout_seconds:
            with suppress(OSError, HTTPException):
                if fact():
                    return time.monotonic() - start
            if self.process.poll() is not None:
                raise self.failed(f"ended with {self.process.returncode} before {what}")
            time.sleep(0.01)
        raise self.failed(f"not {what} after {passed:.1f} s")

    def wait_ready(self, timeout_seconds: float = 30.0) -> float:
        """Wait until /readyz answers 200; the seconds it took."""
        return self.wait_until(self.is_ready, "ready", timeout_seconds)

    def is_ready(self) -> bool:
        """Whether /readyz answers 200 now; raises OSError if nothing listens."""
        return client.get(self.admin_url + "/readyz", timeout_seconds=5).status == 200

    def failed(self, what: str) -> ServerFailed:
        """An error to raise, with the end of the log."""
        return ServerFailed(f"server {self.pid}: {what}; its log ends with:\n{self.logs()[-_LOG_TAIL:]}")

    def wait_listening(self, timeout_seconds: float) -> None:
        """Wait for the line `Listening ... port=N admin_port=N` and take the ports from it."""
        end = time.monotonic() + timeout_seconds
        while time.monotonic() < end:
            for line in self.logs().splitlines():
                port, admin_port = _PORT.search(line), _ADMIN_PORT.search(line)
                if "Listening" in line and port and admin_port:
                    self.port, self.admin_port = int(port[1]), int(admin_port[1])
                    return
            if self.process.poll() is not None:
                raise self.failed(f"ended with {self.process.returncode} at start")
            time.sleep(0.01)
        raise self.failed(f"does not listen after {timeout_seconds} s")

    def close(self, timeout_seconds: float = 20.0) -> None:
        """End the server, if it still runs, and assert that no process of its session is left over."""
        ended_by_itself = self.process.poll() is not None
        session = processes.in_session(self.pid)
        if not ended_by_itself:
            for number in (signal.SIGCONT, signal.SIGTERM):
                self.process.send_signal(number)
        try:
            self.process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
            self.process.wait(10)
            raise self.failed(f"did not end within {timeout_seconds} s of SIGTERM") from None
        left = processes.wait_gone([one for one in session if one.pid != self.pid], 3.0)
        left += [one for one in processes.in_session(self.pid) if one not in left]
        for one in left:
            with suppress(ProcessLookupError):
                os.kill(one.pid, signal.SIGKILL)
        if left:
            raise self.failed(f"left processes behind: {left}")


def environment(settings: Mapping[str, object], extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment for a server with these settings: ours without POSECLUSTER_*, warnings as errors."""
    result = {name: value for name, value in os.environ.items() if not name.startswith("POSECLUSTER_")}
    paths = [str(ROOT / "inference"), str(ROOT / "common"), str(_ENGINES), result.get("PYTHONPATH", "")]
    result |= {
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "error",
    }
    models = os.environ.get("POSECLUSTER_MODEL_DIR", str(ROOT / "models"))
    values = {"host": _HOST, "model_dir": models, **DEFAULTS, **settings}
    if values.get("engine") == "stub":
        values["engine"] = STUB_ENGINE
    values.setdefault("engine_environment", ",".join(name for name in extra or {} if name.isidentifier()))
    result |= {f"POSECLUSTER_{name.upper()}": str(value) for name, value in values.items()}
    return result | dict(extra or {})


@contextmanager
def start_server(
    *,
    env: Mapping[str, str] | None = None,
    folder: Path | None = None,
    ready: bool = True,
    start_timeout_seconds: float = 30.0,
    command: tuple[str, ...] = (sys.executable, "-m", "posecluster_inference", "serve"),
    **settings: object,
) -> Iterator[ServerProcess]:
    """Start a server on free ports of 127.0.0.1 (or `host`) and end it, with all its processes, at the end.

    settings: fields of `posecluster_inference.settings.Settings` by name; `engine="stub"` takes
    tests/engines/stub_engine.py. env: more environment variables, which win. folder: where
    server.log goes (temporary by default). ready: wait for /readyz, else only for the ports.
    Raises ServerFailed, with the log, if the server ends or does not get there, or leaves a
    process behind.
    """
    home = folder or Path(tempfile.mkdtemp(prefix="posecluster-test-"))
    log_path = home / f"server-{time.monotonic_ns()}.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            command,
            env=environment(settings, env),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    server = ServerProcess(process, log_path, str(settings.get("host", _HOST)))
    try:
        server.wait_listening(start_timeout_seconds)
        if ready:
            server.wait_ready(start_timeout_seconds)
        yield server
    finally:
        try:
            server.close()
        finally:
            if folder is None:
                shutil.rmtree(home, ignore_errors=True)


def run_to_end(
    *arguments: str, env: Mapping[str, str] | None = None, timeout_seconds: float = 30.0, **settings: object
) -> "subprocess.CompletedProcess[str]":
    """Run `posecluster-inference ARGUMENTS` to its end, for starts that must fail and other commands."""
    return subprocess.run(
        [sys.executable, "-m", "posecluster_inference", *arguments],
        env=environment(settings, env),
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_seconds,
        check=False,
    )
