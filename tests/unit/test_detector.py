"""The detector without a server: the source of each answer, and what is counted."""

import asyncio
from contextlib import suppress

import pytest

from harness.pictures import tiny_png
from harness.pool_in_state import PoolInState, admission_to, count
from posecluster_inference.errors import Reason, Refusal
from posecluster_inference.server.detection.cache import AnswerCache, Flights
from posecluster_inference.server.detection.detector import AnswerSource, Detection, Detector, PictureFacts
from posecluster_inference.server.workers.jobs import Answer, Job, JobQueue
from posecluster_inference.worker.messages import AnswerForm

PICTURE = tiny_png()
JSON = AnswerForm("json")
FIRST, SECOND = Answer(b"first", 0.0, 0.0, {}), Answer(b"second", 0.0, 0.0, {})
PLENTY = 100.0
SOON = 0.02


class Desk:
    """A detector, the queue that its jobs wait in, and its callers."""

    def __init__(self, *, live: int = 1, entries: int = 8, objective_seconds: float = PLENTY) -> None:
        self.pool = PoolInState(live=live, queue=JobQueue(8))
        admission, cache = admission_to(self.pool), AnswerCache(entries)
        self.metrics = admission.metrics
        self.detector = Detector(
            admission=admission,
            cache=cache,
            flights=Flights(cache),
            metrics=self.metrics,
            max_pixels=64,
            max_side_pixels=1_000,
            objective_seconds=objective_seconds,
        )

    async def ask(
        self,
        picture: bytes = PICTURE,
        form: AnswerForm = JSON,
        *,
        within: float = PLENTY,
        facts: PictureFacts | None = None,
        skip_cache: bool = False,
        owner: str = "",
        caller: str = "",
    ) -> Detection:
        deadline = asyncio.get_running_loop().time() + within
        facts = facts or PictureFacts()
        return await self.detector.detect(
            picture, form, deadline, facts, skip_cache=skip_cache, owner=owner, caller=caller
        )

    async def waiting(self, **request: object) -> asyncio.Task[Detection]:
        """A caller that waits for a computation."""
        task = asyncio.create_task(self.ask(**request))  # type: ignore[arg-type]
        await asyncio.sleep(0)  # lets it run up to its wait
        return task

    def start(self) -> Job:
        """Start the next job as a worker does."""
        job = self.pool.queue.take(heavy_may_start=True)
        assert job is not None
        job.start(asyncio.get_running_loop().time())
        return job

    async def compute(self, answer: Answer = FIRST, **request: object) -> Detection:
        """Answer one request by a computation."""
        task = await self.waiting(**request)
        self.start().succeed(answer)
        return await task

    def counted(self) -> dict[str, float | None]:
        counts = {name: count(self.metrics, name) for name in ("arrivals", "late")}
        return counts | {"refused": sum(count(self.metrics, "refused", reason=one) or 0 for one in Reason)}


async def test_callers_share_answers_only_with_the_same_owner() -> None:
    desk = Desk()
    assert (await desk.compute(owner="a")).source is AnswerSource.MISS
    assert (await desk.ask(owner="a")).source is AnswerSource.HIT
    assert (await desk.compute(owner="b")).source is AnswerSource.MISS
    assert (await desk.compute()).source is AnswerSource.MISS


async def test_a_disabled_cache_also_disables_shared_computations() -> None:
    desk = Desk(entries=0)
    tasks = [await desk.waiting() for _ in range(2)]
    for _ in tasks:
        desk.start().succeed(FIRST)
    assert [(await task).source for task in tasks] == [AnswerSource.MISS] * 2


def test_every_source_has_its_own_series_from_the_start() -> None:
    desk = Desk()
    assert [count(desk.metrics, "cache_requests", result=source) for source in AnswerSource] == [0] * len(
        AnswerSource
    )


async def test_a_new_picture_is_computed_and_the_next_request_is_a_hit() -> None:
    desk = Desk()
    assert await desk.compute() == Detection(FIRST, AnswerSource.MISS, is_stored=True)
    assert await desk.ask() == Detection(FIRST, AnswerSource.HIT)
    assert len(desk.pool.queue) == 0
    assert desk.counted() == {"arrivals": 1, "late": 0, "refused": 0}
    assert count(desk.metrics, "cache_requests", result="miss") == 1
    assert count(desk.metrics, "cache_requests", result="hit") == 1


async def test_another_form_of_the_answer_is_computed() -> None:
    desk = Desk()
    await desk.compute()
    other = AnswerForm("json", keypoints="coco")
    assert await desk.compute(SECOND, form=other) == Detection(SECOND, AnswerSource.MISS, is_stored=True)


async def test_without_a_cache_an_answer_is_not_stored() -> None:
    desk = Desk(entries=0)
    assert await desk.compute() == Detection(FIRST, AnswerSource.MISS)


async def test_an_identical_request_joins_the_computation_in_progress() -> None:
    desk = Desk()
    tasks = [await desk.waiting() for _ in range(3)]
    assert len(desk.pool.queue) == 1
    desk.start().succeed(FIRST)
    assert [(await task).source for task in tasks] == [
        AnswerSource.MISS,
        AnswerSource.COLLAPSED,
        AnswerSource.COLLAPSED,
    ]
    assert desk.counted()["arrivals"] == 1
    assert count(desk.metrics, "cache_requests", result="collapsed") == 2


async def test_a_request_that_skips_the_cache_is_computed_and_replaces_the_stored_answer() -> None:
    desk = Desk()
    await desk.compute(FIRST)
    assert await desk.compute(SECOND, skip_cache=True) == Detection(
        SECOND, AnswerSource.BYPASS, is_stored=True
    )
    assert await desk.ask() == Detection(SECOND, AnswerSource.HIT)
    assert count(desk.metrics, "cache_requests", result="bypass") == 1


async def test_a_request_that_skips_the_cache_joins_none_and_is_not_joined() -> None:
    desk = Desk()
    tasks = [await desk.waiting(skip_cache=skip_cache) for skip_cache in (True, False, True, False)]
    assert len(desk.pool.queue) == 3
    for _ in range(3):
        desk.start().succeed(FIRST)
    sources = [(await task).source for task in tasks]
    assert sources == [AnswerSource.BYPASS, AnswerSource.MISS, AnswerSource.BYPASS, AnswerSource.COLLAPSED]


@pytest.mark.parametrize(("objective_seconds", "late"), [(0.0, 1), (PLENTY, 0)])
@pytest.mark.parametrize("is_answered", [True, False])
async def test_a_computation_beyond_the_objective_is_late_even_if_it_fails(
    objective_seconds: float, late: int, is_answered: bool
) -> None:
    desk = Desk(objective_seconds=objective_seconds)
    task = await desk.waiting()
    job = desk.start()
    if is_answered:
        job.succeed(FIRST)
    else:
        job.fail(Refusal(Reason.UNDECODABLE, "The picture is incomplete."))
    with suppress(Refusal):
        await task
    assert desk.counted() == {"arrivals": 1, "late": late, "refused": 0}


async def test_hits_and_joined_requests_are_never_late() -> None:
    desk = Desk(objective_seconds=0.0)
    first, joined = await desk.waiting(), await desk.waiting(within=SOON)
    desk.start().succeed(FIRST)
    await asyncio.gather(first, joined)
    assert (await desk.ask()).source is AnswerSource.HIT
    assert desk.counted()["late"] == 1


async def test_a_deadline_that_passes_in_the_queue_is_counted_once_as_a_refusal() -> None:
    desk = Desk(objective_seconds=0.0)
    with pytest.raises(Refusal) as caught:
        await desk.ask(within=SOON)
    assert caught.value.reason is Reason.DEADLINE
    assert len(desk.pool.queue) == 0
    assert desk.counted() == {"arrivals": 1, "late": 1, "refused": 1}
    assert count(desk.metrics, "refused", reason="deadline") == 1


async def test_a_deadline_that_passes_in_a_worker_is_late_and_no_refusal() -> None:
    desk = Desk(objective_seconds=0.0)
    task = await desk.waiting(within=SOON)
    desk.start()
    with pytest.raises(Refusal) as caught:
        await task
    assert caught.value.reason is Reason.DEADLINE
    assert desk.counted() == {"arrivals": 1, "late": 1, "refused": 0}


async def test_a_joined_request_whose_deadline_passes_in_the_queue_is_not_counted() -> None:
    desk = Desk(objective_seconds=0.0)
    first = await desk.waiting()
    with pytest.raises(Refusal):
        await desk.ask(within=SOON)
    assert desk.counted() == {"arrivals": 1, "late": 0, "refused": 0}
    desk.start().succeed(FIRST)
    assert (await first).answer is FIRST


async def test_a_caller_that_disconnects_frees_its_place_and_the_next_one_starts_again() -> None:
    desk = Desk()
    task = await desk.waiting()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert len(desk.pool.queue) == 0
    assert (await desk.compute()).source is AnswerSource.MISS
    assert desk.counted() == {"arrivals": 2, "late": 0, "refused": 0}


@pytest.mark.parametrize(
    ("picture", "reason"),
    [(b"no picture", Reason.UNSUPPORTED_FORMAT), (tiny_png(9, 8), Reason.PICTURE_TOO_LARGE)],
)
async def test_a_picture_that_inspection_refuses_is_not_counted_as_demand(
    picture: bytes, reason: Reason
) -> None:
    desk, facts = Desk(), PictureFacts()
    with pytest.raises(Refusal) as caught:
        await desk.ask(picture, facts=facts)
    assert caught.value.reason is reason
    assert desk.counted() == {"arrivals": 0, "late": 0, "refused": 0}
    assert (len(facts.digest), facts.format, facts.body_bytes) == (16, "", len(picture))


async def test_what_is_known_of_a_picture_stays_known_when_admission_refuses_it() -> None:
    desk, facts = Desk(live=0), PictureFacts()
    with pytest.raises(Refusal) as caught:
        await desk.ask(facts=facts)
    assert caught.value.reason is Reason.STARTING
    assert desk.counted() == {"arrivals": 1, "late": 1, "refused": 1}
    assert (len(facts.digest), facts.format, facts.body_bytes) == (16, "png", len(PICTURE))


async def test_a_caller_who_joins_a_job_does_not_wait_behind_the_other_callers_jobs() -> None:
    desk = Desk()
    for number in range(3):
        await desk.waiting(picture=PICTURE + bytes(number), caller="greedy")
    joined = await desk.waiting(picture=PICTURE + bytes(2), caller="polite")
    desk.start().succeed(FIRST)  # of the greedy caller, who came first
    desk.start().succeed(SECOND)
    assert (await asyncio.wait_for(joined, 5)).answer is SECOND
