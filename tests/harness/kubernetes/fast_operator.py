"""`posecluster-operator run` with an autoscaler that watches, remembers and waits a fifth as long.

An entry point of the tests, so that the product has no setting, flag or variable that could shorten these
times. The clock is the real one, and `holdSeconds` and `maxHoldSeconds` are as a test's spec sets them. A pod
has half a second to answer, because the machine that runs the tests is no faster.
"""

import argparse
import sys
from dataclasses import replace

from posecluster_operator.commands import run
from posecluster_operator.scaling.policy import WINDOWS

FAST = replace(WINDOWS.scaled(0.2), scrape_seconds=0.5)


def main() -> int:
    """Run it with the settings of the environment."""
    parser = argparse.ArgumentParser()
    run.add_flags(parser)
    return run.execute(parser.parse_args([]), windows=FAST)


if __name__ == "__main__":
    sys.exit(main())
