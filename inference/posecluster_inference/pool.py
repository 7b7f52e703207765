"""The worker pool as the HTTP side sees it: jobs in, answers or refusals out.

Rules, each in one place:
- an idle worker takes the job that has waited longest (`workers_changed`);
- a crash costs the request it held one retry, a hang costs that request (`worker_lost`).
"""

import asyncio

from posecluster_inference import wire
from posecluster_inference.drawing import Drawn
from posecluster_inference.errors import Reason, Refusal
from posecluster_inference.jobs import Answer, Job, JobQueue
from posecluster_inference.metrics import Metrics
from posecluster_inference.process import Ended, WorkerProcess
from posecluster_inference.quarantine import Quarantine
from posecluster_inference.supervisor import Supervisor, SupervisorConfig

_FIRST_SERVICE_SECONDS = 0.1  # before the first answer has been measured
_SERVICE_TIME_WEIGHT = 0.1  # of the newest sample in the moving average


class Pool:
    """Gives the queue's jobs to the supervised workers."""

    def __init__(self, config: SupervisorConfig, queue: JobQueue, metrics: Metrics) -> None:
        self.queue = queue
        self.quarantine = Quarantine()
        self.supervisor = Supervisor(config, metrics, self)
        self.service_seconds = _FIRST_SERVICE_SECONDS
        self._metrics = metrics
        self._jobs: dict[WorkerProcess, Job] = {}

    @property
    def live(self) -> int:
        """How many workers can compute."""
        return self.supervisor.live

    @property
    def running(self) -> int:
        """How many jobs are in compute."""
        return len(self._jobs)

    def wait_seconds(self, now: float) -> float:
        """Expected wait of a job that arrives now: the work ahead over the workers there are."""
        if self.live > self.running:
            return 0.0
        in_compute = (
            max(0.0, self.service_seconds - (now - worker.busy_since)) for worker in self.supervisor.busy
        )
        return (sum(in_compute) + len(self.queue) * self.service_seconds) / max(1, self.live)

    def submit(self, job: Job) -> None:
        """Put an admitted job in line."""
        self.queue.put(job)
        self.workers_changed()

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
                self._metrics.queue_wait_seconds.observe(now - job.arrived)
                return job
        return None

    # --- what the supervisor tells (supervisor.Owner) ---

    def workers_changed(self) -> None:
        if not self.queue:
            return
        for worker in self.supervisor.ready:
            job = self._next_job()
            if job is None:
                return
            self._jobs[worker] = job
            head = {
                "format": job.header.format,
                "width": job.header.width,
                "height": job.header.height,
                "answer": job.key[1]._asdict(),
            }
            worker.send(head, job.picture)

    def worker_answered(self, worker: WorkerProcess, head: wire.Head, body: bytes) -> None:
        job = self._jobs.pop(worker)
        self.workers_changed()  # before the answer is written: the worker should not wait for that
        busy = float(head["busy"])
        self._metrics.busy_seconds.inc(busy)
        for stage, seconds in head["stages"].items():
            self._metrics.stage_seconds.labels(stage).observe(seconds)
        self.quarantine.forgive(job.key[0])
        if head["status"] == "ok":
            # not of refused pictures, which take next to no time and would promise too much
            self.service_seconds += _SERVICE_TIME_WEIGHT * (busy - self.service_seconds)
            self._metrics.completed.inc()
            drawn = Drawn(*head["drawn"]) if "drawn" in head else None
            job.succeed(Answer(body, job.arrived, job.started - job.arrived, head["stages"], drawn))
        else:
            reason = Reason(head["status"])
            self._metrics.failed.labels(reason).inc()
            job.fail(Refusal(reason, str(head["detail"])))

    def worker_lost(self, worker: WorkerProcess) -> None:
        job = self._jobs.pop(worker, None)
        if job is None:
            return
        now = asyncio.get_running_loop().time()
        self._metrics.busy_seconds.inc(now - worker.busy_since)
        if worker.ended is Ended.HANG:
            self._metrics.failed.labels(Reason.WORKER_HUNG).inc()
            job.fail(Refusal(Reason.WORKER_HUNG, "The worker did not answer in time and was replaced."))
            return
        self.quarantine.record(job.key[0], now)
        if job.done.done():
            return  # nobody waits for it any more
        job.crashes += 1
        if job.crashes == 1 and not self.supervisor.is_stopping:
            self.queue.put_first(job)
            return
        self._metrics.failed.labels(Reason.WORKER_CRASHED).inc()
        job.fail(
            Refusal(
                Reason.WORKER_CRASHED,
                "Two workers ended while they held this picture; it was not tried again.",
            )
        )


def killed_workers() -> Refusal:
    """The refusal of a picture that is in quarantine."""
    return Refusal(Reason.UNDECODABLE, "This picture ended two workers; it is refused for ten minutes.")
