"""Log lines that never block the event loop: constant text, values as keys.

Callers' text is escaped and cut, so that no line can be forged (`fields` in `extra`).
"""

import json
import logging
import logging.handlers
import os
import queue
import threading
import time
from contextlib import suppress

_WAITING_LINES = 10_000
_LONGEST_VALUE = 128
_LONGEST_MESSAGE = 2_048
_STDERR = 2
_STOP_SECONDS = 1.0


class _Formatter(logging.Formatter):
    def _fields(self, record: logging.LogRecord) -> dict[str, str | int | float]:
        fields = getattr(record, "fields", {})
        return {
            key: value if isinstance(value, int | float) else str(value)[:_LONGEST_VALUE]
            for key, value in fields.items()
        }

    def _time(self, record: logging.LogRecord) -> str:
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        return f"{seconds}.{int(record.msecs):03d}Z"


class TextFormatter(_Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {key}={_quoted(value)}" for key, value in self._fields(record).items())
        line = f"{self._time(record)} {record.levelname} {_plain(record.getMessage())}{fields}"
        return f"{line}\n{record.exc_text}" if record.exc_text else line


class JsonFormatter(_Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": self._time(record),
            "level": record.levelname,
            "message": record.getMessage()[:_LONGEST_MESSAGE],
            **self._fields(record),
        }
        if record.exc_text:
            line["traceback"] = record.exc_text
        return json.dumps(line)


def _plain(message: str) -> str:
    """Return a message on one line: other libraries' may quote what a caller sent."""
    text = message[:_LONGEST_MESSAGE]
    return text if text.isprintable() else json.dumps(text)[1:-1]


def _quoted(value: str | float) -> str:
    text = str(value)
    return text if text.isprintable() and not set(text) & set(' "=') and text else json.dumps(text)


class _DroppingHandler(logging.handlers.QueueHandler):
    """A line that finds the queue full is dropped: a stuck log reader must not stop the server."""

    def enqueue(self, record: logging.LogRecord) -> None:
        with suppress(queue.Full):
            self.queue.put_nowait(record)

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        if record.exc_info:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        return record


class LogWriter(threading.Thread):
    """Writes queued records to stderr, by descriptor: nothing at exit can wait for a lock of its own."""

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
        """Write what is waiting, unless nobody reads it; takes a second each at most."""
        with suppress(queue.Full):
            self.records.put(None, timeout=_STOP_SECONDS)
        self.join(_STOP_SECONDS)


def configure(form: str) -> LogWriter:
    """Send all logs to stderr as `text` or `json`; the caller stops the returned writer at the end."""
    writer = LogWriter(JsonFormatter() if form == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers = [_DroppingHandler(writer.records)]
    root.setLevel(logging.INFO)
    writer.start()
    return writer
