"""A picture on its way to a worker, and the bounded line it waits in."""

import asyncio
import math
from bisect import bisect_right, insort
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from heapq import merge

from posecluster_inference.errors import Reason, Refusal
from posecluster_inference.pictures import Header
from posecluster_inference.server.workers.costs import ORDINARY, Cost
from posecluster_inference.worker.messages import AnswerForm
from posecluster_inference.worker.tasks.drawing import Drawn

# A job gives way to one that takes a second less if that arrives within ten seconds, but to none that arrives
# three seconds later: expensive jobs wait longer, and none waits for ever.
_PATIENCE = 10
_LONGEST_PATIENCE_SECONDS = 3.0


AnswerKey = tuple[bytes, AnswerForm]  # the picture's SHA-256 and the form of its answer


@dataclass(frozen=True, slots=True)
class Answer:
    """What a worker made of a picture; seconds for each stage of the work, after the job's arrival.

    `drawn` has the sizes of an answer that is a picture.
    """

    body: bytes
    arrived: float
    queue_seconds: float
    stages: Mapping[str, float]
    drawn: Drawn | None = None


@dataclass(slots=True, eq=False)
class Job:
    """One computation that one or more callers wait for. Times are the loop's, in seconds."""

    picture: bytes
    header: Header
    key: AnswerKey
    arrived: float
    deadline: float
    abandon: Callable[["Job"], None]
    cost: Cost = ORDINARY
    done: asyncio.Future[Answer] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    waiters: int = 0
    crashes: int = 0
    started: float = 0.0

    async def answer(self, deadline: float) -> Answer:
        """Wait for the answer until `deadline`; raises Refusal.

        When the last caller stops waiting (deadline, or it left) the job is abandoned, so that
        it frees its place and never reaches a worker.
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
        """When its turn comes, before jobs with a higher number. A job whose worker died comes first."""
        return -math.inf if self.crashes else turn_of(self.arrived, self.cost)

    @property
    def is_lost(self) -> bool:
        """True when it failed or was abandoned: nobody can get an answer from it any more."""
        return self.done.cancelled() or (self.done.done() and self.done.exception() is not None)

    def start(self, now: float) -> None:
        """Note that a worker gets the job now."""
        self.started = now

    def count_crash(self) -> None:
        """Note that a worker crashed while it had the job."""
        self.crashes += 1

    def succeed(self, answer: Answer) -> None:
        if not self.done.done():
            self.done.set_result(answer)

    def fail(self, refusal: Refusal) -> None:
        if not self.done.done():
            self.done.set_exception(refusal)


class JobQueue:
    """Jobs by their turn, which cheaper jobs have earlier; a job can leave from anywhere at once.

    Heavy jobs wait in a line of their own, so that one that may not start yet delays no light one.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._light: list[Job] = []
        self._heavy: list[Job] = []

    def __len__(self) -> int:
        return len(self._light) + len(self._heavy)

    def is_full(self, cost: Cost) -> bool:
        """Whether no place is left for a job of this cost; heavy ones may take half of the places."""
        return len(self) >= self.limit or (cost.is_heavy and len(self._heavy) >= self.heavy_limit)

    @property
    def heavy_limit(self) -> int:
        """How many heavy jobs may wait."""
        return max(1, self.limit // 2)

    def before(self, turn: float) -> Iterator[Job]:
        """The jobs that have their turn before one that comes now with this turn, in order."""
        lines = (line[: bisect_right(line, turn, key=_turn)] for line in (self._light, self._heavy))
        return merge(*lines, key=_turn)

    def put(self, job: Job) -> None:
        """Add a job; no limit applies to one that had its turn already."""
        insort(self._line(job), job, key=_turn)

    def take(self, *, heavy_may_start: bool) -> Job | None:
        """Remove and return the job whose turn it is; None if no job may start."""
        heads = [self._light[:1], self._heavy[:1] if heavy_may_start else []]
        job = min((head[0] for head in heads if head), key=_turn, default=None)
        if job is not None:
            self._line(job).pop(0)
        return job

    def discard(self, job: Job) -> None:
        with suppress(ValueError):
            self._line(job).remove(job)

    def _line(self, job: Job) -> list[Job]:
        return self._heavy if job.cost.is_heavy else self._light


def turn_of(arrived: float, cost: Cost) -> float:
    """Return the turn of a job that arrived at that time."""
    return arrived + min(_PATIENCE * cost.seconds, _LONGEST_PATIENCE_SECONDS)


def _turn(job: Job) -> float:
    return job.turn
