"""Starts and replaces the worker processes. Each has a slot.

Rules and where they are implemented:
- a worker that ended is replaced after a back-off, or immediately if no worker is available (`_refill`);
- a worker that has served long or grown is replaced, one at a time, once its successor is ready
(`_renew_if_worn`).
"""

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Protocol

from posecluster_inference.errors import ModelError
from posecluster_inference.metrics import Metrics
from posecluster_inference.server.workers.process import Ended, Limits, State, WorkerProcess
from posecluster_inference.worker.messages import ModelInfo, WorkerAnswer, WorkerConfig
from posecluster_inference.worker.sandbox import Protection

logger = logging.getLogger(__name__)

_RESTART_SECONDS = (0, 1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 60)
_HEALTHY_SECONDS = 300.0  # the back-off of a slot is reset if its worker did not end for this time
_BEYOND_REPAIR_STARTS = len(_RESTART_SECONDS)
_FAILED_START_SECONDS = 1.0  # delay between attempts if no worker is available and starts fail repeatedly
_FAILED_RENEWAL_SECONDS = 5.0
_START_SECONDS = 60.0
_STOP_SECONDS = 5.0
# A worker is replaced before its memory share is used up, because it grows further while its successor warms
# up.
_WORN_SHARE = 0.6


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorConfig:
    """Number and configuration of the workers, and when a worker is killed or replaced."""

    size: int
    worker: WorkerConfig
    hang_seconds: float
    recycle_requests: int
    recycle_growth_percent: int
    memory_share_bytes: int
    engine_variables: tuple[str, ...] = ()


class Owner(Protocol):
    """Assigns work to the workers; called in the event loop."""

    def workers_changed(self) -> None:
        """A worker may have become idle."""

    def worker_answered(self, worker: WorkerProcess, answer: WorkerAnswer) -> None: ...
    def worker_ended(self, worker: WorkerProcess) -> None:
        """A worker ended for any reason, so that its answers need not be trusted any longer."""

    def worker_lost(self, worker: WorkerProcess) -> None:
        """A worker ended; the job that it was processing is lost."""


@dataclass(slots=True, eq=False)
class _Slot:
    """A place for one worker; `worker` is None while a restart is scheduled."""

    worker: WorkerProcess | None = None
    successor: WorkerProcess | None = None
    deaths: int = 0
    last_death: float = 0.0
    failed_starts: int = 0
    restart: asyncio.TimerHandle | None = None
    renew_after_requests: int = 0
    renew_not_before: float = 0.0
    renew_cause: Ended = Ended.REQUESTS


@dataclass(slots=True)
class Supervisor:
    """Supervises the worker processes; `model` and `protection` are None until a worker is ready."""

    config: SupervisorConfig
    metrics: Metrics
    model: ModelInfo | None = None
    protection: Protection | None = None
    was_ready: bool = False
    is_stopping: bool = False
    _owner: Owner = field(init=False)
    _on_fatal: Callable[[ModelError], None] = field(init=False)
    _slots: list[_Slot] = field(default_factory=list)
    _all_ended: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def start(self, owner: Owner, on_fatal: Callable[[ModelError], None]) -> None:
        """Start all workers; they become ready later.

        `on_fatal` is called with an error that a restart would not fix, unless all workers have been ready
        before.
        """
        self._owner, self._on_fatal = owner, on_fatal
        self._slots = [_Slot() for _ in range(self.config.size)]
        for slot in self._slots:
            slot.worker = self._spawn()

    async def stop(self) -> None:
        """End all workers; those that do not end in time are killed."""
        self.is_stopping = True
        for slot in self._slots:
            if slot.restart is not None:
                slot.restart.cancel()
            for worker in (slot.worker, slot.successor):
                if worker is not None:
                    worker.stop(Ended.STOPPED)
        with suppress(TimeoutError):
            async with asyncio.timeout(_STOP_SECONDS if self.processes else 0):
                await self._all_ended.wait()

    # --- state ---

    @property
    def processes(self) -> list[WorkerProcess]:
        """All worker processes, including successors."""
        both = ((slot.worker, slot.successor) for slot in self._slots)
        return [worker for pair in both for worker in pair if worker is not None]

    @property
    def states(self) -> list[State]:
        """The state of each slot; FAILED while a restart is scheduled."""
        return [slot.worker.state if slot.worker else State.FAILED for slot in self._slots]

    @property
    def ready(self) -> list[WorkerProcess]:
        """The workers that can start a job now; empty while stopping."""
        if self.is_stopping:
            return []
        return [s.worker for s in self._slots if s.worker is not None and s.worker.state is State.READY]

    @property
    def busy(self) -> list[WorkerProcess]:
        return [s.worker for s in self._slots if s.worker is not None and s.worker.state is State.BUSY]

    @property
    def live(self) -> int:
        """Number of workers that are ready or busy."""
        return sum(state in (State.READY, State.BUSY) for state in self.states)

    @property
    def is_beyond_repair(self) -> bool:
        """Whether no worker is available and the last 12 starts in each slot have failed.

        Crashes during requests do not count, because the same pictures would crash the workers of a new
        container.
        """
        return self.live == 0 and all(slot.failed_starts >= _BEYOND_REPAIR_STARTS for slot in self._slots)

    # --- called by the worker processes (process.Listener) ---

    def worker_ready(self, worker: WorkerProcess) -> None:
        slot = self._slot_of(worker)
        assert slot is not None
        slot.failed_starts = 0
        self.model = worker.model
        self._note_protection(worker.protection)
        spread = 0.1 * self.config.recycle_requests
        slot.renew_after_requests = round(self.config.recycle_requests + random.uniform(-spread, spread))  # noqa: S311
        fields = {"pid": worker.pid, "memory_bytes": worker.memory_bytes}
        logger.info("Worker ready", extra={"fields": fields})
        if worker is slot.successor:
            self._replace_by_successor(slot)
        self.was_ready = self.was_ready or self.live == self.config.size
        self._owner.workers_changed()

    def worker_answered(self, worker: WorkerProcess, answer: WorkerAnswer) -> None:
        slot = self._slot_of(worker)
        assert slot is not None
        self._renew_if_worn(slot)
        self._owner.worker_answered(worker, answer)

    def worker_ended(self, worker: WorkerProcess) -> None:
        self._owner.worker_ended(worker)
        slot = self._slot_of(worker)
        if slot is None:
            return  # its successor already has the slot
        if worker is slot.successor:
            slot.successor = None
            slot.renew_not_before = asyncio.get_running_loop().time() + _FAILED_RENEWAL_SECONDS
            self._note_end()
            fields = {"pid": worker.pid, "error": worker.fatal}
            logger.warning("Successor failed to start", extra={"fields": fields})
            return
        slot.worker = None
        self._note_end()
        if not self.is_stopping:
            fields = {"pid": worker.pid, "cause": worker.ended, "requests": worker.requests}
            if worker.fatal:
                fields["error"] = worker.fatal
            if worker.signal:
                fields["signal"] = worker.signal
            logger.warning("Worker ended", extra={"fields": fields})
            self.metrics.worker_restarts.labels(worker.ended).inc()
        self._owner.worker_lost(worker)
        if worker.fatal and not self.was_ready:
            self._on_fatal(ModelError(worker.fatal))
        if not self.is_stopping:
            self._refill(slot, worker.ended)
            self._owner.workers_changed()

    # --- starting and replacing workers ---

    def _spawn(self) -> WorkerProcess:
        config = self.config
        limits = Limits(_START_SECONDS, config.hang_seconds, config.engine_variables)
        worker = WorkerProcess(self, config.worker, limits)
        task = asyncio.get_running_loop().create_task(worker.start())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return worker

    def _slot_of(self, worker: WorkerProcess) -> _Slot | None:
        return next((slot for slot in self._slots if worker in (slot.worker, slot.successor)), None)

    def _refill(self, slot: _Slot, ended: Ended) -> None:
        if slot.successor is not None:
            slot.worker, slot.successor = slot.successor, None
            return
        loop = asyncio.get_running_loop()
        if loop.time() - slot.last_death > _HEALTHY_SECONDS:
            slot.deaths = 0
        delay = _RESTART_SECONDS[min(slot.deaths, len(_RESTART_SECONDS) - 1)]
        slot.deaths += 1
        slot.failed_starts += ended is Ended.START
        slot.last_death = loop.time()
        slot.restart = loop.call_later(delay, self._restart, slot)
        if not any(other.worker for other in self._slots):
            # No worker is available, so a back-off would only extend the outage.
            soonest = min(self._slots, key=lambda other: other.deaths)
            if soonest.restart is not None:
                soonest.restart.cancel()
            pause = _FAILED_START_SECONDS if soonest.failed_starts > 1 else 0
            soonest.restart = loop.call_later(pause, self._restart, soonest)

    def _restart(self, slot: _Slot) -> None:
        slot.restart = None
        if slot.worker is None and not self.is_stopping:
            slot.worker = self._spawn()

    def _renew_if_worn(self, slot: _Slot) -> None:
        worker = slot.worker
        assert worker is not None
        if slot.successor is not None:
            if slot.successor.state is State.READY:
                self._replace_by_successor(slot)
            return
        if self.is_stopping or asyncio.get_running_loop().time() < slot.renew_not_before:
            return
        cause = self._worn(worker, slot)
        if cause and not any(other.successor for other in self._slots):
            slot.renew_cause = cause
            slot.successor = self._spawn()

    def _replace_by_successor(self, slot: _Slot) -> None:
        old = slot.worker
        if old is not None and old.state is State.BUSY:
            return  # `_renew_if_worn` replaces it after its answer
        slot.worker, slot.successor = slot.successor, None
        if old is not None:
            self.metrics.worker_restarts.labels(slot.renew_cause).inc()
            old.stop(slot.renew_cause)

    def _worn(self, worker: WorkerProcess, slot: _Slot) -> Ended | None:
        config = self.config
        grown = worker.memory_bytes - worker.warm_memory_bytes
        limit = worker.warm_memory_bytes * config.recycle_growth_percent / 100
        if config.recycle_growth_percent and worker.memory_bytes > limit:
            return Ended.MEMORY
        if grown > _WORN_SHARE * config.memory_share_bytes:
            return Ended.MEMORY
        if config.recycle_requests and worker.requests >= slot.renew_after_requests:
            return Ended.REQUESTS
        return None

    def _note_protection(self, protection: Protection) -> None:
        """Record how the workers are confined, and log once if a layer is missing."""
        if self.protection is None and not (protection.landlock_abi and protection.seccomp):
            switched_off = not self.config.worker.sandbox
            reason = "switched off" if switched_off else "not offered by the kernel or the container runtime"
            fields = {**asdict(protection), "reason": reason}
            logger.warning("Workers are not fully sandboxed", extra={"fields": fields})
        self.protection = protection

    def _note_end(self) -> None:
        if self.is_stopping and not self.processes:
            self._all_ended.set()
