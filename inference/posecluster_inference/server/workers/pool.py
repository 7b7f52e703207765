"""The worker pool as the HTTP side sees it: jobs in, answers or refusals out.

Rules, each in one place:
- an idle worker takes the job whose turn it is (`jobs.JobQueue`), a heavy one only within the share that
  heavy jobs have (`sharing.HeavyShare`, `workers_changed`);
- a crash costs the request it held one retry, a hang costs that request (`worker_lost`).
"""

import asyncio
import math

from posecluster_inference.errors import Reason, Refusal
from posecluster_inference.metrics import Metrics
from posecluster_inference.server.workers.costs import Cost, Costs
from posecluster_inference.server.workers.jobs import Answer, Job, JobQueue, turn_of
from posecluster_inference.server.workers.process import Ended, WorkerProcess
from posecluster_inference.server.workers.quarantine import Quarantine
from posecluster_inference.server.workers.sharing import HeavyShare
from posecluster_inference.server.workers.supervisor import Supervisor
from posecluster_inference.worker.messages import WorkerAnswer


class Pool:
    """Gives the queue's jobs to the supervised workers."""

    def __init__(self, workers: Supervisor, queue: JobQueue, metrics: Metrics) -> None:
        self.queue = queue
        self.quarantine = Quarantine()
        self.costs = Costs()
        self._workers = workers
        self._share = HeavyShare()
        self._wake_up: asyncio.TimerHandle | None = None
        self._metrics = metrics
        self._jobs: dict[WorkerProcess, Job] = {}

    @property
    def live(self) -> int:
        """How many workers can compute."""
        return self._workers.live

    @property
    def running(self) -> int:
        """How many jobs are in compute."""
        return len(self._jobs)

    def wait_seconds(self, now: float, cost: Cost | None = None) -> float:
        """Expected wait of a job that arrives now, with this cost or that of an ordinary one."""
        newcomer = cost or self.costs.usual
        running = [
            (max(0.0, job.cost.seconds - (now - worker.busy_since)), job.cost)
            for worker, job in self._jobs.items()
        ]
        idle = max(0, self.live - len(running))
        ahead = [job.cost for job in self.queue.before(turn_of(now, newcomer))]
        wait = self._share.wait_seconds(now, newcomer, ahead, running, idle)
        return wait if math.isfinite(wait) else 0.0

    def submit(self, job: Job) -> None:
        """Put an admitted job in line."""
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
            if self.quarantine.holds(job.key[0], now):
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

    # --- what the supervisor tells (supervisor.Owner) ---

    def workers_changed(self) -> None:
        if not self.queue:
            return
        for worker in self._workers.ready:
            job = self._next_job()
            if job is None:
                self._wake_up_later()
                return
            self._jobs[worker] = job
            worker.send(job.header, job.key[1], job.picture)

    def _wake_up_later(self) -> None:
        """Look again when a heavy job may start in a worker that is idle now."""
        if self._wake_up is not None:
            self._wake_up.cancel()
        if self.queue:
            loop = asyncio.get_running_loop()
            self._wake_up = loop.call_at(self._share.next_change(loop.time()), self.workers_changed)

    def _given_back(self, worker: WorkerProcess) -> Job | None:
        """Return the job that a worker had, if it had one, which is over now."""
        job = self._jobs.pop(worker, None)
        if job is not None:
            now = asyncio.get_running_loop().time()
            if job.cost.is_heavy:
                self._share.heavy_ended(now, now - worker.busy_since, self.live)
            else:
                self._share.saw_light(now)
        return job

    def worker_answered(self, worker: WorkerProcess, answer: WorkerAnswer) -> None:
        job = self._given_back(worker)
        assert job is not None
        self.workers_changed()  # before the answer is written: the worker should not wait for that
        self._metrics.busy_seconds.inc(answer.busy_seconds)
        for stage, seconds in answer.stages.items():
            self._metrics.stage_seconds.labels(stage).observe(seconds)
        self.quarantine.forgive(job.key[0])
        if answer.reason is None:
            # not of refused pictures, which take next to no time and would promise too much
            self.costs.learn(job.header, job.key[1].kind, answer.stages)
            self._metrics.completed.inc()
            queue_seconds = job.started - job.arrived
            job.succeed(Answer(answer.body, job.arrived, queue_seconds, answer.stages, answer.drawn))
        else:
            self._metrics.failed.labels(answer.reason).inc()
            job.fail(Refusal(answer.reason, answer.detail))

    def worker_lost(self, worker: WorkerProcess) -> None:
        job = self._given_back(worker)
        if job is None:
            return
        now = asyncio.get_running_loop().time()
        self._metrics.busy_seconds.inc(now - worker.busy_since)
        if worker.ended is Ended.HANG:
            self._metrics.failed.labels(Reason.WORKER_HUNG).inc()
            job.fail(
                Refusal(
                    Reason.WORKER_HUNG,
                    "The worker did not answer in time and was replaced: do not retry this picture.",
                )
            )
            return
        self.quarantine.record(job.key[0], now)
        if job.done.done():
            return  # nobody waits for it any more
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
    """The refusal of a picture that is in quarantine."""
    return Refusal(
        Reason.UNDECODABLE,
        "This picture ended two worker processes and is refused for ten minutes: do not retry it.",
    )
