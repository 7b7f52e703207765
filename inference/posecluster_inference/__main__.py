"""The command line's entry: `posecluster-inference`, or `python -m posecluster_inference`."""

import sys

from posecluster_inference.errors import PoseClusterError
from posecluster_inference.machine import cpu


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns the exit code. Errors are one line on stderr."""
    try:
        cpu.check_system()
        from posecluster_inference.commands import run  # not before: it imports what only Linux has

        return run(arguments)
    except PoseClusterError as error:
        sys.stderr.write(f"posecluster-inference: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
