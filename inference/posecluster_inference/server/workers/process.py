"""The server's side of a worker process: start, pipe, time limits, end."""

import asyncio
import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from typing import BinaryIO, Protocol

from posecluster_inference.machine.cpu import ALLOW_PROCESSES
from posecluster_inference.pictures import Header
from posecluster_inference.server.workers.output import WorkerOutput
from posecluster_inference.worker import wire
from posecluster_inference.worker.messages import (
    AnswerForm,
    Fatal,
    ModelInfo,
    Ready,
    WorkerAnswer,
    WorkerConfig,
    WorkerRequest,
    check_answer,
    report_of,
)
from posecluster_inference.worker.sandbox import Protection

_STOP_SECONDS = 2.0  # time for a worker to end before it is killed
# An ordinary photograph should be sent by one call; otherwise the two processes alternate in filling and
# emptying the pipe. The kernel limits this size by net.core.wmem_max.
_PIPE_BYTES = 1 << 20
_NO_SUCH_INSTRUCTION = (
    "SIGILL ended a worker at start: this processor lacks an instruction that MediaPipe, "
    "OpenCV or NumPy uses (docs/platforms.md)"
)


class State(StrEnum):
    STARTING = "starting"
    READY = "ready"
    BUSY = "busy"
    FAILED = "failed"


class Ended(StrEnum):
    """Why a worker ended; the label `cause` of `worker_restarts_total`."""

    CRASH = "crash"
    HANG = "hang"
    START = "start"
    MEMORY = "memory"
    REQUESTS = "requests"
    STOPPED = "stopped"


class Listener(Protocol):
    """Receives the events of a worker; called in the event loop."""

    def worker_ready(self, worker: "WorkerProcess") -> None: ...
    def worker_answered(self, worker: "WorkerProcess", answer: WorkerAnswer) -> None: ...
    def worker_ended(self, worker: "WorkerProcess") -> None: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """Maximum seconds that a worker may take to start and to answer a request.

    `variables` are the names of the environment variables that its engine needs.
    """

    start_seconds: float
    hang_seconds: float
    variables: tuple[str, ...] = ()


class WorkerProcess(asyncio.Protocol):
    """A Python process, connected to the server by a private socket pair.

    The process is started by exec and not forked, because the server has threads and open sockets. The pipe
    closes when the process ends, so that no signal handler or thread is needed to notice this.
    """

    def __init__(self, listener: Listener, config: WorkerConfig, limits: Limits) -> None:
        self._listener = listener
        self._config = config
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._reader = wire.FrameReader()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._popen: subprocess.Popen[bytes] | None = None
        self.state = State.STARTING
        self.ended = Ended.START
        self.fatal = ""
        self.signal = ""  # the signal that ended it during its start, except SIGKILL, which we may have sent
        self.model: ModelInfo | None = None  # None until it is ready
        self.protection = Protection()
        self.requests = 0
        self._request: WorkerRequest | None = None
        self.warm_memory_bytes = 0
        self.memory_bytes = 0
        self.busy_since = 0.0

    @property
    def pid(self) -> int:
        return self._popen.pid if self._popen else 0

    async def start(self) -> None:
        """Start the process and send its configuration; `worker_ready` or `worker_ended` follows."""
        try:
            pipe, output = self._exec()
            await self._loop.connect_read_pipe(lambda: WorkerOutput(self.pid), output)
            await self._loop.create_connection(lambda: self, sock=pipe)
        except OSError as error:  # the limit on processes, descriptors or memory is reached
            if self._popen is not None:
                self._popen.kill()
            reason = ALLOW_PROCESSES if error.errno == errno.EAGAIN else error.strerror
            self.fatal = f"Cannot start a worker process: {reason}"
            self.state = State.FAILED
            self._listener.worker_ended(self)
            return
        if self.state is State.STARTING:
            self._arm(self._limits.start_seconds, Ended.START)

    def _exec(self) -> tuple[socket.socket, BinaryIO]:
        """Start the process; return our end of its pipe, and its standard error. Raises OSError."""
        ours, theirs = socket.socketpair()
        with theirs, ExitStack() as unless_started:
            unless_started.enter_context(ours)
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _PIPE_BYTES)
            reader, writer = os.pipe()
            output = unless_started.enter_context(open(reader, "rb", buffering=0))
            with open(writer, "wb", buffering=0) as standard_error:
                self._popen = subprocess.Popen(  # noqa: S603  (executes our own code; takes 1 ms)
                    [sys.executable, "-m", "posecluster_inference.worker.main", str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=standard_error,
                    env=_environment(self._limits.variables),
                )
            unless_started.pop_all()
        return ours, output

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(wire.pack_head(self._config.head(), 0))
        if self.ended is not Ended.START:  # it was stopped before the pipe existed
            self.kill(self.ended)

    def send(self, header: Header, form: AnswerForm, picture: bytes) -> None:
        """Send a request to a ready worker."""
        assert self._transport is not None
        self.state = State.BUSY
        self.busy_since = self._loop.time()
        request = WorkerRequest(self.requests, header, form)
        self._request = request
        packed = wire.pack_head(request.head(), len(picture))
        self._transport.writelines((packed, picture))  # one call, so that the worker wakes up once
        self._arm(self._limits.hang_seconds, Ended.HANG)

    def data_received(self, data: bytes) -> None:
        try:
            for head, body in self._reader.feed(data):
                self._take(report_of(head, body))
        except wire.BrokenPipeFrame:
            self.kill(Ended.START if self.state is State.STARTING else Ended.CRASH)

    def _take(self, report: Ready | Fatal | WorkerAnswer) -> None:
        """Process a report of the worker; raises BrokenPipeFrame if it is not allowed in this state."""
        match self.state, report:
            case State.STARTING, Fatal(message):
                self.fatal = message
                self.kill(Ended.START)
            case State.STARTING, Ready(model, memory_bytes, protection):
                self._alive(memory_bytes)
                self.model, self.protection = model, protection
                self.warm_memory_bytes = memory_bytes
                self._listener.worker_ready(self)
            case State.BUSY, WorkerAnswer(request=self.requests, memory_bytes=memory_bytes):
                assert self._request is not None
                elapsed = self._loop.time() - self.busy_since
                check_answer(report, self._request, self._config.max_people, elapsed)
                self._alive(memory_bytes)
                self.requests += 1
                self._listener.worker_answered(self, report)
            case _:
                raise wire.BrokenPipeFrame("an unexpected frame")

    def _alive(self, memory_bytes: int) -> None:
        self._disarm()
        self.memory_bytes = memory_bytes
        self.ended = Ended.CRASH  # the cause if the process ends without our request
        self.state = State.READY

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        self.state = State.FAILED
        assert self._popen is not None
        self._popen.kill()
        # The kernel may need a moment to release several hundred MiB.
        exit_code = self._loop.run_in_executor(None, self._popen.wait)
        if self.ended is Ended.START:  # no request waits, and the exit code gives the reason
            exit_code.add_done_callback(self._start_failed)
        else:
            self._listener.worker_ended(self)

    def _start_failed(self, exit_code: asyncio.Future[int]) -> None:
        number = -exit_code.result()
        if number > 0 and number != signal.SIGKILL:
            self.signal = signal.Signals(number).name
        if number == signal.SIGILL:
            self.fatal = _NO_SUCH_INSTRUCTION
        self._listener.worker_ended(self)

    def _arm(self, seconds: float, cause: Ended) -> None:
        self._disarm()
        self._timer = self._loop.call_later(seconds, self.kill, cause)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def kill(self, cause: Ended) -> None:
        """Kill the process; `worker_ended` follows."""
        self.ended = cause
        self.state = State.FAILED  # nothing may be sent to it any more
        if self._popen is not None:
            self._popen.kill()
        if self._transport is not None:
            self._transport.abort()

    def stop(self, cause: Ended) -> None:
        """End an idle worker by closing its pipe; it is killed after a time limit."""
        self.ended = cause
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write_eof()
            self._arm(_STOP_SECONDS, cause)


def _environment(variables: Iterable[str]) -> dict[str, str]:
    """Return the environment of a worker, which other variables must not enter: they can be secret."""
    named = frozenset(variables)
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name in named or name in _INHERITED or name.startswith(_INHERITED_PREFIXES)
    }
    return {**inherited, **_ENVIRONMENT}


# Where Python and its packages are, and how native libraries behave
_INHERITED = frozenset({"HOME", "LANG", "LANGUAGE", "PATH", "TZ", "GLIBC_TUNABLES"})
_INHERITED_PREFIXES = ("LC_", "LD_", "PYTHON", "OPENBLAS_", "OPENCV_", "NPY_")
_ENVIRONMENT = {
    # Libraries must not create a thread per processor of the node: there is one worker per CPU of the quota.
    **{"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
    # Fixed thresholds make glibc return the memory of a large picture. By default, glibc raises them and
    # retains up to 93 MiB after 11-megapixel pictures (measured), which looks like a leak.
    **{"MALLOC_MMAP_THRESHOLD_": str(4 << 20), "MALLOC_TRIM_THRESHOLD_": str(4 << 20)},
}
