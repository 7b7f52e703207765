"""A job frees its place when nobody waits any more; the line is first in, first out."""

import asyncio
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posecluster_inference.errors import Reason, Refusal
from posecluster_inference.intake import Header, PictureFormat
from posecluster_inference.jobs import Answer, Job, JobQueue

ANSWER = Answer(b"landmarks", 0.0, 0.0, {})
PLENTY = 30.0
SOON = 0.02


def _job(queue: JobQueue | None = None, *, name: bytes = b"a", deadline: float = 0.0) -> Job:
    line = JobQueue(8) if queue is None else queue
    job = Job(b"", Header(PictureFormat.PNG, 1, 1), (name, "json"), 0.0, deadline, line.discard)
    line.put(job)
    return job


def _in(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


async def _waiting(job: Job, *, deadline: float, callers: int) -> list[asyncio.Task[Answer]]:
    tasks = [asyncio.create_task(job.answer(deadline)) for _ in range(callers)]
    await asyncio.sleep(0)  # lets each of them run up to its wait
    assert job.waiters >= callers
    return tasks


async def test_every_caller_gets_the_answer() -> None:
    job = _job()
    tasks = await _waiting(job, deadline=_in(PLENTY), callers=3)
    job.succeed(ANSWER)
    assert await asyncio.gather(*tasks) == [ANSWER] * 3
    assert job.waiters == 0


async def test_every_caller_gets_the_refusal() -> None:
    job = _job()
    tasks = await _waiting(job, deadline=_in(PLENTY), callers=2)
    job.fail(Refusal(Reason.WORKER_HUNG, "hung"))
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert [end.reason for end in ends if isinstance(end, Refusal)] == [Reason.WORKER_HUNG] * 2


async def test_an_answer_that_is_there_already_is_given_at_once() -> None:
    job = _job()
    job.succeed(ANSWER)
    assert await job.answer(_in(PLENTY)) is ANSWER


@pytest.mark.parametrize("seconds", [SOON, -1.0])
async def test_the_deadline_is_a_504_and_frees_the_place(seconds: float) -> None:
    queue = JobQueue(8)
    job = _job(queue)
    with pytest.raises(Refusal) as caught:
        await job.answer(_in(seconds))
    assert (caught.value.reason, caught.value.status) == (Reason.DEADLINE, 504)
    assert (len(queue), job.done.cancelled()) == (0, True)


async def test_a_job_leaves_the_line_when_the_last_of_its_callers_has_left() -> None:
    queue = JobQueue(8)
    job = _job(queue)
    first, second = await _waiting(job, deadline=_in(PLENTY), callers=2)
    for task, places in ((first, 1), (second, 0)):
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert len(queue) == places
    assert job.done.cancelled()


async def test_a_caller_that_stays_gets_its_answer_after_others_left() -> None:
    job = _job()
    impatient, patient = await _waiting(job, deadline=_in(PLENTY), callers=2)
    impatient.cancel()
    with suppress(asyncio.CancelledError):
        await impatient
    job.succeed(ANSWER)
    assert await patient is ANSWER


async def test_a_caller_with_more_time_gives_the_job_more_time() -> None:
    job = _job(deadline=_in(SOON))
    later = _in(PLENTY)
    (patient,) = await _waiting(job, deadline=later, callers=1)
    impatient = asyncio.create_task(job.answer(_in(SOON)))
    with pytest.raises(Refusal):
        await impatient
    assert job.deadline == later
    job.succeed(ANSWER)
    assert await patient is ANSWER


async def test_an_answer_nobody_waits_for_any_more_is_dropped() -> None:
    job = _job()
    with suppress(Refusal):
        await job.answer(_in(-1.0))
    job.succeed(ANSWER)
    job.fail(Refusal(Reason.WORKER_CRASHED, "late"))
    assert job.done.cancelled()


async def test_a_retry_goes_to_the_front_even_of_a_full_line() -> None:
    queue = JobQueue(2)
    jobs = [_job(queue, name=name) for name in (b"1", b"2")]
    assert queue.is_full
    retried = Job(b"", jobs[0].header, (b"0", "json"), 0.0, 0.0, queue.discard)
    queue.put_first(retried)
    assert [queue.take() for _ in range(3)] == [retried, *jobs]


async def test_an_empty_line_has_nothing_to_take() -> None:
    queue = JobQueue(1)
    assert not queue.is_full
    with pytest.raises(KeyError):
        queue.take()
    queue.discard(_job())


@given(moves=st.lists(st.sampled_from(["put", "retry", "take", "leave"]), max_size=40), data=st.data())
def test_the_line_keeps_its_order_whatever_happens(moves: list[str], data: st.DataObject) -> None:
    async def play() -> None:
        queue, line = JobQueue(4), list[Job]()
        for move in moves:
            if move in ("put", "retry"):
                job = Job(b"", Header(PictureFormat.PNG, 1, 1), (b"", "json"), 0.0, 0.0, queue.discard)
                (queue.put if move == "put" else queue.put_first)(job)
                line.insert(len(line) if move == "put" else 0, job)
            elif line and move == "take":
                assert queue.take() is line.pop(0)
            elif line:
                leaver = data.draw(st.sampled_from(range(len(line))))
                queue.discard(line.pop(leaver))
            assert (len(queue), queue.is_full) == (len(line), len(line) >= 4)

    asyncio.run(play())
