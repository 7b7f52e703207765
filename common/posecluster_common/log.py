"""Logging that never blocks an event loop.

Messages are constant texts, and values are fields (`extra={"fields": {...}}`). Text from other parties is
escaped and cut, so that it can neither forge a line nor flood the log.
"""

import json
import logging
import logging.handlers
import os
import queue
import threading
import time
from collections.abc import Sequence
from contextlib import suppress

LONGEST_LINE_BYTES = 4_096
_WAITING_LINES = 10_000
_LONGEST_MESSAGE = 2_048
_LONGEST_JSON_TEXTS = (_LONGEST_MESSAGE, 1_024, 256, 64)  # tried in order until the line fits
_TRACEBACK_LINES = 40
_STDERR = 2


class _Formatter(logging.Formatter):
    """Base of the formatters; `longest_value` is the maximum length of a field in characters."""

    def __init__(self, *, longest_value: int) -> None:
        super().__init__()
        self._longest_value = longest_value

    def _fields(self, record: logging.LogRecord, longest: int) -> dict[str, str | int | float]:
        fields = getattr(record, "fields", {})
        return {
            key: value if isinstance(value, int | float) else str(value)[: min(longest, self._longest_value)]
            for key, value in fields.items()
        }

    def _time(self, record: logging.LogRecord) -> str:
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        return f"{seconds}.{int(record.msecs):03d}Z"


class TextFormatter(_Formatter):
    """Formats a record as `TIME LEVEL Message key=value`, followed by its traceback, indented."""

    def format(self, record: logging.LogRecord) -> str:
        fields = self._fields(record, self._longest_value).items()
        values = "".join(f" {key}={_quoted(value)}" for key, value in fields)
        lines = [f"{self._time(record)} {record.levelname} {_plain(record.getMessage())}{values}"]
        if record.exc_text:
            lines += ["  " + _plain(line) for line in record.exc_text.splitlines()[-_TRACEBACK_LINES:]]
        return "\n".join(_cut(line) for line in lines)


class JsonFormatter(_Formatter):
    """Formats a record as one complete JSON object per line; long values are cut so that the line fits."""

    def format(self, record: logging.LogRecord) -> str:
        for longest in _LONGEST_JSON_TEXTS:
            values = {
                "time": self._time(record),
                "level": record.levelname,
                "message": record.getMessage()[:longest],
                **self._fields(record, longest),
            }
            if record.exc_text:
                values["traceback"] = record.exc_text[-2 * longest :]
            line = json.dumps(values)
            if len(line) < LONGEST_LINE_BYTES:
                return line
        return json.dumps({key: values[key] for key in ("time", "level", "message")})


def _plain(message: str) -> str:
    """Return a message on one line. Messages of libraries may quote input from clients."""
    text = message[:_LONGEST_MESSAGE]
    return text if text.isprintable() else json.dumps(text)[1:-1]


def _quoted(value: str | float) -> str:
    text = str(value)
    return text if text.isprintable() and not set(text) & set(' "=') and text else json.dumps(text)


def _cut(line: str) -> str:
    raw = line.encode("utf-8", "backslashreplace")
    return raw[: LONGEST_LINE_BYTES - 1].decode("utf-8", "ignore")


class _DroppingHandler(logging.handlers.QueueHandler):
    """Drops a record when the queue is full, so that a blocked log reader does not stop the process."""

    def enqueue(self, record: logging.LogRecord) -> None:
        with suppress(queue.Full):
            self.queue.put_nowait(record)

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        if record.exc_info:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        return record


class LogWriter(threading.Thread):
    """Writes queued records to the descriptor of stderr.

    Writing to the descriptor needs no lock of sys.stderr, for which the exit of the process could wait
    forever. logging.QueueListener is not used because it cannot be stopped while stderr is not read.
    """

    def __init__(self, formatter: logging.Formatter, *, stop_seconds: float) -> None:
        super().__init__(name="log", daemon=True)
        self.records: queue.Queue[logging.LogRecord | None] = queue.Queue(_WAITING_LINES)
        self._formatter, self._stop_seconds = formatter, stop_seconds

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
        """Write the waiting records if stderr is being read; takes at most twice `stop_seconds`."""
        with suppress(queue.Full):
            self.records.put(None, timeout=self._stop_seconds)
        self.join(self._stop_seconds)


def configure(
    form: str, *, longest_value: int, stop_seconds: float, filters: Sequence[logging.Filter] = ()
) -> LogWriter:
    """Send all logs to stderr as `text` or `json`; the caller must stop the returned writer.

    `longest_value`: maximum length of a field's value in characters. `stop_seconds`: how long the writer's
    `stop` waits for a place in a full queue, and then for the last line.
    """
    make = JsonFormatter if form == "json" else TextFormatter
    writer = LogWriter(make(longest_value=longest_value), stop_seconds=stop_seconds)
    handler = _DroppingHandler(writer.records)
    for one in filters:
        handler.addFilter(one)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    writer.start()
    return writer
