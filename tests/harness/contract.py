"""Schemathesis in a separate process: requests from an OpenAPI document, and checks of the answers."""

import subprocess
import sys
from pathlib import Path

_CONFIG = Path(__file__).with_name("schemathesis.toml")


def run_schemathesis(
    document: str, seed: int, folder: Path, *, seconds: int, url: str = ""
) -> "subprocess.CompletedProcess[str]":
    """Run all checks on all operations for so long; `document` is an address or, with `url`, a file.

    Ends with 0 if nothing was found, else with 1 and the findings on stdout. Leaves files in `folder`.
    """
    options = {
        "--checks": "all",
        "--phases": "examples,coverage,fuzzing",
        "--max-examples": "10000",
        "--seed": str(seed),
        "--max-time": str(seconds),
        "--max-failures": "1",
        "--warnings": "off",
        "--generation-database": "none",
        **({"--url": url} if url else {}),
    }
    return subprocess.run(
        [
            str(Path(sys.executable).with_name("schemathesis")),
            *("--config-file", str(_CONFIG), "run", document),
            *(word for option in options.items() for word in option),
            *("--no-color", "--no-shrink"),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=seconds + 60,
        check=False,
    )
