"""One module per command: `HELP`, `add_flags(parser)` and `execute(parsed)`, which returns the exit code.

Expensive imports are inside `execute`, so that `--help` is fast. Errors are raised as OperatorError, which
`refuse` prints as one line on stderr.
"""

import sys

PROGRAM = "posecluster-operator"


def refuse(error: object) -> int:
    """Print the error as one line on stderr, and return the exit code."""
    sys.stderr.write(f"{PROGRAM}: {' '.join(str(error).split())}\n")
    return 1
