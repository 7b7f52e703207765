"""`python -m posecluster_inference.models fetch|list|verify`: what `posecluster-inference models` does.

For where the server is not: the image's build fetches the files in a stage that has this package alone,
so that they are not fetched again whenever the server changes.
"""

import argparse
import sys

from posecluster_inference.models import cli


def main() -> int:
    """Run a command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m posecluster_inference.models", description=cli.__doc__)
    cli.add_commands(parser)
    return cli.run(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
