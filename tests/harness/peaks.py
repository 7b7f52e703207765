"""Peaks of a server during an action: its memory, and how long other callers wait."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPException

from harness import client
from harness.background import repeating
from harness.server import ServerProcess

_EVERY_SECONDS = 0.01


@dataclass(slots=True)
class MemoryPeak:
    """Resident bytes: of the server process, and of all its processes, shared pages counted each time."""

    start: int
    start_all: int
    peak: int
    peak_all: int
    samples: int = 0

    @property
    def growth(self) -> int:
        return self.peak - self.start

    @property
    def growth_all(self) -> int:
        return self.peak_all - self.start_all


@contextmanager
def memory_peak(server: ServerProcess) -> Iterator[MemoryPeak]:
    """Sample the memory until the end of the block."""
    own, every = server.rss(), server.rss_with_workers()
    seen = MemoryPeak(own, every, own, every)

    def sample() -> None:
        with suppress(ProcessLookupError):
            seen.peak = max(seen.peak, server.rss())
            seen.peak_all = max(seen.peak_all, server.rss_with_workers())
            seen.samples += 1

    with repeating(sample, every_seconds=_EVERY_SECONDS):
        yield seen


@dataclass(slots=True)
class Waits:
    """Seconds that each /healthz on the client port took; `failed` are those without an answer."""

    seconds: list[float] = field(default_factory=list)
    failed: int = 0


@contextmanager
def waits(server: ServerProcess) -> Iterator[Waits]:
    """Ask /healthz on the client port, one after the other, until the end of the block."""
    seen = Waits()

    def ask() -> None:
        start = time.monotonic()
        try:
            client.get(server.url + "/healthz", timeout_seconds=10)
        except (OSError, HTTPException):
            seen.failed += 1
        else:
            seen.seconds.append(time.monotonic() - start)

    with repeating(ask, every_seconds=_EVERY_SECONDS):
        yield seen
