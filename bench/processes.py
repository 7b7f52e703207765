"""Programs that a benchmark runs in parallel; each is ended by its process id."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.picture import unique

_START_SECONDS = 60
ROOT = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True)
class Server:
    """A server under test; `ready_seconds` from exec to the first ready answer."""

    port: int
    pid: int
    ready_seconds: float

    def memory(self) -> dict[str, float]:
        """Return resident MB of the server and of its largest worker."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        workers = [_resident_mb(int(pid)) for pid in children]
        return {"server_mb": _resident_mb(self.pid), "worker_mb": max(workers, default=0.0)}


def _resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@contextmanager
def ours(workers: int, log: Path, **settings: str) -> Iterator[Server]:
    """Run our server on free ports, with these variables and the defaults for everything else."""
    environment = {
        **os.environ,
        "POSECLUSTER_HOST": "127.0.0.1",
        "POSECLUSTER_PORT": "0",
        "POSECLUSTER_ADMIN_PORT": "0",
        "POSECLUSTER_WORKERS": str(workers),
        "POSECLUSTER_MODEL_DIR": str(ROOT / "models"),
        **settings,
    }
    started = time.perf_counter()
    with log.open("w") as lines:
        process = subprocess.Popen(
            [sys.executable, "-m", "posecluster_inference", "serve"], stderr=lines, env=environment
        )
    try:
        ports: re.Match[str] | None = None
        while ports is None:
            ports = re.search(r"Listening .*?port=(\d+) admin_port=(\d+)", log.read_text())
            _wait(started, process)
        while not _is_ready(int(ports[2])):
            _wait(started, process)
        yield Server(int(ports[1]), process.pid, time.perf_counter() - started)
    finally:
        _end(process, interrupt=True)


@contextmanager
def plain(model: Path, picture: bytes, port: int) -> Iterator[Server]:
    """Run the plain server."""
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "bench.plain_server", str(model), str(port)], cwd=ROOT)
    try:
        while not _answers(port, picture):
            _wait(started, process)
        yield Server(port, process.pid, time.perf_counter() - started)
    finally:
        _end(process, interrupt=True)


def bare(model: Path, picture: Path, processes: int, seconds: float) -> list[dict[str, float]]:
    """Run bare landmarkers side by side, started together; returns what each of them printed."""
    command = [sys.executable, "-m", "bench.bare", str(model), str(picture), str(seconds)]
    running = [
        subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(processes)
    ]
    try:
        for process in running:
            assert process.stdout is not None
            process.stdout.readline()
        for process in running:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        return [json.loads(process.communicate(timeout=seconds + _START_SECONDS)[0]) for process in running]
    finally:
        for process in running:
            _end(process)


def wrk(port: int, picture: Path, seconds: int, connections: int, first: int) -> dict[str, float]:
    """Run the closed loop; returns requests a second and latencies in milliseconds."""
    environment = {**os.environ, "BENCH_PICTURE": str(picture), "BENCH_START": str(first)}
    script = str(ROOT / "bench" / "unique.lua")
    url = f"http://127.0.0.1:{port}/v1/detect"
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", script, url]
    text = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    assert "Non-2xx" not in text, text
    found = dict(re.findall(r"^\s+(\d+)%\s+([\d.]+(?:us|ms|s))$", text, re.MULTILINE))
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    assert rate is not None, text
    return {"rate": float(rate[1])} | {f"p{share}_ms": _milliseconds(value) for share, value in found.items()}


def one_client(port: int, model: Path, picture: Path, seconds: float, first: int) -> dict[str, float]:
    """Run the single client, which compares with a bare landmarker of its own."""
    figures: dict[str, float] = _run("bench.one_client", port, model, picture, seconds, first)
    return figures


def open_loop(port: int, picture: Path, rate: float, seconds: float, first: int) -> dict[str, Any]:
    """Run the open loop."""
    return _run("bench.open_loop", port, picture, rate, seconds, first)


def _run(module: str, *arguments: object) -> dict[str, Any]:
    """Run a module of ours to its end; returns the JSON object that it prints."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    text = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    result: dict[str, Any] = json.loads(text)
    return result


def _milliseconds(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()  # type: ignore[union-attr]
    return float(number) * {"us": 0.001, "ms": 1, "s": 1000}[unit]


def _is_ready(admin_port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{admin_port}/readyz", timeout=1):
            return True
    except OSError:
        return False


def _answers(port: int, picture: bytes) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/detect", unique(picture, 0), timeout=5):
            return True
    except OSError:
        return False


def _wait(started: float, process: "subprocess.Popen[Any]") -> None:
    assert process.poll() is None, "the server ended"
    assert time.perf_counter() - started < _START_SECONDS, "the server did not start in time"
    time.sleep(0.01)


def _end(process: "subprocess.Popen[Any]", *, interrupt: bool = False) -> None:
    if process.poll() is None:
        process.send_signal(2 if interrupt else 9)
        process.wait(timeout=30)
