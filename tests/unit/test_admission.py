"""Admission refuses with the reason that applies, counts refusals as demand, and sets Retry-After."""

import asyncio
import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.pool_in_state import PoolInState, admission_to, count
from posecluster_inference.errors import Reason, Refusal
from posecluster_inference.pictures import Header, PictureFormat
from posecluster_inference.server.detection.admission import Admission
from posecluster_inference.server.workers.costs import Costs
from posecluster_inference.server.workers.jobs import AnswerKey, Job, JobQueue
from posecluster_inference.worker.messages import AnswerForm

HEADER = Header(PictureFormat.JPEG, 4, 3)
KEY = AnswerKey(b"digest", AnswerForm("json"))
PLENTY = 100.0


def _admit(admission: Admission, *, within: float = PLENTY, key: AnswerKey = KEY) -> Job:
    return admission.admit(b"picture", HEADER, key, asyncio.get_running_loop().time() + within)


def _full(wait: float = 3.0) -> PoolInState:
    pool = PoolInState(wait=wait)
    for name in (b"1", b"2"):
        pool.queue.put(Job(b"", HEADER, (name, "json"), 0.0, PLENTY, pool.queue.discard))
    return pool


async def test_an_admitted_job_is_queued_and_counted() -> None:
    pool = PoolInState()
    admission = admission_to(pool)
    job = _admit(admission)
    assert (job.picture, job.header, job.key) == (b"picture", HEADER, KEY)
    assert len(pool.queue) == 1
    assert (count(admission.metrics, "arrivals"), count(admission.metrics, "late")) == (1, 0)


async def test_a_caller_with_more_waiting_jobs_makes_room_for_another() -> None:
    pool = PoolInState(wait=1.0, queue=JobQueue(4))
    admission = admission_to(pool)
    keys = [AnswerKey(bytes([number]), KEY.form) for number in range(8)]
    greedy = [admission.admit(b"", HEADER, key, math.inf, "greedy") for key in keys[:4]]
    with pytest.raises(Refusal):
        admission.admit(b"", HEADER, keys[4], math.inf, "greedy")
    polite = [admission.admit(b"", HEADER, key, math.inf, "polite") for key in keys[4:6]]
    assert [job.is_lost for job in greedy] == [False, False, True, True]  # the last to come
    refusal = greedy[3].done.exception()
    assert isinstance(refusal, Refusal)
    assert (refusal.reason, refusal.status) == (Reason.QUEUE_FULL, 503)
    assert "Another caller" in refusal.detail
    assert greedy[2].done.exception() is not None
    with pytest.raises(Refusal):  # each has half of the places
        admission.admit(b"", HEADER, keys[6], math.inf, "polite")
    assert list(pool.queue.before(math.inf)) == [greedy[0], polite[0], greedy[1], polite[1]]
    assert count(admission.metrics, "refused", reason=Reason.QUEUE_FULL) == 4


async def test_an_abandoned_job_leaves_the_queue() -> None:
    pool = PoolInState()
    job = _admit(admission_to(pool))
    job.abandon(job)
    assert len(pool.queue) == 0


@pytest.mark.parametrize(
    ("state", "more", "reason", "status", "says_when"),
    [
        ({"live": 0}, {}, Reason.STARTING, 503, True),
        ({}, {"used": 95}, Reason.MEMORY, 503, True),
        ({"wait": 3.0}, {"within": 3.4}, Reason.DEADLINE, 504, False),
    ],
    ids=["no worker lives", "memory is short", "the work ahead takes longer than the deadline"],
)
async def test_refusals_are_demand_with_a_reason(
    state: dict[str, Any], more: dict[str, Any], reason: Reason, status: int, says_when: bool
) -> None:
    pool = PoolInState(**state)
    admission = admission_to(pool, used_percent=more.get("used", 0))
    with pytest.raises(Refusal) as caught:
        _admit(admission, within=more.get("within", PLENTY))
    assert (caught.value.reason, caught.value.status) == (reason, status)
    assert (caught.value.retry_after_seconds is not None) == says_when
    assert len(pool.queue) == 0
    counted = [count(admission.metrics, name) for name in ("arrivals", "late")]
    assert [*counted, count(admission.metrics, "refused", reason=reason)] == [1, 1, 1]


async def test_a_full_queue_is_refused_with_the_work_ahead() -> None:
    pool = _full(wait=3.2)
    admission = admission_to(pool)
    with pytest.raises(Refusal) as caught:
        _admit(admission)
    assert (caught.value.reason, caught.value.status) == (Reason.QUEUE_FULL, 503)
    assert caught.value.retry_after_seconds in (4, 5, 6)
    assert len(pool.queue) == 2


async def test_with_an_idle_worker_even_a_short_deadline_may_try() -> None:
    assert _admit(admission_to(PoolInState(costs=Costs(5.0))), within=0.01)


async def test_a_deadline_that_the_work_ahead_allows_may_wait() -> None:
    assert _admit(admission_to(PoolInState(wait=3.0)), within=4.0)


async def test_a_refusal_names_the_first_cause_that_waiting_cannot_resolve() -> None:
    pool = _full()
    admission, closed = admission_to(pool, used_percent=99), admission_to(pool, used_percent=99)
    closed.close()
    reasons = []
    for asked, live in ((closed, 0), (admission, 0), (admission, 1)):
        pool.live = live
        with pytest.raises(Refusal) as caught:
            _admit(asked)
        reasons.append(caught.value.reason)
    assert reasons == [Reason.DRAINING, Reason.STARTING, Reason.MEMORY]


async def test_a_closed_server_refuses_before_the_body() -> None:
    admission = admission_to(PoolInState())
    admission.check_open()
    assert count(admission.metrics, "arrivals") == 0
    admission.close()
    with pytest.raises(Refusal) as caught:
        admission.check_open()
    assert (caught.value.reason, caught.value.status) == (Reason.DRAINING, 503)
    assert [count(admission.metrics, "arrivals"), count(admission.metrics, "refused", reason="draining")] == [
        1,
        1,
    ]


async def test_a_picture_that_killed_two_workers_is_refused_and_not_counted_as_demand() -> None:
    pool = PoolInState()
    admission = admission_to(pool)
    now = asyncio.get_running_loop().time()
    for _ in range(2):
        pool.quarantine.record(KEY[0], now)
    with pytest.raises(Refusal) as caught:
        _admit(admission)
    assert (caught.value.reason, caught.value.status) == (Reason.UNDECODABLE, 422)
    assert count(admission.metrics, "arrivals") == 0
    assert _admit(admission, key=AnswerKey(b"another", KEY.form))


@given(wait=st.floats(min_value=0, max_value=1e9), seed=st.integers(0, 1_000))
def test_retry_after_is_the_work_ahead_plus_jitter_within_a_minute(wait: float, seed: int) -> None:
    admission = admission_to(PoolInState())
    admission.rng = random.Random(seed)
    seconds = admission.retry_after(wait)
    assert isinstance(seconds, int)
    assert 1 <= seconds <= 60
    assert min(58, wait) <= seconds < max(1, wait) + 3


def test_retry_after_differs_between_callers() -> None:
    admission = admission_to(PoolInState())
    assert {admission.retry_after(4.5) for _ in range(100)} == {5, 6, 7}


def test_the_longest_retry_after_also_differs_between_callers() -> None:
    admission = admission_to(PoolInState())
    for wait in (58.0, 60.0, 1e9):
        assert {admission.retry_after(wait) for _ in range(100)} == {58, 59, 60}


async def test_a_large_picture_is_refused_once_large_ones_fill_half_of_the_queue() -> None:
    pool = PoolInState(wait=1.0, costs=Costs(0.05), queue=JobQueue(4))
    admission = admission_to(pool)
    large = Header(PictureFormat.PNG, 6_000, 4_000)
    for _ in range(2):
        assert admission.admit(b"", large, KEY, math.inf).cost.is_heavy
    with pytest.raises(
        Refusal, match="All 2 of 4 waiting places that large pictures may use are taken"
    ) as caught:
        admission.admit(b"", large, KEY, math.inf)
    assert caught.value.reason is Reason.QUEUE_FULL
    assert not _admit(admission).cost.is_heavy, "an ordinary one still finds a place"
