"""Jobs: pictures for the workers, and the bounded queue in which they wait."""

import asyncio
import math
from bisect import bisect_right, insort
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from heapq import merge
from typing import NamedTuple

from posecluster_inference.errors import Reason, Refusal
from posecluster_inference.pictures import Header
from posecluster_inference.server.workers.costs import ORDINARY, Cost
from posecluster_inference.worker.messages import AnswerForm
from posecluster_inference.worker.tasks.drawing import Drawn

# A job's turn is its arrival plus ten times its cost, but at most its arrival plus three seconds. Cheaper
# jobs that arrive within this time run first, so expensive jobs wait longer, but never forever. To this is
# added the time that the workers need for the caller's earlier jobs of the same kind, heavy or light, if they
# serve all waiting callers equally. So callers with many jobs in the queue do not delay one with few.
_PATIENCE = 10
_LONGEST_PATIENCE_SECONDS = 3.0


class AnswerKey(NamedTuple):
    """The SHA-256 of the picture, the form of the answer, and its only caller (empty: all callers)."""

    digest: bytes
    form: AnswerForm
    owner: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a picture.

    `arrived` is the loop's time; the other times are seconds in the queue and in each stage of the work.
    `drawn` has the sizes of an answer that is a drawn picture. `worker` identifies the worker process.
    """

    body: bytes
    arrived: float
    queue_seconds: float
    stages: Mapping[str, float]
    drawn: Drawn | None = None
    worker: int = 0


@dataclass(slots=True, eq=False)
class Job:
    """A computation for which one or more requests wait. Times are those of the loop, in seconds.

    `caller` started it, when the workers needed `backlog_seconds` for this caller's earlier jobs, or joined
    it and has the earlier turn (`JobQueue.advance`).
    """

    picture: bytes
    header: Header
    key: AnswerKey
    arrived: float
    deadline: float
    abandon: Callable[["Job"], None]
    cost: Cost = ORDINARY
    caller: str = ""
    backlog_seconds: float = 0.0
    done: asyncio.Future[Answer] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    waiters: int = 0
    crashes: int = 0
    started: float = 0.0

    async def answer(self, deadline: float) -> Answer:
        """Wait for the answer until `deadline`; raises Refusal.

        When the last request stops waiting (deadline or disconnect), the job is abandoned: it leaves the
        queue and never reaches a worker.
        """
        self.waiters += 1
        self.deadline = max(self.deadline, deadline)
        try:
            async with asyncio.timeout_at(deadline):
                return await asyncio.shield(self.done)
        except TimeoutError:
            raise Refusal(
                Reason.DEADLINE, "No answer was ready before the deadline: retry later, or allow more time."
            ) from None
        finally:
            self.waiters -= 1
            if self.waiters == 0 and not self.done.done():
                self.done.cancel()
                self.abandon(self)

    @property
    def turn(self) -> float:
        """The order in the queue: lower comes first. A job whose worker crashed precedes all others."""
        return -math.inf if self.crashes else turn_of(self.arrived + self.backlog_seconds, self.cost)

    @property
    def is_lost(self) -> bool:
        """Whether the job failed or was abandoned, so that it will have no answer."""
        return self.done.cancelled() or (self.done.done() and self.done.exception() is not None)

    def start(self, now: float) -> None:
        """Record that a worker starts the job."""
        self.started = now

    def count_crash(self) -> None:
        """Record that a worker crashed while it ran the job."""
        self.crashes += 1

    def succeed(self, answer: Answer) -> None:
        if not self.done.done():
            self.done.set_result(answer)

    def fail(self, refusal: Refusal) -> None:
        if not self.done.done():
            self.done.set_exception(refusal)


class JobQueue:
    """A queue of jobs in the order of their turns; a job can leave it at any position.

    Heavy jobs wait in a separate list, so that a heavy job that may not start yet delays no light job.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._light: list[Job] = []
        self._heavy: list[Job] = []

    def __len__(self) -> int:
        return len(self._light) + len(self._heavy)

    def is_full(self, cost: Cost) -> bool:
        """Whether no place is left for a job of this cost; heavy jobs may use half of the places."""
        return len(self) >= self.limit or (cost.is_heavy and len(self._heavy) >= self.heavy_limit)

    @property
    def heavy_limit(self) -> int:
        """Maximum number of heavy jobs that may wait."""
        return max(1, self.limit // 2)

    def backlog_seconds(self, caller: str, cost: Cost) -> float:
        """Return the time that one worker needs for this caller's waiting jobs, heavy or light as `cost`.

        Each of the callers that have such jobs in the queue gets an equal share of the worker.
        """
        line = self._line(cost)
        callers = {job.caller for job in line} | {caller}
        return len(callers) * sum(job.cost.seconds for job in line if job.caller == caller)

    def last_of_largest(self, caller: str) -> Job | None:
        """Return the job that makes room for a job of `caller`, or None.

        It is the last job of the caller with most waiting jobs of those that are in the way, if this caller
        will still have as many as the newcomer.
        """
        line = self._light + self._heavy if len(self) >= self.limit else self._heavy
        counts = Counter(job.caller for job in line)
        largest, most = max(counts.items(), key=lambda item: item[1], default=("", 0))
        if most < counts[caller] + 2:
            return None
        return max(
            (job for job in line if job.caller == largest and not job.crashes), key=_turn, default=None
        )

    def before(self, turn: float) -> Iterator[Job]:
        """Yield the jobs that would run before a new job with this turn, in order."""
        lines = (line[: bisect_right(line, turn, key=_turn)] for line in (self._light, self._heavy))
        return merge(*lines, key=_turn)

    def put(self, job: Job) -> None:
        """Add a job, without checking the limit: a job that is retried must find a place."""
        insort(self._line(job.cost), job, key=_turn)

    def take(self, *, heavy_may_start: bool) -> Job | None:
        """Remove and return the next job; None if no job may start."""
        heads = [self._light[:1], self._heavy[:1] if heavy_may_start else []]
        job = min((head[0] for head in heads if head), key=_turn, default=None)
        if job is not None:
            self._line(job.cost).pop(0)
        return job

    def advance(self, job: Job, caller: str, start: float) -> None:
        """Let a waiting job run at the turn of `caller`, who joined it and could start it then, if sooner."""
        backlog_seconds = start - job.arrived
        if job in self._line(job.cost) and not job.crashes and backlog_seconds < job.backlog_seconds:
            self.discard(job)
            job.caller, job.backlog_seconds = caller, backlog_seconds
            self.put(job)

    def discard(self, job: Job) -> None:
        with suppress(ValueError):
            self._line(job.cost).remove(job)

    def _line(self, cost: Cost) -> list[Job]:
        return self._heavy if cost.is_heavy else self._light


def turn_of(start: float, cost: Cost) -> float:
    """Return the turn of a job that could start at that time if all callers had equal shares."""
    return start + min(_PATIENCE * cost.seconds, _LONGEST_PATIENCE_SECONDS)


def _turn(job: Job) -> float:
    return job.turn
