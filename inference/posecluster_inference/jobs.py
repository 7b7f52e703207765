"""A picture on its way to a worker, and the bounded line it waits in."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from posecluster_inference.drawing import Drawn
from posecluster_inference.errors import Reason, Refusal
from posecluster_inference.intake import Header

JSON_ANSWER = "json"


class AnswerForm(NamedTuple):
    """What a caller gets: `kind` is `json`, or `jpeg`, `png` or `webp` for the drawn picture.

    Of JSON only: the 17 COCO keypoints instead of all landmarks, and pixels instead of fractions.
    """

    kind: str
    is_coco: bool = False
    in_pixels: bool = False


AnswerKey = tuple[bytes, AnswerForm]  # the picture's SHA-256 and the form of its answer


@dataclass(frozen=True, slots=True)
class Answer:
    """What a worker made of a picture; seconds for each stage of the work, after the job's arrival.

    `drawn` has the sizes of an answer that is a picture.
    """

    body: bytes
    arrived: float
    queue_seconds: float
    stages: dict[str, float]
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
            raise Refusal(Reason.DEADLINE, "No answer was ready before the deadline.") from None
        finally:
            self.waiters -= 1
            if self.waiters == 0 and not self.done.done():
                self.done.cancel()
                self.abandon(self)

    @property
    def is_lost(self) -> bool:
        """True when it failed or was abandoned: nobody can get an answer from it any more."""
        return self.done.cancelled() or (self.done.done() and self.done.exception() is not None)

    def succeed(self, answer: Answer) -> None:
        if not self.done.done():
            self.done.set_result(answer)

    def fail(self, refusal: Refusal) -> None:
        if not self.done.done():
            self.done.set_exception(refusal)


class JobQueue:
    """First in, first out; a job can leave from anywhere at once, and a retry goes to the front."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._jobs: OrderedDict[Job, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def is_full(self) -> bool:
        return len(self._jobs) >= self.limit

    def put(self, job: Job) -> None:
        self._jobs[job] = None

    def put_first(self, job: Job) -> None:
        """Give a job whose worker died its turn again; it had one already, so no limit applies."""
        self._jobs[job] = None
        self._jobs.move_to_end(job, last=False)

    def take(self) -> Job:
        """Remove and return the job that has waited longest; raises KeyError when empty."""
        job, _ = self._jobs.popitem(last=False)
        return job

    def discard(self, job: Job) -> None:
        self._jobs.pop(job, None)
