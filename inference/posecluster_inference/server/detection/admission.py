"""Queues a picture or refuses it for lack of capacity, and counts both."""

import asyncio
import math
import random
from dataclasses import dataclass, field

from posecluster_inference.errors import Reason, Refusal
from posecluster_inference.machine.memory import MemoryWatch
from posecluster_inference.metrics import Metrics
from posecluster_inference.pictures import Header
from posecluster_inference.server.workers.costs import ORDINARY, Cost
from posecluster_inference.server.workers.jobs import AnswerKey, Job
from posecluster_inference.server.workers.pool import Pool, killed_workers

_LONGEST_RETRY_SECONDS = 60
_RETRY_JITTER_SECONDS = 2
_WORKER_START_SECONDS = 2.0  # typical time to start a worker (docs/performance.md)


@dataclass(slots=True)
class Admission:
    """Turns an inspected picture into a queued job, or refuses it; counts every arrival as demand."""

    pool: Pool
    memory: MemoryWatch
    metrics: Metrics
    rng: random.Random = field(default_factory=random.Random)
    _is_closed: bool = field(default=False, init=False)

    def admit(self, picture: bytes, header: Header, key: AnswerKey, deadline: float, caller: str = "") -> Job:
        """Queue a picture of a caller and return its job; raises Refusal.

        `deadline` is the loop's time in seconds. If all places are taken, a job of a caller with more waiting
        jobs makes room and is refused instead.
        """
        now = asyncio.get_running_loop().time()
        if self.pool.quarantine.holds(key.digest, now):
            raise killed_workers()
        self.metrics.arrivals.inc()
        cost = self.pool.costs.estimate(header, key.form.kind)
        backlog = self.pool.backlog_seconds(caller, cost)
        refusal = self._lack_of_capacity(now, deadline, cost, caller, backlog)
        if refusal is not None:
            raise self.count_refusal(refusal)
        job = Job(picture, header, key, now, deadline, self.pool.queue.discard, cost, caller, backlog)
        self.pool.submit(job)
        return job

    def join(self, job: Job, caller: str) -> None:
        """Let a waiting job run no later than if `caller`, who sent the same picture, had started it now."""
        start = asyncio.get_running_loop().time() + self.pool.backlog_seconds(caller, job.cost)
        self.pool.queue.advance(job, caller, start)

    def close(self) -> None:
        """Refuse all further pictures."""
        self._is_closed = True

    def check_open(self) -> None:
        """Refuse a request before its body is read if admission is closed; raises Refusal."""
        if self._is_closed:
            raise self.count_early_refusal(
                Reason.DRAINING, "This server is shutting down: retry on a new connection."
            )

    def count_early_refusal(self, reason: Reason, detail: str) -> Refusal:
        """Count a request that is refused before its picture is known, and return the refusal."""
        self.metrics.arrivals.inc()
        wait = self.pool.wait_seconds(asyncio.get_running_loop().time())
        return self.count_refusal(self._unavailable(reason, detail, wait))

    def count_refusal(self, refusal: Refusal) -> Refusal:
        """Count the refusal of a request that has been counted as an arrival, and return the refusal."""
        self.metrics.refused.labels(refusal.reason).inc()
        self.metrics.late.inc()
        return refusal

    def _lack_of_capacity(
        self, now: float, deadline: float, cost: Cost, caller: str, backlog: float
    ) -> Refusal | None:
        pool = self.pool
        wait = pool.wait_seconds(now, cost, backlog)
        if self._is_closed:
            return self._unavailable(
                Reason.DRAINING, "This server is shutting down: retry on a new connection.", 0.0
            )
        if pool.live == 0:
            return self._unavailable(
                Reason.STARTING, "No worker is ready yet: retry later.", _WORKER_START_SECONDS
            )
        if self.memory.is_short:
            return self._unavailable(Reason.MEMORY, "The server is near its memory limit: retry later.", wait)
        if wait > 0 and now + wait + cost.seconds > deadline:
            return Refusal(
                Reason.DEADLINE,
                f"The queue ahead needs about {wait * 1000:.0f} ms, which is more than the deadline allows: "
                "retry later, or allow more time.",
            )
        if wait > 0 and pool.queue.is_full(cost):
            if (last := pool.queue.last_of_largest(caller)) is not None:
                pool.queue.discard(last)
                last.fail(
                    self.count_refusal(
                        self._unavailable(
                            Reason.QUEUE_FULL,
                            "Another caller with fewer waiting requests got this place: retry later.",
                            wait,
                        )
                    )
                )
                return None
            places = f"{pool.queue.limit} waiting places"
            if not pool.queue.is_full(ORDINARY):
                places = f"{pool.queue.heavy_limit} of {places} that large pictures may use"
            return self._unavailable(Reason.QUEUE_FULL, f"All {places} are taken: retry later.", wait)
        return None

    def _unavailable(self, reason: Reason, detail: str, wait_seconds: float) -> Refusal:
        return Refusal(reason, detail, retry_after_seconds=self.retry_after(wait_seconds))

    def retry_after(self, wait_seconds: float) -> int:
        """Return the Retry-After seconds for an expected wait, with jitter so that clients spread out."""
        longest = _LONGEST_RETRY_SECONDS - _RETRY_JITTER_SECONDS
        seconds = min(longest, math.ceil(wait_seconds)) + self.rng.randint(0, _RETRY_JITTER_SECONDS)
        return max(1, seconds)
