"""What a worker process writes to standard error, as bounded lines of the server's log.

The standard error of a worker is a pipe and never that of the server. A worker that a picture has taken over
could otherwise flood the log, forge its lines, overwrite it if it is a file, or make it non-blocking for the
server, too, which would then lose lines.
"""

import asyncio
import logging

logger = logging.getLogger(__name__)

_PERIOD_SECONDS = 10.0
_LINES = 100  # in each period; a Python traceback has about thirty
_BYTES = 1 << 16  # in each period; then the worker waits, so that reading takes little time of the event loop
_LONGEST_LINE_BYTES = 128  # a longer line is split, because the log cuts longer values


class WorkerOutput(asyncio.Protocol):
    """Logs each line as one record with an escaped field. Lines above the limit are only counted."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.ReadTransport | None = None
        self._unfinished = b""
        self._period_ends = 0.0
        self._lines = self._bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.ReadTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        now = self._loop.time()
        if now >= self._period_ends:
            self._start_period(now)
        *lines, self._unfinished = (self._unfinished + data).split(b"\n")
        if len(self._unfinished) >= _LONGEST_LINE_BYTES:
            lines.append(self._unfinished)
            self._unfinished = b""
        for line in lines:
            for start in range(0, len(line), _LONGEST_LINE_BYTES):
                self._log(line[start : start + _LONGEST_LINE_BYTES])
        self._bytes += len(data)
        if self._bytes >= _BYTES:
            assert self._transport is not None
            self._transport.pause_reading()
            self._loop.call_at(self._period_ends, self._transport.resume_reading)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._unfinished:
            self._log(self._unfinished)
        self._report_dropped()

    def _start_period(self, now: float) -> None:
        self._report_dropped()
        self._period_ends, self._lines, self._bytes = now + _PERIOD_SECONDS, 0, 0

    def _log(self, line: bytes) -> None:
        self._lines += 1
        if self._lines <= _LINES:
            fields = {"pid": self._pid, "text": line.decode("utf-8", "backslashreplace")}
            logger.warning("Worker wrote to standard error", extra={"fields": fields})

    def _report_dropped(self) -> None:
        if self._lines > _LINES:
            fields = {"pid": self._pid, "lines": self._lines - _LINES}
            logger.warning("Dropped what a worker wrote to standard error", extra={"fields": fields})
