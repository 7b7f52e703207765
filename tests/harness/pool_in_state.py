"""Admission to a pool without workers, for tests of what happens before a worker gets a picture."""

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from posecluster_inference.machine.cgroup import Cgroup, MemoryUse
from posecluster_inference.machine.memory import MemoryWatch
from posecluster_inference.metrics import Metrics
from posecluster_inference.server.detection.admission import Admission
from posecluster_inference.server.workers.costs import Cost, Costs
from posecluster_inference.server.workers.jobs import Job, JobQueue
from posecluster_inference.server.workers.pool import Pool
from posecluster_inference.server.workers.quarantine import Quarantine


@dataclass
class PoolInState:
    """What admission asks of a pool, set to a state that a test needs."""

    live: int = 1
    wait: float = 0.0
    costs: Costs = field(default_factory=lambda: Costs(0.5))
    queue: JobQueue = field(default_factory=lambda: JobQueue(2))
    quarantine: Quarantine = field(default_factory=Quarantine)

    def backlog_seconds(self, caller: str, cost: Cost) -> float:
        return self.queue.backlog_seconds(caller, cost) / max(1, self.live)

    def wait_seconds(self, now: float, cost: Cost | None = None, backlog_seconds: float = 0.0) -> float:
        return self.wait

    def submit(self, job: Job) -> None:
        self.queue.put(job)


def admission_to(pool: PoolInState, *, used_percent: int = 0) -> Admission:
    """Return the admission to this pool, in a pod that uses so much of its memory limit."""
    memory = MemoryWatch(Cgroup(Path("/nonexistent")), MemoryUse(used_percent, 100))
    return Admission(cast(Pool, pool), memory, Metrics(), rng=random.Random(1))


def count(metrics: Metrics, name: str, **labels: str) -> float | None:
    """Return the value of a counter, by its name without prefix and `_total`."""
    return metrics.registry.get_sample_value(f"posecluster_{name}_total", labels)
