"""Log lines that never block the event loop: constant text, values as keys.

Callers' text is escaped and cut, so that no line can be forged (`fields` in `extra`).
"""

import json
import logging
import logging.handlers
import queue
import sys
import time
from contextlib import suppress

_WAITING_LINES = 10_000
_LONGEST_VALUE = 128


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
        line = f"{self._time(record)} {record.levelname} {record.getMessage()}{fields}"
        return f"{line}\n{record.exc_text}" if record.exc_text else line


class JsonFormatter(_Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": self._time(record),
            "level": record.levelname,
            "message": record.getMessage(),
            **self._fields(record),
        }
        if record.exc_text:
            line["traceback"] = record.exc_text
        return json.dumps(line)


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
            record.exc_info = None
        return record


def configure(form: str) -> logging.handlers.QueueListener:
    """Send all logs to stderr as `text` or `json`; the caller stops the returned listener at the end."""
    stream = logging.StreamHandler(sys.stderr)
    stream.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    lines: queue.Queue[logging.LogRecord] = queue.Queue(_WAITING_LINES)
    root = logging.getLogger()
    root.handlers = [_DroppingHandler(lines)]
    root.setLevel(logging.INFO)
    listener = logging.handlers.QueueListener(lines, stream)
    listener.start()
    return listener
