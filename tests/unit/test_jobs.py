"""A job frees its place when no caller waits for it; cheaper jobs go first."""

import asyncio
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posecluster_inference.errors import Reason, Refusal
from posecluster_inference.pictures import Header, PictureFormat
from posecluster_inference.server.workers.costs import ORDINARY, Cost
from posecluster_inference.server.workers.jobs import Answer, Job, JobQueue
from posecluster_inference.worker.messages import AnswerForm

ANSWER = Answer(b"landmarks", 0.0, 0.0, {})
PLENTY = 30.0
SOON = 0.02
HEADER = Header(PictureFormat.PNG, 1, 1)
KEY = (b"", AnswerForm("json"))
HEAVY = Cost(1.0, is_heavy=True)
COSTS = [ORDINARY, HEAVY, Cost(0.4)]


def _job(queue: JobQueue | None = None, *, name: bytes = b"a", deadline: float = 0.0) -> Job:
    line = JobQueue(8) if queue is None else queue
    job = Job(b"", HEADER, (name, AnswerForm("json")), 0.0, deadline, line.discard)
    line.put(job)
    return job


def _in(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


async def _waiting(job: Job, *, deadline: float, callers: int) -> list[asyncio.Task[Answer]]:
    tasks = [asyncio.create_task(job.answer(deadline)) for _ in range(callers)]
    await asyncio.sleep(0)  # lets each of them run up to its wait
    assert job.waiters >= callers
    return tasks


async def test_jobs_of_callers_alternate_whatever_each_has_waiting() -> None:
    queue, order = JobQueue(100), []
    for caller, jobs in (("greedy", 6), ("polite", 2)):
        for _ in range(jobs):
            queue.put(
                Job(
                    *(b"", HEADER, KEY, 0.0, 0.0, queue.discard),
                    caller=caller,
                    backlog_seconds=queue.backlog_seconds(caller, ORDINARY),
                )
            )
    while job := queue.take(heavy_may_start=True):
        order.append(job.caller)
    assert order == ["greedy", "polite", "greedy", "greedy", "polite", "greedy", "greedy", "greedy"]


def _longest_wait(greedy: int, *, is_fair: bool) -> float:
    """Seconds that a caller with one job at a time waits beside callers that keep the queue full."""
    queue, waits, now, own = JobQueue(16), [0.0], 0.0, None

    def put(caller: str, arrived: float) -> Job:
        backlog = queue.backlog_seconds(caller, ORDINARY) if is_fair else 0.0
        if queue.is_full(ORDINARY) and (last := queue.last_of_largest(caller)):
            queue.discard(last)
        job = Job(b"", HEADER, KEY, arrived, 0.0, queue.discard, caller=caller, backlog_seconds=backlog)
        queue.put(job)
        return job

    for step in range(600):
        number = 0
        while not queue.is_full(ORDINARY):
            put(f"greedy {(step + number) % greedy}", now + number * 1e-6)
            number += 1
        if own is None and step % 10 == 5:
            own = put("polite", now + 1e-3)
        job = queue.take(heavy_may_start=True)
        if own is not None and job is own:
            waits.append(now - own.arrived)
            own = None
        now += ORDINARY.seconds
    assert len(waits) > 20
    return max(waits)


@pytest.mark.parametrize("greedy", [1, 2, 4, 8])
async def test_a_caller_with_one_job_waits_for_about_one_job_of_each_other_caller(greedy: int) -> None:
    assert _longest_wait(greedy, is_fair=True) <= (greedy + 2) * ORDINARY.seconds
    assert _longest_wait(greedy, is_fair=False) >= 14 * ORDINARY.seconds  # control: in the order of arrival


async def test_heavy_jobs_of_a_caller_do_not_delay_its_ordinary_ones() -> None:
    queue = JobQueue(100)
    for _ in range(6):
        queue.put(Job(b"", HEADER, KEY, 0.0, 0.0, queue.discard, HEAVY, caller="a"))
    assert (queue.backlog_seconds("a", HEAVY), queue.backlog_seconds("a", ORDINARY)) == (6 * HEAVY.seconds, 0)


async def test_jobs_of_one_caller_keep_their_order() -> None:
    """The waiting time of its earlier jobs becomes shorter as they are done."""
    queue, arrived = JobQueue(100), []
    for step in range(40):
        now = step * ORDINARY.seconds / 2  # twice as fast as the worker
        backlog = queue.backlog_seconds("a", ORDINARY)
        arrived.append(Job(b"", HEADER, KEY, now, 0.0, queue.discard, caller="a", backlog_seconds=backlog))
        queue.put(arrived[-1])
        if step % 2:
            assert queue.take(heavy_may_start=True) is arrived[step // 2]


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


async def test_an_available_answer_is_returned_immediately() -> None:
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


async def test_a_job_leaves_the_queue_when_its_last_caller_has_disconnected() -> None:
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


async def test_an_answer_without_a_waiting_caller_is_dropped() -> None:
    job = _job()
    with suppress(Refusal):
        await job.answer(_in(-1.0))
    job.succeed(ANSWER)
    job.fail(Refusal(Reason.WORKER_CRASHED, "late"))
    assert job.done.cancelled()


async def test_a_retry_goes_to_the_front_even_of_a_full_queue() -> None:
    queue = JobQueue(2)
    jobs = [_job(queue, name=name) for name in (b"1", b"2")]
    assert queue.is_full(ORDINARY)
    retried = Job(b"", jobs[0].header, KEY, 9.0, 0.0, queue.discard, HEAVY, crashes=1)
    queue.put(retried)
    assert [queue.take(heavy_may_start=True) for _ in range(4)] == [retried, *jobs, None]


async def test_an_empty_queue_has_no_job_to_take() -> None:
    queue = JobQueue(1)
    assert not queue.is_full(ORDINARY)
    assert queue.take(heavy_may_start=True) is None
    queue.discard(_job())


async def test_heavy_jobs_may_take_half_of_the_places() -> None:
    queue = JobQueue(4)
    for _ in range(2):
        assert not queue.is_full(HEAVY)
        queue.put(Job(b"", HEADER, KEY, 0.0, 0.0, queue.discard, HEAVY))
    assert (queue.is_full(HEAVY), queue.is_full(ORDINARY)) == (True, False)
    for _ in range(2):
        _job(queue)
    assert (queue.is_full(HEAVY), queue.is_full(ORDINARY)) == (True, True)


async def test_a_queue_of_one_place_takes_a_heavy_job() -> None:
    assert not JobQueue(1).is_full(HEAVY)


async def test_a_heavy_job_lets_cheaper_ones_go_first_within_a_limit() -> None:
    queue = JobQueue(100)
    heavy = Job(b"", HEADER, KEY, 0.0, 0.0, queue.discard, HEAVY)
    queue.put(heavy)
    light = [Job(b"", HEADER, KEY, second / 2, 0.0, queue.discard) for second in range(1, 20)]
    for job in light:
        queue.put(job)
    taken = [queue.take(heavy_may_start=True) for _ in range(20)]
    assert taken.index(heavy) == sum(job.turn <= heavy.turn for job in light) == 4
    assert [job for job in taken if job is not heavy] == light


@given(
    moves=st.lists(st.sampled_from(["put", "retry", "take", "take light", "leave"]), max_size=40),
    data=st.data(),
)
def test_the_queue_keeps_its_order_under_any_sequence_of_operations(
    moves: list[str], data: st.DataObject
) -> None:
    async def play() -> None:
        queue, line = JobQueue(4), list[Job]()
        for move in moves:
            if move in ("put", "retry"):
                cost, arrived = data.draw(st.sampled_from(COSTS)), data.draw(st.floats(0, 9))
                job = Job(b"", HEADER, KEY, arrived, 0.0, queue.discard, cost, crashes=move == "retry")
                queue.put(job)
                line.append(job)
            elif move == "leave" and line:
                queue.discard(line.pop(data.draw(st.integers(0, len(line) - 1))))
            elif move.startswith("take"):
                may_start = move == "take"
                able = [job for job in line if may_start or not job.cost.is_heavy]
                expected = min(able, key=lambda job: job.turn, default=None)
                taken = queue.take(heavy_may_start=may_start)
                assert (taken and taken.turn) == (expected and expected.turn)
                if taken:
                    line.remove(taken)
            assert len(queue) == len(line)
            assert queue.is_full(ORDINARY) == (len(line) >= 4)
            turns = [job.turn for job in queue.before(5.0)]
            assert turns == sorted(job.turn for job in line if job.turn <= 5.0)

    asyncio.run(play())
