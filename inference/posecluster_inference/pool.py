"""The supervised pool: W slots, a worker process in each, work from one queue.

Rules, each in one place:
- an idle worker takes the job that has waited longest (`_dispatch`);
- a crash costs the request it held one retry, a hang costs that request (`_settle_lost_job`);
- a dead worker's slot is filled again after a back-off, at once while no worker lives (`_refill`);
- a worn worker is renewed one at a time, its successor warm first (`_renew_if_worn`).
"""

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from posecluster_inference import wire
from posecluster_inference.errors import ModelError, Reason, Refusal
from posecluster_inference.jobs import Answer, Job, JobQueue
from posecluster_inference.metrics import Metrics
from posecluster_inference.process import Ended, Limits, State, WorkerProcess
from posecluster_inference.quarantine import Quarantine

logger = logging.getLogger(__name__)

_RESTART_SECONDS = (0, 1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 60)
_HEALTHY_SECONDS = 300.0  # after this long without a death a slot's back-off starts anew
_BEYOND_REPAIR_STARTS = len(_RESTART_SECONDS)
_FAILED_START_SECONDS = 1.0  # between tries when no worker lives and starting one fails again and again
_FAILED_RENEWAL_SECONDS = 5.0
_START_SECONDS = 60.0
_STOP_SECONDS = 5.0
# renew a worker well before its memory share is used up: it goes on growing while its successor warms
_WORN_SHARE = 0.6
_SERVICE_TIME_WEIGHT = 0.1  # of the newest sample in the moving average


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolConfig:
    """`worker` goes to each process as it is; see worker.Worker for its keys."""

    size: int
    worker: dict[str, Any]
    hang_seconds: float
    recycle_requests: int
    recycle_growth_percent: int
    memory_share_bytes: int


@dataclass(slots=True, eq=False)
class Slot:
    """A place for one worker; `worker` is None while its restart is being waited for."""

    worker: WorkerProcess | None = None
    successor: WorkerProcess | None = None
    job: Job | None = None
    deaths: int = 0
    last_death: float = 0.0
    failed_starts: int = 0
    restart: asyncio.TimerHandle | None = None
    renew_after_requests: int = 0
    renew_not_before: float = 0.0
    renew_cause: Ended = Ended.REQUESTS


@dataclass(slots=True)
class Pool:
    """Keeps `config.size` workers alive and gives them the queue's jobs."""

    config: PoolConfig
    queue: JobQueue
    metrics: Metrics
    quarantine: Quarantine = field(default_factory=Quarantine)
    on_fatal: Callable[[ModelError], None] = lambda error: None
    service_seconds: float = 0.1
    model: dict[str, Any] = field(default_factory=dict)
    was_ready: bool = False
    _slots: list[Slot] = field(default_factory=list)
    _stopping: bool = False
    _all_ended: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def start(self) -> None:
        """Spawn all workers; they become ready later."""
        self._slots = [Slot() for _ in range(self.config.size)]
        for slot in self._slots:
            slot.worker = self._spawn()

    async def stop(self) -> None:
        """End all workers, which must be idle by now or are killed; bounded in time."""
        self._stopping = True
        for slot in self._slots:
            if slot.restart is not None:
                slot.restart.cancel()
            for worker in (slot.worker, slot.successor):
                if worker is not None:
                    worker.stop(Ended.STOPPED)
        with suppress(TimeoutError):
            async with asyncio.timeout(_STOP_SECONDS if self.workers else 0):
                await self._all_ended.wait()

    # --- what others ask ---

    @property
    def workers(self) -> list[WorkerProcess]:
        """Every process there is, successors too."""
        both = ((slot.worker, slot.successor) for slot in self._slots)
        return [worker for pair in both for worker in pair if worker is not None]

    @property
    def states(self) -> list[State]:
        """The state of each slot; FAILED where a restart is being waited for."""
        return [slot.worker.state if slot.worker else State.FAILED for slot in self._slots]

    @property
    def live(self) -> int:
        """Workers that can compute: ready or busy."""
        return sum(state in (State.READY, State.BUSY) for state in self.states)

    @property
    def running(self) -> int:
        return sum(state is State.BUSY for state in self.states)

    @property
    def is_beyond_repair(self) -> bool:
        """True when no worker lives and in each slot one start after the other has failed.

        Never a matter of crashes: they are the pictures' doing, and a new container would meet them too.
        """
        return self.live == 0 and all(slot.failed_starts >= _BEYOND_REPAIR_STARTS for slot in self._slots)

    def wait_seconds(self, now: float) -> float:
        """Expected wait of a job that arrives now: the work ahead over the workers there are."""
        live = self.live
        if live > self.running:
            return 0.0
        in_compute = (
            max(0.0, self.service_seconds - (now - slot.worker.busy_since))
            for slot in self._slots
            if slot.worker is not None and slot.worker.state is State.BUSY
        )
        return (sum(in_compute) + len(self.queue) * self.service_seconds) / max(1, live)

    def submit(self, job: Job) -> None:
        """Put an admitted job in line."""
        self.queue.put(job)
        self._dispatch()

    # --- the life of a job ---

    def _dispatch(self) -> None:
        for slot in () if self._stopping else self._slots:
            worker = slot.worker
            if worker is not None and worker.state is State.READY:
                job = self._next_job()
                if job is None:
                    return
                slot.job = job
                head = {
                    "format": job.header.format,
                    "width": job.header.width,
                    "height": job.header.height,
                    "answer": job.key[1],
                }
                worker.send(head, job.picture)

    def _next_job(self) -> Job | None:
        now = asyncio.get_running_loop().time()
        while self.queue:
            job = self.queue.take()
            if self.quarantine.holds(job.key[0], now):
                job.fail(killed_workers())
            elif job.deadline <= now:
                job.fail(Refusal(Reason.DEADLINE, "The deadline passed while the request waited."))
            elif not job.done.done():
                job.started = now
                self.metrics.queue_wait_seconds.observe(now - job.arrived)
                return job
        return None

    def worker_answered(self, worker: WorkerProcess, head: wire.Head, body: bytes) -> None:
        slot = self._slot_of(worker)
        job, slot.job = slot.job, None
        self._renew_if_worn(slot)
        self._dispatch()  # before the answer is written: the worker should not wait for that
        assert job is not None
        busy = float(head["busy"])
        self.service_seconds += _SERVICE_TIME_WEIGHT * (busy - self.service_seconds)
        self.metrics.busy_seconds.inc(busy)
        for stage, seconds in head["stages"].items():
            self.metrics.stage_seconds.labels(stage).observe(seconds)
        self.quarantine.forgive(job.key[0])
        if head["status"] == "ok":
            self.metrics.completed.inc()
            job.succeed(Answer(body, job.started - job.arrived, head["stages"]))
        else:
            self.metrics.failed.labels(Reason.UNDECODABLE).inc()
            job.fail(Refusal(Reason.UNDECODABLE, str(head["detail"])))

    def _settle_lost_job(self, job: Job, worker: WorkerProcess) -> None:
        now = asyncio.get_running_loop().time()
        self.metrics.busy_seconds.inc(now - worker.busy_since)
        if worker.ended is Ended.HANG:
            self.metrics.failed.labels(Reason.WORKER_HUNG).inc()
            job.fail(Refusal(Reason.WORKER_HUNG, "The worker did not answer in time and was replaced."))
            return
        self.quarantine.record(job.key[0], now)
        if job.done.done():
            return  # nobody waits for it any more
        job.crashes += 1
        if job.crashes == 1 and not self._stopping:
            self.queue.put_first(job)
            return
        self.metrics.failed.labels(Reason.WORKER_CRASHED).inc()
        job.fail(
            Refusal(
                Reason.WORKER_CRASHED,
                "Two workers ended while they held this picture; it was not tried again.",
                retry_after_seconds=1,
            )
        )

    # --- the life of a worker ---

    def _spawn(self) -> WorkerProcess:
        worker = WorkerProcess(self, self.config.worker, Limits(_START_SECONDS, self.config.hang_seconds))
        task = asyncio.get_running_loop().create_task(worker.start())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return worker

    def _slot_of(self, worker: WorkerProcess) -> Slot:
        return next(slot for slot in self._slots if worker in (slot.worker, slot.successor))

    def worker_ready(self, worker: WorkerProcess) -> None:
        slot = self._slot_of(worker)
        slot.failed_starts = 0
        self.model = worker.model
        spread = 0.1 * self.config.recycle_requests
        slot.renew_after_requests = round(self.config.recycle_requests + random.uniform(-spread, spread))  # noqa: S311
        logger.info(
            "Worker ready", extra={"fields": {"pid": worker.pid, "memory_bytes": worker.memory_bytes}}
        )
        if worker is slot.successor:
            self._replace_by_successor(slot)
        self.was_ready = self.was_ready or self.live == self.config.size
        self._dispatch()

    def _replace_by_successor(self, slot: Slot) -> None:
        old = slot.worker
        if old is not None and old.state is State.BUSY:
            return  # `_renew_if_worn` comes back when it has answered
        slot.worker, slot.successor = slot.successor, None
        if old is not None:
            self.metrics.worker_restarts.labels(slot.renew_cause).inc()
            old.stop(slot.renew_cause)

    def _renew_if_worn(self, slot: Slot) -> None:
        worker = slot.worker
        assert worker is not None
        if slot.successor is not None:
            if slot.successor.state is State.READY:
                self._replace_by_successor(slot)
            return
        if self._stopping or asyncio.get_running_loop().time() < slot.renew_not_before:
            return
        cause = self._worn(worker, slot)
        if cause and not any(other.successor for other in self._slots):
            slot.renew_cause = cause
            slot.successor = self._spawn()

    def _worn(self, worker: WorkerProcess, slot: Slot) -> Ended | None:
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

    def worker_ended(self, worker: WorkerProcess) -> None:
        slot = next((s for s in self._slots if worker in (s.worker, s.successor)), None)
        if slot is None:
            return  # renewed: its successor has the slot already
        if worker is slot.successor:
            slot.successor = None
            slot.renew_not_before = asyncio.get_running_loop().time() + _FAILED_RENEWAL_SECONDS
            self._note_end()
            logger.warning("Successor failed to start", extra={"fields": {"pid": worker.pid}})
            return
        slot.worker = None
        self._note_end()
        job, slot.job = slot.job, None
        if not self._stopping:
            fields = {"pid": worker.pid, "cause": worker.ended, "requests": worker.requests}
            logger.warning("Worker ended", extra={"fields": fields})
            self.metrics.worker_restarts.labels(worker.ended).inc()
        if job is not None:
            self._settle_lost_job(job, worker)
        if worker.fatal and not self.was_ready:
            self.on_fatal(ModelError(worker.fatal))
        if not self._stopping:
            self._refill(slot, worker.ended)
            self._dispatch()

    def _note_end(self) -> None:
        if self._stopping and not self.workers:
            self._all_ended.set()

    def _refill(self, slot: Slot, ended: Ended) -> None:
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
            # nobody is left to answer: waiting would only add to the outage
            soonest = min(self._slots, key=lambda other: other.deaths)
            if soonest.restart is not None:
                soonest.restart.cancel()
            pause = _FAILED_START_SECONDS if soonest.failed_starts > 1 else 0
            soonest.restart = loop.call_later(pause, self._restart, soonest)

    def _restart(self, slot: Slot) -> None:
        slot.restart = None
        if slot.worker is None and not self._stopping:
            slot.worker = self._spawn()


def killed_workers() -> Refusal:
    """The refusal of a picture that is in quarantine."""
    return Refusal(Reason.UNDECODABLE, "This picture ended two workers; it is refused for ten minutes.")
