"""Fixtures of component tests: one server for many tests."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.server import ServerProcess, start_server
from posecluster_inference.machine.memory import worker_share_bytes

LONG = os.environ.get("POSECLUSTER_LONG") == "1"


@pytest.fixture(scope="session")
def pose_server(full_model: Path) -> Iterator[ServerProcess]:
    """One server with the full model for all tests that only send pictures: what a pod of 1 GiB has.

    Two workers with the share of memory that such a pod gives them; nothing is cached. The time
    limits are wide, because other tests may use the processors too; tests bound times themselves.
    """
    limits = {} if LONG else {"hang_limit_ms": 30_000, "deadline_ms": 40_000}
    share = worker_share_bytes(1 << 30, workers=2)
    with start_server(workers=2, cache_entries=0, worker_memory_bytes=share, **limits) as server:
        yield server


@pytest.fixture(scope="session")
def long_run() -> bool:
    """Whether POSECLUSTER_LONG=1 asks for default times and the figures marked long."""
    return LONG
