"""Monitors the memory of the container, so that the server can refuse work in time."""

import asyncio
import os
from dataclasses import dataclass

from posecluster_inference.machine.cgroup import Cgroup, MemoryUse
from posecluster_inference.machine.cpu import resident_bytes

_PERIOD_SECONDS = 0.25
_CLOSE_CONNECTIONS_SHARE = 0.92
_REFUSE_SHARE = 0.95
# Memory of the server process; the rest of the limit is available to the workers.
_SERVER_BYTES = 110 << 20
# Private memory of a worker after warm-up (measured: 115 MiB). Workers share the pages of their libraries.
_WARM_WORKER_BYTES = 140 << 20
_LEAST_SHARE_BYTES = 128 << 20
_SHARE_WITHOUT_LIMIT_BYTES = 2 << 30


@dataclass(slots=True)
class MemoryWatch:
    """The most recent reading, which `run` updates four times a second."""

    cgroup: Cgroup
    use: MemoryUse | None = None

    async def run(self) -> None:
        """Update the reading periodically until cancelled."""
        while True:
            self.use = await asyncio.to_thread(self.cgroup.memory)
            await asyncio.sleep(_PERIOD_SECONDS)

    @property
    def _share(self) -> float:
        if self.use is None or not self.use.limit_bytes:
            return 0.0
        return self.use.used_bytes / self.use.limit_bytes

    @property
    def is_tight(self) -> bool:
        """Whether connections should be closed after their response."""
        return self._share >= _CLOSE_CONNECTIONS_SHARE

    @property
    def is_short(self) -> bool:
        """Whether new work must be refused."""
        return self._share >= _REFUSE_SHARE

    def describe(self, process_bytes: int) -> dict[str, int]:
        """Return used and limit in bytes; without a limit, those of our processes and of the machine."""
        if self.use is not None and self.use.limit_bytes:
            return {"used_bytes": self.use.used_bytes, "limit_bytes": self.use.limit_bytes}
        machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return {"used_bytes": process_bytes + resident_bytes(), "limit_bytes": machine}


def worker_share_bytes(limit_bytes: int | None, workers: int) -> int:
    """Return how many bytes each worker may use beyond its memory after warm-up: an equal part of the limit.

    Request bodies, cached responses and a successor that is warming up use the same memory, because workers
    rarely reach their maximum at the same time. If they do, new work is refused at 95 % of the limit.
    """
    if limit_bytes is None:
        return _SHARE_WITHOUT_LIMIT_BYTES
    free = (limit_bytes - _SERVER_BYTES) // workers - _WARM_WORKER_BYTES
    return max(_LEAST_SHARE_BYTES, free)
