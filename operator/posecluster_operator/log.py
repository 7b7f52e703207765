"""The operator's log configuration, which limits kopf's messages.

kopf logs each failed attempt of each watch. One line per minute is enough.
"""

import logging
import re
import time
from collections.abc import Callable

from posecluster_common import log

_LONGEST_VALUE = 512
_STOP_SECONDS = 0.2
_QUIET_SECONDS = 60.0
_KIND_LENGTH = 24  # the beginning of a kopf message is constant, except for counts
_DIGITS = re.compile("[0-9]+")
_MOST_KINDS = 1_000
_OF_HANDLERS = "kopf.objects"
_OF_NO_USE = (
    "OS signals are ignored",  # kopf does not run in the main thread
    "Cleanup activity is",  # the operator has no cleanup activity
)
_DENIED = "APIForbiddenError"  # repeated as long as a read is denied, which `admin.namespaces` logs once


class Calm(logging.Filter):
    """Passes one message of each kind from kopf per minute, at most as a warning, because kopf is restarted.

    Only messages about our handlers keep their tracebacks. `watch.kopf_runner` logs why kopf stopped.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._shown: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to write the record."""
        if record.name.partition(".")[0] != "kopf":
            return True
        if str(record.msg).startswith(_OF_NO_USE) or _DENIED in str(record.msg):
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


def configure(form: str) -> log.LogWriter:
    """Send all logs to stderr as `text` or `json`. The caller must stop the returned writer at exit."""
    logging.captureWarnings(capture=True)
    for name in ("kopf", "aiohttp.access", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return log.configure(form, longest_value=_LONGEST_VALUE, stop_seconds=_STOP_SECONDS, filters=[Calm()])
