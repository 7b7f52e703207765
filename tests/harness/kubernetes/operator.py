"""The real operator as a child process: started, observed, ended and counted.

with start_operator(kubeconfig=account.kubeconfig(proxy.url), lease_namespace=namespace) as operator:
    operator.wait_leader()
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path

from harness import client, processes
from harness.kubernetes.accounts import Account
from harness.metrics import read_metric
from harness.server import ROOT

_PORT = re.compile(r'\bport"?[=:]\s*"?(\d+)')
_LOG_TAIL = 5_000
_PREFIX = "posecluster_operator_"
COMMAND = (sys.executable, "-m", "posecluster_operator", "run")
# with an autoscaler that is five times as quick; -P, because modules beside it have names of Python's own
FAST_COMMAND = (sys.executable, "-P", str(Path(__file__).with_name("fast_operator.py")))
# shorter than the operator's own, so that a killed holder does not cost a test a quarter of a minute
DEFAULTS: Mapping[str, object] = {"host": "127.0.0.1", "port": 0, "lease_seconds": 5}


class OperatorFailed(AssertionError):
    """The operator did not do what the harness waited for; the message ends with its log."""


class OperatorProcess:
    """A running operator; `door` is the proxy's for it, `account` whom it is to the API server."""

    def __init__(
        self,
        process: "subprocess.Popen[bytes]",
        log_path: Path,
        *,
        account: Account | None = None,
        door: str = "",
    ) -> None:
        self.process = process
        self.log_path = log_path
        self.account = account
        self.door = door
        self.port = 0
        self.started_seconds = time.monotonic()
        self.allow_in_log: list[str] = []
        self.secrets: list[str] = [account.token] if account else []

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def url(self) -> str:
        """Of its own port (metrics and probes), without a slash at the end."""
        if not self.port:
            self.wait_listening()
        return f"http://127.0.0.1:{self.port}"

    def logs(self) -> str:
        """All that it has written so far."""
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def ready(self) -> bool:
        """Whether /readyz answers 200 now; a refused connection is a no."""
        return self.probe("/readyz") == 200

    def probe(self, path: str) -> int:
        """Status of a probe; 0 if nothing answers."""
        try:
            return client.get(self.url + path, timeout_seconds=5).status
        except (OSError, HTTPException):
            return 0

    def leader(self) -> bool:
        """Whether it holds the Lease, as its metric says."""
        return self.metrics("leader") == 1

    def metrics(self, name: str, /, **labels: str) -> float:
        """Sum of a metric's samples that have these labels; 0 if none has, KeyError if no such metric."""
        name = name if name.startswith(_PREFIX) else _PREFIX + name
        return read_metric(self.url, name, labels)

    def rss(self) -> int:
        """Resident bytes."""
        return processes.rss(self.pid)

    def cpu_seconds(self) -> float:
        """Processor time used so far."""
        return processes.cpu_seconds(self.pid)

    def terminate(self) -> None:
        """SIGTERM; see `wait`."""
        self.process.terminate()

    def kill(self) -> None:
        """SIGKILL, and wait for its end."""
        self.process.kill()
        self.process.wait(10)

    def kill_now(self) -> None:
        """SIGKILL from the hook of a rule: no wait."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def stop(self) -> None:
        """SIGSTOP: it is there and does nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self.process.send_signal(signal.SIGCONT)

    def running(self) -> bool:
        """Whether the process has not ended."""
        return self.process.poll() is None

    def wait(self, seconds: float = 10.0) -> int:
        """Wait for its end; the exit code, or OperatorFailed when the time is over."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired as error:
            raise self.failed(f"still runs after {seconds} s") from error

    def wait_until(self, fact: Callable[[], bool], what: str, seconds: float) -> float:
        """Wait until `fact()` holds; the seconds it took. A refused or cut connection counts as not yet."""
        start = time.monotonic()
        while (passed := time.monotonic() - start) < seconds:
            with suppress(OSError, HTTPException, KeyError):
                if fact():
                    return time.monotonic() - start
            if not self.running():
                raise self.failed(f"ended with {self.process.returncode} before {what}")
            time.sleep(0.05)
        raise self.failed(f"not {what} after {passed:.1f} s")

    def wait_listening(self, seconds: float = 20.0) -> None:
        """Wait for the line `Listening ... port=N` and take the port from it."""

        def listens() -> bool:
            lines = [line for line in self.logs().splitlines() if "Listening" in line]
            found = _PORT.search(lines[-1]) if lines else None
            self.port = int(found[1]) if found else 0
            return self.port != 0

        self.wait_until(listens, "listening", seconds)

    def wait_ready(self, seconds: float = 20.0) -> float:
        """Wait until /readyz answers 200."""
        self.wait_listening(seconds)
        return self.wait_until(self.ready, "ready", seconds)

    def wait_leader(self, seconds: float = 30.0) -> float:
        """Wait until it holds the Lease."""
        self.wait_listening(seconds)
        return self.wait_until(self.leader, "leader", seconds)

    def wait_log(self, text: str, seconds: float = 10.0) -> float:
        """Wait until its log has the text."""
        return self.wait_until(lambda: text in self.logs(), f"log of {text!r}", seconds)

    def failed(self, what: str) -> OperatorFailed:
        """An error to raise, with the end of the log."""
        return OperatorFailed(f"operator {self.pid}: {what}; its log ends with:\n{self.logs()[-_LOG_TAIL:]}")

    def close(self, seconds: float = 10.0) -> None:
        """End it if it still runs, and check its log for tracebacks and tokens."""
        if self.running():
            self.resume()
            self.terminate()
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.kill()
                raise self.failed(f"did not end within {seconds} s of SIGTERM") from None
        left_over = processes.wait_gone(processes.in_session(self.pid), 2.0)
        for one in left_over:
            with suppress(ProcessLookupError):
                os.kill(one.pid, signal.SIGKILL)
        if left_over:
            raise self.failed(f"left processes behind: {left_over}")
        if found := unwanted(self.logs(), secrets=self.secrets, allowed=self.allow_in_log):
            raise self.failed(f"its log has {found}")


def unwanted(log: str, *, secrets: Sequence[str] = (), allowed: Sequence[str] = ()) -> str:
    """What a log must not have: an uncaught error or a token; "" if it is clean.

    A token's signature counts as well, and any token that our server would accept.
    """
    for text in ("Traceback", "Task exception was never retrieved", "was never awaited"):
        if text in log and text not in allowed:
            return repr(text)
    if any(secret in log or secret.rpartition(".")[2] in log for secret in secrets if secret):
        return "a token"
    if re.search(r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}", log):
        return "something like a token"
    return ""


def environment(
    kubeconfig: Path,
    *,
    namespaces: Sequence[str],
    lease_namespace: str,
    env: Mapping[str, str] | None = None,
    settings: Mapping[str, object] | None = None,
) -> dict[str, str]:
    """The environment for an operator: ours without POSECLUSTER_*, warnings as errors."""
    result = {name: value for name, value in os.environ.items() if not name.startswith("POSECLUSTER_")}
    paths = [str(ROOT / "operator"), result.get("PYTHONPATH", "")]
    result |= {
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "error",
        "KUBECONFIG": str(kubeconfig),
    }
    result.pop("POD_ID", None)
    values = {**DEFAULTS, "namespaces": ",".join(namespaces), "lease_namespace": lease_namespace}
    values |= settings or {}
    result |= {f"POSECLUSTER_OPERATOR_{name.upper()}": str(value) for name, value in values.items()}
    return result | dict(env or {})


@contextmanager
def start_operator(
    *,
    kubeconfig: Path,
    lease_namespace: str,
    namespaces: Sequence[str] = (),
    account: Account | None = None,
    door: str = "",
    folder: Path | None = None,
    env: Mapping[str, str] | None = None,
    command: tuple[str, ...] = COMMAND,
    **settings: object,
) -> Iterator[OperatorProcess]:
    """Start an operator on a free port and end it, with its log checked, at the end.

    settings: POSECLUSTER_OPERATOR_* by name in small letters; env: more variables, which win.
    """
    home = folder or Path(tempfile.mkdtemp(prefix="posecluster-operator-"))
    log_path = home / f"operator-{time.monotonic_ns()}.log"
    variables = environment(
        kubeconfig, namespaces=namespaces, lease_namespace=lease_namespace, env=env, settings=settings
    )
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            command,
            env=variables,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    operator = OperatorProcess(process, log_path, account=account, door=door)
    try:
        yield operator
    finally:
        operator.close()


# the type of the fixture `start_operator`
StartOperator = Callable[..., OperatorProcess]
