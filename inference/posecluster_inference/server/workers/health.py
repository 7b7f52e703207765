"""What probes and people are told of this server's state."""

from dataclasses import dataclass, field
from enum import StrEnum
from time import monotonic
from typing import Any

from posecluster_inference import __version__
from posecluster_inference.machine.memory import MemoryWatch
from posecluster_inference.server.workers.jobs import JobQueue
from posecluster_inference.server.workers.process import State
from posecluster_inference.server.workers.supervisor import Supervisor


class Status(StrEnum):
    READY = "ready"
    STARTING = "starting"
    DRAINING = "draining"
    UNAVAILABLE = "unavailable"


@dataclass(slots=True)
class Health:
    """Derived from the workers each time it is read; only the drain is announced, by `begin_drain`."""

    workers: Supervisor
    queue: JobQueue
    memory: MemoryWatch
    is_draining: bool = field(default=False, init=False)
    _started: float = field(default_factory=monotonic, init=False)

    def begin_drain(self) -> None:
        """Report `draining` from now on."""
        self.is_draining = True

    @property
    def status(self) -> Status:
        """Ready means: every worker has once run a real inference, and one lives now.

        Never a matter of the queue: a full one is answered with 503, not by leaving the Service.
        """
        if self.is_draining:
            return Status.DRAINING
        if not self.workers.was_ready:
            return Status.STARTING
        return Status.READY if self.workers.live else Status.UNAVAILABLE

    @property
    def is_alive(self) -> bool:
        """False when only a new container could help; that this is answered shows that the loop turns."""
        return not self.workers.is_beyond_repair

    def workers_by_state(self) -> dict[str, float]:
        states = self.workers.states
        return {str(state): float(states.count(state)) for state in State}

    def describe(self) -> dict[str, Any]:
        """Return the body of `/healthz`."""
        workers = self.workers.processes
        return {
            "status": self.status,
            "memory": self.memory.describe(sum(worker.memory_bytes for worker in workers)),
            "queue": {"length": len(self.queue), "limit": self.queue.limit},
            "workers": [
                {
                    "pid": worker.pid,
                    "state": worker.state,
                    "requests": worker.requests,
                    "memory_bytes": worker.memory_bytes,
                }
                for worker in workers
            ],
            "uptime_seconds": round(monotonic() - self._started, 3),
            "version": __version__,
        }
