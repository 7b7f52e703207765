"""The Kubernetes programs that tests run: kubectl and helm."""

import os
import shutil
from pathlib import Path

import pytest


def program(name: str) -> str | None:
    """The one in the folder that KUBEBUILDER_ASSETS names, else on PATH; None without any."""
    beside = Path(os.environ.get("KUBEBUILDER_ASSETS") or "/nonexistent") / name
    return str(beside) if beside.exists() else shutil.which(name)


def find_program(name: str) -> str:
    """As `program`, but skips the test, saying so, without any."""
    found = program(name)
    if found is None:
        pytest.skip(f"no {name}: put it on PATH, or into the folder that KUBEBUILDER_ASSETS names")
    return found
