"""Run PoseClusters on Kubernetes: the operator, and tools that explain and simulate how it sizes them."""

import argparse
import os
import sys
from collections.abc import Mapping
from typing import Protocol

from posecluster_operator import __version__
from posecluster_operator.commands import PROGRAM, explain, refuse, run, simulate
from posecluster_operator.errors import OperatorError


class _Command(Protocol):
    """The interface of each module in `commands`."""

    HELP: str

    def add_flags(self, parser: argparse.ArgumentParser) -> None: ...

    def execute(self, parsed: argparse.Namespace) -> int: ...


_COMMANDS: Mapping[str, _Command] = {"run": run, "simulate": simulate, "explain": explain}
_INTERRUPTED = 130  # the exit code that shells use for SIGINT


def main(arguments: list[str] | None = None) -> int:
    """Execute a command and return its exit code. Errors are printed as one line on stderr."""
    parser = argparse.ArgumentParser(prog=PROGRAM, description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, command in _COMMANDS.items():
        command.add_flags(
            commands.add_parser(name, help=command.HELP, description=command.__doc__, allow_abbrev=False)
        )
    parsed = parser.parse_args(arguments)
    try:
        return _COMMANDS[parsed.command].execute(parsed)
    except OperatorError as error:
        return refuse(error)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:  # for example `| head`; Python must not flush stdout again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


if __name__ == "__main__":
    sys.exit(main())
