"""The Kubernetes programs that tests run: kubectl and helm."""

import os
import shutil
from pathlib import Path

import pytest


def find_program(name: str) -> str:
    """The one in the folder that KUBEBUILDER_ASSETS names, else on PATH; skips, saying so, without any."""
    beside = Path(os.environ.get("KUBEBUILDER_ASSETS") or "/nonexistent") / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"no {name}: put it on PATH, or into the folder that KUBEBUILDER_ASSETS names")
    return found
