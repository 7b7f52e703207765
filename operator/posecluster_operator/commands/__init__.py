"""One module a command: `HELP`, `add_flags(parser)` and `execute(parsed)`, which returns the exit code.

What a command needs is imported inside `execute`, so that `--help` is quick. What goes wrong is raised as
OperatorError; `refuse` makes one line on stderr of it.
"""

import sys

PROGRAM = "posecluster-operator"


def refuse(error: object) -> int:
    """Say on stderr, in one line, why a command ends; return its exit code."""
    sys.stderr.write(f"{PROGRAM}: {' '.join(str(error).split())}\n")
    return 1
