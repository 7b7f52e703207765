"""The state of the server, as probes and `/healthz` report it."""

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from time import monotonic
from typing import Any

from posecluster_inference import __version__
from posecluster_inference.machine.memory import MemoryWatch
from posecluster_inference.server.workers.jobs import JobQueue
from posecluster_inference.server.workers.process import State
from posecluster_inference.server.workers.supervisor import Supervisor
from posecluster_inference.worker.sandbox import Protection


class Status(StrEnum):
    READY = "ready"
    STARTING = "starting"
    DRAINING = "draining"
    UNAVAILABLE = "unavailable"


@dataclass(slots=True)
class Health:
    """Derives the state from the workers at each access; `begin_drain` announces a drain."""

    workers: Supervisor
    queue: JobQueue
    memory: MemoryWatch
    is_draining: bool = field(default=False, init=False)
    _started: float = field(default_factory=monotonic, init=False)

    def begin_drain(self) -> None:
        """Report the status `draining` from now on."""
        self.is_draining = True

    @property
    def status(self) -> Status:
        """READY if all workers have completed a real inference once and a worker is available now.

        A full queue does not matter: the server then refuses requests with 503, but stays in the Service.
        """
        if self.is_draining:
            return Status.DRAINING
        if not self.workers.was_ready:
            return Status.STARTING
        return Status.READY if self.workers.live else Status.UNAVAILABLE

    @property
    def is_alive(self) -> bool:
        """Whether the server can work without a restart of its container; any answer shows a running loop."""
        return not self.workers.is_beyond_repair

    def workers_by_state(self) -> dict[str, float]:
        states = self.workers.states
        return {str(state): float(states.count(state)) for state in State}

    def sandbox(self) -> dict[str, Any]:
        """Return how the workers are confined; nothing until one is ready."""
        protection = self.workers.protection
        return asdict(protection) if protection else {}

    def sandbox_layers(self) -> dict[str, float]:
        protection = self.workers.protection or Protection()
        return {"landlock": float(protection.landlock_abi), "seccomp": float(protection.seccomp)}

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
            "sandbox": self.sandbox(),
            "uptime_seconds": round(monotonic() - self._started, 3),
            "version": __version__,
        }
