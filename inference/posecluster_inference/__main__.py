"""Entry point of the command line: `posecluster-inference`, or `python -m posecluster_inference`."""

import sys

from posecluster_inference.errors import PoseClusterError
from posecluster_inference.machine import cpu


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return the exit code; an error is reported as one line on stderr."""
    try:
        cpu.check_system()
        from posecluster_inference.commands import run  # imports modules that exist only on Linux

        return run(arguments)
    except PoseClusterError as error:
        sys.stderr.write(f"posecluster-inference: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
