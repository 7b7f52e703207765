"""Run PoseCluster's inference server, or manage its model files."""

import argparse
import asyncio
import logging
import os

from posecluster_common import log
from posecluster_common.descriptors import raise_limit
from posecluster_inference import __version__, settings
from posecluster_inference.errors import PoseClusterError
from posecluster_inference.machine import cpu, kernel
from posecluster_inference.models import cli as models_cli
from posecluster_inference.server import runtime_check

logger = logging.getLogger(__name__)

_LONGEST_VALUE = 128  # characters of a field in a log line; clients choose some of the values


def run(arguments: list[str] | None) -> int:
    """Run a command and return the exit code; raises PoseClusterError with a one-line message."""
    parser = argparse.ArgumentParser(prog="posecluster-inference", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    settings.add_flags(
        commands.add_parser(
            "serve", help="run the server (each flag can also be set as a POSECLUSTER_* variable)"
        )
    )
    models_cli.add_commands(commands.add_parser("models", help="fetch, list and verify model files"))
    parsed = parser.parse_args(arguments)
    if parsed.command == "models":
        return models_cli.run(parsed)
    return _serve(parsed)


def _serve(parsed: argparse.Namespace) -> int:
    runtime_check.check()
    from posecluster_inference.server.lifecycle import (
        serve,  # imported after the check, because an unsupported aiohttp may lack names that it imports
    )

    raise_limit()
    kernel.return_freed_memory()
    cpu.check_processor()
    loaded = settings.load(os.environ, vars(parsed))
    if loaded.sandbox == "on":
        kernel.forbid_inspection()
    try:
        lines = log.configure(loaded.log_format, longest_value=_LONGEST_VALUE, stop_seconds=1.0)
        try:
            for name in settings.unknown_variables(os.environ):
                logger.warning("Ignored an unknown setting", extra={"fields": {"name": name}})
            asyncio.run(serve(loaded))
        finally:
            lines.stop()
    except OSError as error:
        raise PoseClusterError(str(error.strerror or error)) from error
    except RuntimeError as error:
        if str(error) != cpu.NO_THREAD:
            raise
        raise PoseClusterError(f"cannot start a thread: {cpu.ALLOW_PROCESSES}") from error
    return 0
