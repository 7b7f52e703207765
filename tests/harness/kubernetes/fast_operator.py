"""`posecluster-operator run` with an autoscaler that watches, remembers and waits a fifth as long.

A process of its own, so that the product has no setting, flag or variable that could shorten these times.
The clock stays, and so do `holdSeconds` and `maxHoldSeconds` of the spec, which a test chooses itself.
"""

import argparse
import sys

from posecluster_operator.autoscaler import WINDOWS
from posecluster_operator.commands import run

FACTOR = 0.2
FAST = WINDOWS.scaled(FACTOR)


def main() -> int:
    """Run it with the settings of the environment."""
    parser = argparse.ArgumentParser()
    run.add_flags(parser)
    return run.execute(parser.parse_args([]), windows=FAST)


if __name__ == "__main__":
    sys.exit(main())
