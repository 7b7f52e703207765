"""The operator's process without an API server: it waits, reports that, and ends on SIGTERM."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

import posecluster_operator
from harness.admin_crowd import crowd
from harness.limits import descriptor_limits, limited
from posecluster_common.admin_port import MAX_CONNECTIONS

pytestmark = pytest.mark.component

FOLDER = str(Path(posecluster_operator.__file__).parents[1])
KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: nowhere
contexts: [{name: nowhere, context: {cluster: nowhere, user: nobody}}]
clusters: [{name: nowhere, cluster: {server: "http://127.0.0.1:%s"}}]
users: [{name: nobody, user: {token: secret}}]
"""
START_SECONDS = 30  # of imports, on a busy machine
STOP_SECONDS = 2  # one, and what a busy machine adds

Operator = subprocess.Popen[str]
Start = Callable[..., Operator]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start operators; remaining processes are killed at the end, their log is in `stderr`."""
    started: list[Operator] = []

    def start(*flags: str, kubeconfig: Path | None = None, **limits: int) -> Operator:
        environment = {name: text for name, text in os.environ.items() if "POSECLUSTER" not in name}
        environment |= {"PYTHONPATH": FOLDER, "KUBECONFIG": str(kubeconfig or tmp_path / "none")}
        command = (sys.executable, "-W", "error", "-m", "posecluster_operator", "run", "--host", "127.0.0.1")
        command = limited(command, **limits) if limits else command
        started.append(
            subprocess.Popen([*command, *flags], env=environment, stderr=subprocess.PIPE, text=True)
        )
        return started[-1]

    yield start
    for operator in started:
        operator.kill()
        operator.communicate()


@pytest.fixture
def silent_server() -> Iterator[int]:
    """A port where connections are taken and never answered."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def refusing_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


@pytest.fixture(params=["silent", "refusing"])
def kubeconfig(
    request: pytest.FixtureRequest, tmp_path: Path, silent_server: int, refusing_port: int
) -> Path:
    path = tmp_path / "kubeconfig"
    path.write_text(
        KUBECONFIG % (silent_server if request.param == "silent" else refusing_port), encoding="utf-8"
    )
    return path


def listening(operator: Operator) -> str:
    """Wait for the line that names the port."""
    assert operator.stderr is not None
    line = operator.stderr.readline()
    found = re.search(r"Listening host=127\.0\.0\.1 port=(\d+)", line)
    assert found, line
    return f"http://127.0.0.1:{found[1]}"


def probe(url: str) -> tuple[int, str]:
    answer = httpx.get(url, timeout=5, trust_env=False)
    return answer.status_code, answer.text


def stop(operator: Operator, number: signal.Signals = signal.SIGTERM) -> tuple[int, float, str]:
    began = time.monotonic()
    operator.send_signal(number)
    operator.send_signal(number)
    _, text = operator.communicate(timeout=START_SECONDS)
    return operator.returncode, time.monotonic() - began, text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_while_the_api_server_is_away_it_is_alive_and_can_be_stopped(
    start: Start, kubeconfig: Path, number: signal.Signals
) -> None:
    operator = start("--port", "0", kubeconfig=kubeconfig)
    url = listening(operator)
    assert probe(f"{url}/livez") == (200, "ok\n")
    status, reason = probe(f"{url}/readyz")
    assert status == 503
    assert reason in {"connecting to the API server\n", "checking the operator's permissions\n"}
    assert "posecluster_operator_leader 0.0" in probe(f"{url}/metrics")[1]
    code, seconds, text = stop(operator, number)
    assert code == 0
    assert seconds < STOP_SECONDS
    assert "Traceback" not in text
    assert "secret" not in text
    assert text.splitlines()[-1].endswith("INFO Stopped")


@pytest.mark.smoke
def test_a_missing_kubeconfig_ends_the_start_in_one_line(start: Start) -> None:
    operator = start("--port", "0")
    listening(operator)
    _, text = operator.communicate(timeout=START_SECONDS)
    assert operator.returncode == 1
    assert "Traceback" not in text
    last = text.splitlines()[-1]
    assert last.startswith("posecluster-operator: ")
    assert "KUBECONFIG=" in last


def test_a_taken_port_ends_the_start_in_one_line(start: Start, silent_server: int, kubeconfig: Path) -> None:
    operator = start("--port", str(silent_server), kubeconfig=kubeconfig)
    _, text = operator.communicate(timeout=START_SECONDS)
    assert operator.returncode == 1
    (line,) = text.splitlines()
    assert line.startswith(f"posecluster-operator: cannot listen on 127.0.0.1:{silent_server}: ")
    assert line.endswith("; choose another port with POSECLUSTER_OPERATOR_PORT")


def test_the_soft_limit_on_descriptors_is_raised(start: Start, kubeconfig: Path) -> None:
    operator = start("--port", "0", kubeconfig=kubeconfig, soft=256)
    listening(operator)
    _, hard = descriptor_limits(os.getpid())
    assert descriptor_limits(operator.pid) == (hard, hard)


def test_too_few_descriptors_end_the_start_in_one_line(start: Start, kubeconfig: Path) -> None:
    operator = start("--port", "0", kubeconfig=kubeconfig, soft=64, hard=64)
    _, text = operator.communicate(timeout=START_SECONDS)
    assert operator.returncode == 1
    [line] = text.splitlines()
    assert line.startswith("posecluster-operator: The limit on open files is 64, ")
    assert "needs at least 197" in line


def test_an_unknown_setting_is_reported_without_its_value(kubeconfig: Path) -> None:
    command = [sys.executable, "-m", "posecluster_operator", "run", "--port", "0", "--host", "127.0.0.1"]
    environment = {
        "PYTHONPATH": FOLDER,
        "KUBECONFIG": str(kubeconfig),
        "POSECLUSTER_OPERATOR_WORKER": "hunter2",
    }
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as operator:
        assert operator.stderr is not None
        line = operator.stderr.readline()
        operator.kill()
    assert line.endswith("WARNING Ignored an unknown setting name=POSECLUSTER_OPERATOR_WORKER\n")


def test_probes_are_answered_beside_slow_clients(start: Start, kubeconfig: Path) -> None:
    url = urlsplit(listening(start("--port", "0", kubeconfig=kubeconfig)))
    assert url.hostname is not None
    assert url.port is not None
    with crowd((url.hostname, url.port), "/livez", size=100) as slow:
        assert slow.alive() <= MAX_CONNECTIONS
        assert max(slow.slowest_probe(path) for path in ("/livez", "/metrics", "/explain/a/b")) <= 0.5
        assert slow.seconds_until_gone(30) <= 16
