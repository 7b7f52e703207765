"""The command line: `posecluster-operator run`."""

import argparse
import asyncio
import logging
import os
import signal
import sys
from types import FrameType

from posecluster_operator import __version__, log, settings
from posecluster_operator.errors import OperatorError

logger = logging.getLogger(__name__)

_PROGRAM = "posecluster-operator"


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns the exit code. Errors are one line on stderr."""
    parser = argparse.ArgumentParser(prog=_PROGRAM, description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    settings.add_flags(
        commands.add_parser(
            "run", help="keep PoseClusters true (each flag is also a POSECLUSTER_OPERATOR_* variable)"
        )
    )
    parsed = parser.parse_args(arguments)
    try:
        loaded = settings.load(os.environ, vars(parsed))
    except OperatorError as error:
        return _refuse(error)
    return _run(loaded)


def _run(loaded: settings.Settings) -> int:
    # The first process of a container ignores signals that it does not handle, and the imports take a second.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    lines = log.configure(loaded.log_format)
    for name in settings.unknown_variables(os.environ):
        logger.warning("Ignored an unknown setting", extra={"fields": {"name": name}})
    from posecluster_operator import app  # with kopf and the client: 60 MiB that `--help` need not load

    # not asyncio.run: that would wait for threads that still look up a name or read a file
    loop = asyncio.new_event_loop()
    try:
        code = loop.run_until_complete(app.run(loaded))
    except OperatorError as error:
        code = _refuse(error)
    except OSError as error:
        code = _refuse(f"cannot listen on {loaded.host}:{loaded.port}: {error.strerror or error}")
    lines.stop()
    os._exit(code)  # kopf's thread may be busy ending; nothing of it is worth a wait, or a warning


def _end(_number: int, _frame: FrameType | None) -> None:
    os._exit(0)


def _refuse(error: object) -> int:
    sys.stderr.write(f"{_PROGRAM}: {' '.join(str(error).split())}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
