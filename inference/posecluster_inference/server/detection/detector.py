"""Answers a picture from the cache, from a computation in progress, or by a new computation."""

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from posecluster_inference import pictures
from posecluster_inference.errors import Reason, Refusal
from posecluster_inference.metrics import Metrics
from posecluster_inference.server.detection.admission import Admission
from posecluster_inference.server.detection.cache import AnswerCache, Flights
from posecluster_inference.server.workers.jobs import Answer, AnswerKey, Job
from posecluster_inference.worker.messages import AnswerForm


class AnswerSource(StrEnum):
    """Where an answer came from; the label `result` of `cache_requests_total`."""

    HIT = "hit"
    COLLAPSED = "collapsed"  # from a computation that another request had started
    MISS = "miss"
    BYPASS = "bypass"  # from a new computation, because the request skips the cache


@dataclass(frozen=True, slots=True)
class Detection:
    """An answer and its source; `is_stored` if this request computed it and the cache contains it."""

    answer: Answer
    source: AnswerSource
    is_stored: bool = False


@dataclass(slots=True, kw_only=True)
class PictureFacts:
    """Properties of a picture, which the detector fills in even if it refuses the picture."""

    digest: str = ""  # the first 16 hexadecimal digits of its SHA-256
    format: str = ""
    body_bytes: int = 0


@dataclass(slots=True, kw_only=True)
class Detector:
    """Answers pictures, independently of the protocol by which they arrive.

    A computation that takes longer than `objective_seconds` is counted as late.
    """

    admission: Admission
    cache: AnswerCache
    flights: Flights
    metrics: Metrics
    max_pixels: int
    max_side_pixels: int
    objective_seconds: float

    async def detect(
        self,
        picture: bytes,
        form: AnswerForm,
        deadline: float,
        facts: PictureFacts,
        *,
        skip_cache: bool = False,
        owner: str = "",
        caller: str = "",
        charge: Callable[[float], None] | None = None,
    ) -> Detection:
        """Return the answer to a picture before `deadline`, in seconds of the loop's clock; raises Refusal.

        Fills in `facts`. With `skip_cache`, the answer is always computed, and then replaces the one in the
        cache. Requests share answers and computations only with requests of the same `owner`. Callers get
        equal shares of the workers. `charge` is called when a computation starts, with its expected cost in
        ordinary requests.
        """
        digest = hashlib.sha256(picture).digest()
        facts.digest, facts.body_bytes = digest.hex()[:16], len(picture)
        key = AnswerKey(digest, form, owner)
        if not skip_cache:
            cached = self.cache.get(key)
            if cached is not None:
                self._count(AnswerSource.HIT)
                return Detection(cached, AnswerSource.HIT)
            job = self.flights.get(key)
            if job is not None:
                self._count(AnswerSource.COLLAPSED)
                self.admission.join(job, caller)
                return Detection(await job.answer(deadline), AnswerSource.COLLAPSED)
        source = AnswerSource.BYPASS if skip_cache else AnswerSource.MISS
        self._count(source)
        job = self._start(picture, key, deadline, facts, caller)
        if charge is not None:
            charge(self.admission.pool.costs.in_requests(job.cost))
        self.flights.add(job, joinable=not skip_cache and self.cache.entries > 0)
        answer = await self._wait(job, deadline)
        return Detection(answer, source, is_stored=key in self.cache)

    def _count(self, source: AnswerSource) -> None:
        self.metrics.cache_requests.labels(source).inc()

    def _start(
        self, picture: bytes, key: AnswerKey, deadline: float, facts: PictureFacts, caller: str
    ) -> Job:
        header = pictures.inspect(picture, max_pixels=self.max_pixels, max_side=self.max_side_pixels)
        facts.format = header.format
        return self.admission.admit(picture, header, key, deadline, caller)

    async def _wait(self, job: Job, deadline: float) -> Answer:
        """Wait for a job that this request started; count it if it is late."""
        expired_in_queue = False
        try:
            return await job.answer(deadline)
        except Refusal as refusal:
            expired_in_queue = refusal.reason is Reason.DEADLINE and not job.started
            if expired_in_queue:
                self.admission.count_refusal(refusal)  # also counts it as late
            raise
        finally:
            elapsed = asyncio.get_running_loop().time() - job.arrived
            if elapsed > self.objective_seconds and not expired_in_queue:
                self.metrics.late.inc()
