"""The worker pool: assigns jobs to workers and delivers their answers or refusals.

Rules and where they are implemented: - an idle worker runs the next job of the queue (`jobs.JobQueue`), and a
heavy job only within the share of heavy
  jobs (`sharing.HeavyShare`, `workers_changed`);
- a job whose worker crashed is retried once, and a job whose worker hung fails (`worker_lost`).
"""

import asyncio
import math
from collections.abc import Callable

from posecluster_inference.errors import Reason, Refusal
from posecluster_inference.metrics import Metrics
from posecluster_inference.server.workers.costs import Cost, Costs
from posecluster_inference.server.workers.jobs import Answer, Job, JobQueue, turn_of
from posecluster_inference.server.workers.process import Ended, WorkerProcess
from posecluster_inference.server.workers.quarantine import Quarantine
from posecluster_inference.server.workers.sharing import HeavyShare
from posecluster_inference.server.workers.supervisor import Supervisor
from posecluster_inference.worker.messages import WorkerAnswer

# The pool is busy if its workers were in use for this share of the last window. The autoscaler adds pods
# earlier than that, so a pod that is busy has more load than its share, or all pods have too much.
_BUSY_SHARE = 0.8
_BUSY_WINDOW_SECONDS = 2.0


class Pool:
    """Assigns the jobs in the queue to the workers of the supervisor."""

    def __init__(
        self, workers: Supervisor, queue: JobQueue, metrics: Metrics, forget: Callable[[int], None]
    ) -> None:
        """`forget` is called with the process id of each worker that ended."""
        self.queue = queue
        self.quarantine = Quarantine()
        self.costs = Costs()
        self._workers = workers
        self._share = HeavyShare()
        self._wake_up: asyncio.TimerHandle | None = None
        self._metrics = metrics
        self._forget = forget
        self._jobs: dict[WorkerProcess, Job] = {}
        self._ended_seconds = 0.0  # that workers spent on jobs which ended
        self._window_start = self._window_seconds = 0.0
        self._is_busy = False

    @property
    def live(self) -> int:
        """Number of workers that are ready or busy."""
        return self._workers.live

    @property
    def running(self) -> int:
        """Number of jobs that a worker is processing."""
        return len(self._jobs)

    def backlog_seconds(self, caller: str, cost: Cost) -> float:
        """Return the time that the workers need for the caller's waiting jobs, heavy or light as this one."""
        return self.queue.backlog_seconds(caller, cost) / max(1, self.live)

    def wait_seconds(self, now: float, cost: Cost | None = None, backlog_seconds: float = 0.0) -> float:
        """Return the expected wait of a job that arrives now.

        `cost` defaults to that of an ordinary job. `backlog_seconds` are those of its caller.
        """
        newcomer = cost or self.costs.usual
        running = [
            (max(0.0, job.cost.seconds - (now - worker.busy_since)), job.cost)
            for worker, job in self._jobs.items()
        ]
        idle = max(0, self.live - len(running))
        ahead = [job.cost for job in self.queue.before(turn_of(now + backlog_seconds, newcomer))]
        wait = self._share.wait_seconds(now, newcomer, ahead, running, idle)
        return wait if math.isfinite(wait) else 0.0

    def is_busy(self, now: float) -> bool:
        """Return whether the workers had almost no idle time in the last seconds."""
        elapsed = now - self._window_start
        if elapsed >= _BUSY_WINDOW_SECONDS:
            seconds = self._ended_seconds + sum(now - worker.busy_since for worker in self._jobs)
            self._is_busy = seconds - self._window_seconds > _BUSY_SHARE * elapsed * self.live
            self._window_start, self._window_seconds = now, seconds
        return self._is_busy

    def submit(self, job: Job) -> None:
        """Queue an admitted job."""
        if not job.cost.is_heavy:
            self._share.saw_light(job.arrived)
        self.queue.put(job)
        self.workers_changed()

    @property
    def _heavy_may_start(self) -> bool:
        running = sum(job.cost.is_heavy for job in self._jobs.values())
        return running < self._share.places(asyncio.get_running_loop().time(), self.live)

    def _next_job(self) -> Job | None:
        now = asyncio.get_running_loop().time()
        while (job := self.queue.take(heavy_may_start=self._heavy_may_start)) is not None:
            if self.quarantine.holds(job.key.digest, now):
                job.fail(killed_workers())
            elif job.deadline <= now:
                job.fail(
                    Refusal(
                        Reason.DEADLINE,
                        "The deadline passed while the request waited: retry later, or allow more time.",
                    )
                )
            elif not job.done.done():
                job.start(now)
                self._metrics.queue_wait_seconds.observe(now - job.arrived)
                return job
        return None

    # --- called by the supervisor (supervisor.Owner) ---

    def workers_changed(self) -> None:
        if not self.queue:
            return
        for worker in self._workers.ready:
            job = self._next_job()
            if job is None:
                self._wake_up_later()
                return
            self._jobs[worker] = job
            worker.send(job.header, job.key.form, job.picture)

    def _wake_up_later(self) -> None:
        """Schedule `workers_changed` for when an idle worker may start a heavy job."""
        if self._wake_up is not None:
            self._wake_up.cancel()
        if self.queue:
            loop = asyncio.get_running_loop()
            self._wake_up = loop.call_at(self._share.next_change(loop.time()), self.workers_changed)

    def _end_job(self, worker: WorkerProcess) -> Job | None:
        """Remove and return the job that a worker was processing; None if it was idle."""
        job = self._jobs.pop(worker, None)
        if job is not None:
            now = asyncio.get_running_loop().time()
            self._ended_seconds += now - worker.busy_since
            if job.cost.is_heavy:
                self._share.heavy_ended(now, now - worker.busy_since, self.live)
            else:
                self._share.saw_light(now)
        return job

    def worker_answered(self, worker: WorkerProcess, answer: WorkerAnswer) -> None:
        job = self._end_job(worker)
        assert job is not None
        self.workers_changed()  # before writing the answer, so that the worker does not wait
        self._metrics.busy_seconds.inc(answer.busy_seconds)
        for stage, seconds in answer.stages.items():
            self._metrics.stage_seconds.labels(stage).observe(seconds)
        self.quarantine.forgive(job.key.digest)
        if answer.reason is None:
            # Refused pictures take almost no time, so the average must not include them.
            self.costs.learn(job.header, job.key.form.kind, answer.stages)
            self._metrics.completed.inc()
            queue_seconds = job.started - job.arrived
            job.succeed(
                Answer(answer.body, job.arrived, queue_seconds, answer.stages, answer.drawn, worker.pid)
            )
        else:
            self._metrics.failed.labels(answer.reason).inc()
            job.fail(Refusal(answer.reason, answer.detail))

    def worker_ended(self, worker: WorkerProcess) -> None:
        self._forget(worker.pid)

    def worker_lost(self, worker: WorkerProcess) -> None:
        job = self._end_job(worker)
        if job is None:
            return
        now = asyncio.get_running_loop().time()
        self._metrics.busy_seconds.inc(now - worker.busy_since)
        self.quarantine.record(job.key.digest, now)
        if worker.ended is Ended.HANG:
            self._metrics.failed.labels(Reason.WORKER_HUNG).inc()
            job.fail(
                Refusal(
                    Reason.WORKER_HUNG,
                    "The worker did not answer in time and was replaced: do not retry this picture.",
                )
            )
            return
        if job.done.done():
            return  # no request waits for it any more
        job.count_crash()
        if job.crashes == 1 and not self._workers.is_stopping:
            self.queue.put(job)
            return
        self._metrics.failed.labels(Reason.WORKER_CRASHED).inc()
        job.fail(
            Refusal(
                Reason.WORKER_CRASHED,
                "Two worker processes ended while they processed this picture: retry it once at most.",
            )
        )


def killed_workers() -> Refusal:
    """Return the refusal of a picture that is in quarantine."""
    return Refusal(
        Reason.UNDECODABLE,
        "This picture ended two worker processes and is refused for ten minutes: do not retry it.",
    )
