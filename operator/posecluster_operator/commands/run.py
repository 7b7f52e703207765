"""`posecluster-operator run`: the operator itself."""

import argparse
import asyncio
import logging
import os
import signal
from types import FrameType
from typing import TYPE_CHECKING

from posecluster_operator import log, settings
from posecluster_operator.commands import refuse
from posecluster_operator.errors import OperatorError

if TYPE_CHECKING:
    from posecluster_operator.scaling.policy import Windows

HELP = "run the operator (each flag can also be set as a POSECLUSTER_OPERATOR_* variable)"

logger = logging.getLogger(__name__)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add a flag for each setting."""
    settings.add_flags(parser)


def execute(parsed: argparse.Namespace, *, windows: "Windows | None" = None) -> int:
    """Run until a signal; raises InvalidSetting. Ends the process itself once it has begun.

    `windows`: shorter ones for tests, which no flag or variable can set.
    """
    loaded = settings.load(os.environ, vars(parsed))
    # The first process of a container ignores signals that it does not handle, and the imports take a second.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    lines = log.configure(loaded.log_format)
    for name in settings.unknown_variables(os.environ):
        logger.warning("Ignored an unknown setting", extra={"fields": {"name": name}})
    # with kopf and the client: 60 MiB that `--help` need not load
    from posecluster_common.descriptors import raise_limit
    from posecluster_operator import app
    from posecluster_operator.scaling.policy import WINDOWS

    raise_limit()

    # not asyncio.run: that would wait for threads that still look up a name or read a file
    loop = asyncio.new_event_loop()
    error: OperatorError | OSError | None = None
    code = 0
    try:
        code = loop.run_until_complete(app.run(loaded, windows=windows or WINDOWS))
    except (OperatorError, OSError) as raised:
        error = raised
    lines.stop()  # before the last line, which a pod shows as its container's message
    if error is not None:
        code = refuse(getattr(error, "strerror", None) or error)
    os._exit(code)  # kopf's thread may be busy ending; nothing of it is worth a wait, or a warning


def _end(_number: int, _frame: FrameType | None) -> None:
    os._exit(0)
