"""The operator's log, in which kopf's messages are few and calm.

kopf logs each failed attempt of each watch; one line a minute says as much.
"""

import logging
import re
import time
from collections.abc import Callable

from posecluster_common import log

_LONGEST_VALUE = 512
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


def configure(form: str) -> log.LogWriter:
    """Send all logs to stderr as `text` or `json`; the caller stops the returned writer at the end."""
    logging.captureWarnings(capture=True)
    for name in ("kopf", "aiohttp.access", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return log.configure(form, longest_value=_LONGEST_VALUE, stop_seconds=_STOP_SECONDS, filters=[Calm()])
