"""One worker process as the server sees it: start, pipe, limits on time, end."""

import asyncio
import errno
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from posecluster_inference.machine.cpu import ALLOW_PROCESSES
from posecluster_inference.pictures import Header
from posecluster_inference.worker import wire
from posecluster_inference.worker.messages import (
    AnswerForm,
    Fatal,
    ModelInfo,
    Ready,
    WorkerAnswer,
    WorkerConfig,
    WorkerRequest,
    report_of,
)

_STOP_SECONDS = 2.0  # a worker that was told to end and has not is killed
# An ordinary photograph should go out in one call, or the two processes take turns filling and
# emptying the pipe; the kernel caps this by net.core.wmem_max.
_PIPE_BYTES = 1 << 20
_NO_SUCH_INSTRUCTION = (
    "A worker was ended by SIGILL while it started: this processor lacks an instruction that MediaPipe, "
    "OpenCV or NumPy uses (docs/platforms.md)"
)


class State(StrEnum):
    STARTING = "starting"
    READY = "ready"
    BUSY = "busy"
    FAILED = "failed"


class Ended(StrEnum):
    """Why a worker is gone; the `cause` of `worker_restarts_total`."""

    CRASH = "crash"
    HANG = "hang"
    START = "start"
    MEMORY = "memory"
    REQUESTS = "requests"
    STOPPED = "stopped"


class Listener(Protocol):
    """Who is told of a worker's life; called in the event loop."""

    def worker_ready(self, worker: "WorkerProcess") -> None: ...
    def worker_answered(self, worker: "WorkerProcess", answer: WorkerAnswer) -> None: ...
    def worker_ended(self, worker: "WorkerProcess") -> None: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds that a worker may take to start and to answer one request."""

    start_seconds: float
    hang_seconds: float


class WorkerProcess(asyncio.Protocol):
    """A spawned interpreter with a private socket pair.

    Spawned by exec, never forked: the server has threads and open sockets. The pipe's end is the
    process's end, so no signal handler, thread or resource tracker is needed to notice a death.
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
        self.signal = ""  # that ended it while it started, unless it is SIGKILL, which may be ours
        self.model: ModelInfo | None = None  # once it is ready
        self.requests = 0
        self.warm_memory_bytes = 0
        self.memory_bytes = 0
        self.busy_since = 0.0

    @property
    def pid(self) -> int:
        return self._popen.pid if self._popen else 0

    async def start(self) -> None:
        """Spawn the process and send its configuration; `worker_ready` or `worker_ended` follows."""
        try:
            await self._loop.create_connection(lambda: self, sock=self._exec())
        except OSError as error:  # no process, descriptor or memory left to spawn with
            if self._popen is not None:
                self._popen.kill()
            reason = ALLOW_PROCESSES if error.errno == errno.EAGAIN else error.strerror
            self.fatal = f"Cannot start a worker process: {reason}"
            self.state = State.FAILED
            self._listener.worker_ended(self)
            return
        if self.state is State.STARTING:
            self._arm(self._limits.start_seconds, Ended.START)

    def _exec(self) -> socket.socket:
        """Spawn the process and return our end of its pipe; raises OSError."""
        ours, theirs = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _PIPE_BYTES)
        with theirs:
            try:
                self._popen = subprocess.Popen(  # noqa: S603  (exec of ourselves; 1 ms)
                    [sys.executable, "-m", "posecluster_inference.worker.main", str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    env={**os.environ, **_ENVIRONMENT},
                )
            except OSError:
                ours.close()
                raise
        return ours

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(wire.pack_head(self._config.head(), 0))
        if self.ended is not Ended.START:  # it was stopped before there was a pipe to tell it by
            self.kill(self.ended)

    def send(self, header: Header, form: AnswerForm, picture: bytes) -> None:
        """Give a ready worker its next request."""
        assert self._transport is not None
        self.state = State.BUSY
        self.busy_since = self._loop.time()
        request = WorkerRequest(self.requests, header, form)
        packed = wire.pack_head(request.head(), len(picture))
        self._transport.writelines((packed, picture))  # one call: the worker wakes up once
        self._arm(self._limits.hang_seconds, Ended.HANG)

    def data_received(self, data: bytes) -> None:
        try:
            for head, body in self._reader.feed(data):
                self._take(report_of(head, body))
        except wire.BrokenPipeFrame:
            self.kill(Ended.START if self.state is State.STARTING else Ended.CRASH)

    def _take(self, report: Ready | Fatal | WorkerAnswer) -> None:
        """Act on what the worker sent; raises BrokenPipeFrame for what it may not send now."""
        match self.state, report:
            case State.STARTING, Fatal(message):
                self.fatal = message
                self.kill(Ended.START)
            case State.STARTING, Ready(model, memory_bytes):
                self._alive(memory_bytes)
                self.model = model
                self.warm_memory_bytes = memory_bytes
                self._listener.worker_ready(self)
            case State.BUSY, WorkerAnswer(request=self.requests, memory_bytes=memory_bytes):
                self._alive(memory_bytes)
                self.requests += 1
                self._listener.worker_answered(self, report)
            case _:
                raise wire.BrokenPipeFrame("a frame that was not expected")

    def _alive(self, memory_bytes: int) -> None:
        self._disarm()
        self.memory_bytes = memory_bytes
        self.ended = Ended.CRASH  # from here on an end that nobody asked for is one
        self.state = State.READY

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        self.state = State.FAILED
        assert self._popen is not None
        self._popen.kill()
        # the kernel may need a moment to tear down some hundred MiB
        exit_code = self._loop.run_in_executor(None, self._popen.wait)
        if self.ended is Ended.START:  # its exit code says why, and no request waits for its answer
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
        """End the process at once; `worker_ended` follows."""
        self.ended = cause
        self.state = State.FAILED  # nothing more may be sent to it
        if self._popen is not None:
            self._popen.kill()
        if self._transport is not None:
            self._transport.abort()

    def stop(self, cause: Ended) -> None:
        """Let an idle worker end by closing its pipe; it is killed if it does not."""
        self.ended = cause
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write_eof()
            self._arm(_STOP_SECONDS, cause)


_ENVIRONMENT = {
    # Nothing may size itself by the node's processors: there is a worker for each CPU of the quota.
    **{"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
    # glibc returns the memory of a large picture when it is freed. By default it raises these thresholds and
    # keeps up to 93 MiB after 11-megapixel pictures (measured), which looks like a leak.
    **{"MALLOC_MMAP_THRESHOLD_": str(4 << 20), "MALLOC_TRIM_THRESHOLD_": str(4 << 20)},
}
