"""`posecluster-operator run` with the autoscaler's windows and waits a fifth as long.

Repairs back off for seconds instead of minutes.

It is an entry point of the tests, so that the product has no setting, flag or variable that could shorten
these times. The clock is real, and `holdSeconds` and `maxHoldSeconds` are those of a test's spec. A pod still
has half a second to answer, because the machine that runs the tests is not faster.
"""

import argparse
import sys
from dataclasses import replace

from posecluster_operator.commands import run
from posecluster_operator.reconcile.repairs import PACE
from posecluster_operator.scaling.policy import WINDOWS

FAST = replace(WINDOWS.scaled(0.2), scrape_seconds=0.5)
# waits of 3, 6 and 15 s; a busy machine needs the whole minute for five repairs
FAST_PACE = replace(PACE.scaled(0.05), within_seconds=PACE.within_seconds)


def main() -> int:
    """Run it with the settings of the environment."""
    parser = argparse.ArgumentParser()
    run.add_flags(parser)
    return run.execute(parser.parse_args([]), windows=FAST, pace=FAST_PACE)


if __name__ == "__main__":
    sys.exit(main())
