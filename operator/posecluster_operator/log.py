"""Log lines that never block a loop: constant text, values as keys (`extra={"fields": {...}}`).

Others' text (the API server's, kopf's) is escaped and cut, so that no line can be forged or flood;
kopf tells of each failed attempt of each watch, which one line a minute says as well.
"""

import json
import logging
import logging.handlers
import os
import queue
import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress

LONGEST_LINE_BYTES = 4_096
_WAITING_LINES = 10_000
_LONGEST_VALUE = 512
_SHORTER_VALUES = (1_024, 256, 64)
_TRACEBACK_LINES = 40
_STDERR = 2
_STOP_SECONDS = 0.2
_QUIET_SECONDS = 60.0
_KIND_LENGTH = 24  # of kopf's messages: what comes first is constant, but for counts
_DIGITS = re.compile("[0-9]+")
_MOST_KINDS = 1_000
_OF_HANDLERS = "kopf.objects"
_OF_NO_USE = (
    "OS signals are ignored",  # kopf's thread is not the one that handles them
    "Cleanup activity is",  # only partially, or not: there is none
)


class _Formatter(logging.Formatter):
    def _fields(self, record: logging.LogRecord, longest: int) -> dict[str, str | int | float]:
        fields = getattr(record, "fields", {})
        return {
            key: value if isinstance(value, int | float) else str(value)[:longest]
            for key, value in fields.items()
        }

    def _time(self, record: logging.LogRecord) -> str:
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        return f"{seconds}.{int(record.msecs):03d}Z"


class TextFormatter(_Formatter):
    """`TIME LEVEL Message key=value`; a traceback follows, indented."""

    def format(self, record: logging.LogRecord) -> str:
        fields = self._fields(record, _LONGEST_VALUE).items()
        values = "".join(f" {key}={_quoted(value)}" for key, value in fields)
        lines = [f"{self._time(record)} {record.levelname} {_plain(record.getMessage())}{values}"]
        if record.exc_text:
            lines += ["  " + _plain(line) for line in record.exc_text.splitlines()[-_TRACEBACK_LINES:]]
        return "\n".join(_cut(line) for line in lines)


class JsonFormatter(_Formatter):
    """One object a line, whole however long its values are."""

    def format(self, record: logging.LogRecord) -> str:
        line = ""
        for longest in _SHORTER_VALUES:
            values = {
                "time": self._time(record),
                "level": record.levelname,
                "message": record.getMessage()[:longest],
                **self._fields(record, min(longest, _LONGEST_VALUE)),
            }
            if record.exc_text:
                values["traceback"] = record.exc_text[-2 * longest :]
            line = json.dumps(values)
            if len(line) < LONGEST_LINE_BYTES:
                return line
        keys = ("time", "level", "message")
        return json.dumps({key: values[key] for key in keys})


def _plain(message: str) -> str:
    """Return a message on one line."""
    text = message[:LONGEST_LINE_BYTES]
    return text if text.isprintable() else json.dumps(text)[1:-1]


def _quoted(value: str | float) -> str:
    text = str(value)
    return text if text.isprintable() and not set(text) & set(' "=') and text else json.dumps(text)


def _cut(line: str) -> str:
    raw = line.encode("utf-8", "backslashreplace")
    return raw[: LONGEST_LINE_BYTES - 1].decode("utf-8", "ignore")


class Calm(logging.Filter):
    """Lets one line of each kind of kopf's through a minute, none as an error: kopf is started again.

    Tracebacks only of our own handlers; of kopf's end, `watcher` says what the reason was.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._shown: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether the record is to be written."""
        if record.name.partition(".")[0] != "kopf":
            return True
        if str(record.msg).startswith(_OF_NO_USE):
            return False
        kind = _DIGITS.sub("", str(record.msg))[:_KIND_LENGTH]
        now = self._clock()
        if now - self._shown.get(kind, -_QUIET_SECONDS) < _QUIET_SECONDS:
            return False
        if len(self._shown) >= _MOST_KINDS:
            self._shown.clear()
        self._shown[kind] = now
        if record.name != _OF_HANDLERS:
            record.exc_info = record.exc_text = None
        if record.levelno > logging.WARNING:
            record.levelno, record.levelname = logging.WARNING, "WARNING"
        return True


class _DroppingHandler(logging.handlers.QueueHandler):
    """A line that finds the queue full is dropped: a stuck log reader must not stop the operator."""

    def enqueue(self, record: logging.LogRecord) -> None:
        with suppress(queue.Full):
            self.queue.put_nowait(record)

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        if record.exc_info:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        return record


class LogWriter(threading.Thread):
    """Writes queued records to stderr, by descriptor: nothing at exit can wait for a lock of its own.

    Not logging's QueueListener: that cannot be stopped while nobody reads stderr.
    """

    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__(name="log", daemon=True)
        self.records: queue.Queue[logging.LogRecord | None] = queue.Queue(_WAITING_LINES)
        self._formatter = formatter

    def run(self) -> None:
        while (record := self.records.get()) is not None:
            line = self._line(record)
            with suppress(OSError):
                while line:
                    line = line[os.write(_STDERR, line) :]

    def _line(self, record: logging.LogRecord) -> bytes:
        try:
            text = self._formatter.format(record)
        except (TypeError, ValueError):  # a library's message and its arguments do not fit
            text = f"{record.levelname} A log line that cannot be formatted logger={record.name}"
        return text.encode("utf-8", "backslashreplace") + b"\n"

    def stop(self) -> None:
        """Write what is waiting, unless nobody reads it; takes 0.4 s at most."""
        with suppress(queue.Full):
            self.records.put(None, timeout=_STOP_SECONDS)
        self.join(_STOP_SECONDS)


def configure(form: str) -> LogWriter:
    """Send all logs to stderr as `text` or `json`; the caller stops the returned writer at the end."""
    writer = LogWriter(JsonFormatter() if form == "json" else TextFormatter())
    handler = _DroppingHandler(writer.records)
    handler.addFilter(Calm())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    logging.captureWarnings(capture=True)
    for name in ("kopf", "aiohttp.access", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)
    writer.start()
    return writer
