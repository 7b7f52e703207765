"""Reads the CPU quota and the memory limit of this container from cgroup v1 or v2 files.

A container sees its own group at the root of the mount. A process outside of a container finds the path of
its group in /proc/self/cgroup; the smallest limit of this group and its ancestors applies.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from pathlib import Path

_DIGITS = 20  # digits of the largest 64-bit number
_UNLIMITED_BYTES = 1 << 60  # v1 reports a huge number of bytes if there is no limit


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """Bytes in use, without the page cache that the kernel can drop, and the limit (None: unlimited)."""

    used_bytes: int
    limit_bytes: int | None


@dataclass(frozen=True, slots=True)
class Cgroup:
    """Reads files below `root`, normally /sys/fs/cgroup; missing or unreadable files mean no limit."""

    root: Path

    def cpus(self) -> float | None:
        """Return the CPU quota in CPUs; None if there is no quota."""
        quotas = [quota for folder in self._folders("cpu") if (quota := _cpu_quota(folder)) is not None]
        return min(quotas, default=None)

    def workers(self) -> int:
        """Return the number of workers that can compute concurrently: the quota, rounded up, or the CPUs."""
        allowed = allowed_cpus()
        quota = self.cpus()
        return allowed if quota is None else max(1, min(allowed, ceil(quota)))

    def memory(self) -> MemoryUse | None:
        """Return use and limit of the group with the smallest limit; None if no group has a limit."""
        tightest: MemoryUse | None = None
        for folder in self._folders("memory"):
            use = _memory_use(folder)
            if (
                use
                and use.limit_bytes
                and (tightest is None or use.limit_bytes < (tightest.limit_bytes or 0))
            ):
                tightest = use
        return tightest

    def _folders(self, controller: str) -> Iterator[Path]:
        for mount in (self.root, self.root / controller):
            yield mount
            for path in _own_paths(controller):
                folder = mount / path
                while folder != mount and mount in folder.parents:
                    yield folder
                    folder = folder.parent


def allowed_cpus() -> int:
    """Return how many CPUs this process may be scheduled on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _own_paths(controller: str) -> list[str]:
    try:
        lines = Path("/proc/self/cgroup").read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return []
    entries = [line.split(":", 2) for line in lines]
    return [
        path.strip("/")
        for _number, controllers, path in entries
        if (not controllers or controller in controllers.split(",")) and ".." not in path
    ]


def _numbers(path: Path) -> list[int | None] | None:
    """Return the numbers in a file, with None for a word such as `max`; None if it cannot be read."""
    try:
        words = path.read_bytes().split()
    except OSError:
        return None
    return [_number(word) for word in words]


def _number(word: bytes) -> int | None:
    return int(word) if word.isdigit() and len(word) <= _DIGITS else None


def _cpu_quota(folder: Path) -> float | None:
    pair = _numbers(folder / "cpu.max")
    if pair is None:
        quota = _numbers(folder / "cpu.cfs_quota_us")
        period = _numbers(folder / "cpu.cfs_period_us")
        pair = (quota or [None]) + (period or [None])
    match pair:
        case [int(quota_us), int(period_us)] if quota_us > 0 and period_us > 0:
            return quota_us / period_us
    return None


def _memory_use(folder: Path) -> MemoryUse | None:
    for limit_file, usage_file, cache_key in (
        ("memory.max", "memory.current", b"inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", b"total_inactive_file"),
    ):
        limit = _numbers(folder / limit_file)
        usage = _numbers(folder / usage_file)
        if limit and usage and usage[0] is not None:
            bounded = limit[0] if limit[0] is not None and limit[0] < _UNLIMITED_BYTES else None
            return MemoryUse(max(0, usage[0] - _droppable(folder, cache_key)), bounded)
    return None


def _droppable(folder: Path, key: bytes) -> int:
    try:
        lines = (folder / "memory.stat").read_bytes().splitlines()
    except OSError:
        return 0
    values = (line.removeprefix(key).strip() for line in lines if line.startswith(key + b" "))
    return next((number for value in values if (number := _number(value)) is not None), 0)
