"""pytest plugin: servers that end with the test, and the model that most of them need."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from harness.server import ROOT, ServerProcess, start_server


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Start servers as `start_server(...)` does; all end, and are checked for leftovers, with the test."""
    with ExitStack() as stack:

        def start_one(**settings: Any) -> ServerProcess:
            return stack.enter_context(start_server(folder=tmp_path, **settings))

        yield start_one


@pytest.fixture(scope="session")
def full_model() -> Path:
    """The full model's file; skips if it was not fetched (`make models`)."""
    folder = Path(os.environ.get("POSECLUSTER_MODEL_DIR", str(ROOT / "models")))
    found = sorted(folder.glob("*full*.task"))
    if not found:
        pytest.skip(f"no full model in {folder.name}/: run make models")
    return found[0]
