"""`posecluster-operator run`: run the operator."""

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
    from posecluster_operator.reconcile.repairs import RepairPace
    from posecluster_operator.scaling.policy import Windows

HELP = "run the operator (each flag can also be set as a POSECLUSTER_OPERATOR_* variable)"

logger = logging.getLogger(__name__)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add a flag for each setting."""
    settings.add_flags(parser)


def execute(
    parsed: argparse.Namespace, *, windows: "Windows | None" = None, pace: "RepairPace | None" = None
) -> int:
    """Run until a signal, then exit the process; raises InvalidSetting before the start.

    `windows`, `pace`: shorter times for tests; there are no settings for them.
    """
    loaded = settings.load(os.environ, vars(parsed))
    # PID 1 of a container ignores signals without a handler, and the imports take a second.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    lines = log.configure(loaded.log_format)
    for name in settings.unknown_variables(os.environ):
        logger.warning("Ignored an unknown setting", extra={"fields": {"name": name}})
    # imports kopf and the client, 60 MiB that `--help` does not need
    from posecluster_common.descriptors import raise_limit
    from posecluster_operator import app
    from posecluster_operator.reconcile.repairs import PACE
    from posecluster_operator.scaling.policy import WINDOWS

    raise_limit()

    # Not asyncio.run, which would wait for threads that still resolve a name or read a file.
    loop = asyncio.new_event_loop()
    error: OperatorError | OSError | None = None
    code = 0
    try:
        code = loop.run_until_complete(app.run(loaded, windows=windows or WINDOWS, pace=pace or PACE))
    except (OperatorError, OSError) as raised:
        error = raised
    lines.stop()  # before the last line, which Kubernetes shows as the container's termination message
    if error is not None:
        code = refuse(getattr(error, "strerror", None) or error)
    os._exit(code)  # without waiting for kopf's thread


def _end(_number: int, _frame: FrameType | None) -> None:
    os._exit(0)
