"""Cached answers are bounded by number and bytes; requests join a computation only until it ends."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posecluster_inference.errors import Reason, Refusal
from posecluster_inference.pictures import Header, PictureFormat
from posecluster_inference.server.detection.cache import AnswerCache, Flights
from posecluster_inference.server.workers.jobs import Answer, AnswerKey, Job
from posecluster_inference.worker.messages import AnswerForm

MIB = 1 << 20
BYTES = 32 * MIB
LARGEST = 4 * MIB
ANSWERS = {size: Answer(bytes(size), 0.0, 0.0, {}) for size in (0, 1, MIB, 3 * MIB, LARGEST, LARGEST + 1)}


def _key(number: int, kind: str = "json", *, keypoints: str = "", in_pixels: bool = False) -> AnswerKey:
    return AnswerKey(number.to_bytes(4, "big"), AnswerForm(kind, keypoints=keypoints, in_pixels=in_pixels))


def _job(number: int = 1) -> Job:
    return Job(b"", Header(PictureFormat.PNG, 1, 1), _key(number), 0.0, 1.0, lambda job: None)


def _kept(cache: AnswerCache, numbers: range) -> list[int]:
    return [number for number in numbers if cache.get(_key(number)) is not None]


def test_an_answer_is_found_by_picture_and_form() -> None:
    cache = AnswerCache(8)
    assert cache.put(_key(1), ANSWERS[1])
    assert cache.get(_key(1)) is ANSWERS[1]
    assert cache.get(_key(2)) is None
    assert cache.get(_key(1, "png")) is None
    assert cache.get(_key(1, keypoints="coco")) is None
    assert cache.get(_key(1, in_pixels=True)) is None


def test_the_least_recently_used_goes_first() -> None:
    cache = AnswerCache(3)
    for number in range(3):
        cache.put(_key(number), ANSWERS[1])
    cache.get(_key(0))
    cache.put(_key(3), ANSWERS[1])
    assert _kept(cache, range(4)) == [0, 2, 3]


def test_bytes_are_bounded_whatever_the_number() -> None:
    cache = AnswerCache(1_000)
    for number in range(9):
        assert cache.put(_key(number), ANSWERS[LARGEST])
    assert _kept(cache, range(9)) == list(range(1, 9))


def test_one_answer_may_not_push_out_all_others() -> None:
    cache = AnswerCache(1_000)
    cache.put(_key(1), ANSWERS[1])
    assert not cache.put(_key(2), ANSWERS[LARGEST + 1])
    assert _kept(cache, range(3)) == [1]


def test_an_answer_that_replaces_itself_is_counted_once() -> None:
    cache = AnswerCache(1_000)
    for _ in range(100):
        cache.put(_key(0), ANSWERS[LARGEST])
    for number in range(1, 8):
        cache.put(_key(number), ANSWERS[LARGEST])
    assert _kept(cache, range(8)) == list(range(8))


def test_a_cache_of_size_zero_stores_nothing() -> None:
    cache = AnswerCache(0)
    assert not cache.put(_key(1), ANSWERS[0])
    assert cache.get(_key(1)) is None


@given(
    entries=st.integers(0, 12),
    puts=st.lists(st.tuples(st.integers(0, 15), st.sampled_from(sorted(ANSWERS))), max_size=60),
)
def test_the_bounds_hold_and_the_newest_answer_is_stored(entries: int, puts: list[tuple[int, int]]) -> None:
    cache = AnswerCache(entries)
    for number, size in puts:
        known = cache.get(_key(number))
        if cache.put(_key(number), ANSWERS[size]):
            assert cache.get(_key(number)) is ANSWERS[size]
        else:
            assert entries == 0 or size > LARGEST
            assert cache.get(_key(number)) is known
    kept = [cache.get(_key(number)) for number in range(16)]
    bodies = [answer.body for answer in kept if answer is not None]
    assert len(bodies) <= entries
    assert sum(map(len, bodies)) <= BYTES


def test_answers_of_one_owner_are_removed() -> None:
    cache, form = AnswerCache(8), _key(1).form
    keys = {owner: AnswerKey(b"1", form, owner) for owner in ("", "token:a", "token:b")}
    for key in keys.values():
        cache.put(key, ANSWERS[1])
    cache.forget("token:a")
    assert [key.owner for key in keys.values() if key in cache] == ["", "token:b"]
    assert cache._bytes == 2 * len(ANSWERS[1].body)


async def test_a_computation_is_joined_until_it_finishes() -> None:
    flights, job = Flights(AnswerCache(4)), _job()
    flights.add(job, joinable=True)
    assert flights.get(_key(1)) is job
    assert flights.get(_key(2)) is None
    job.succeed(ANSWERS[1])
    # until the loop has run its callbacks, the answer is stored nowhere else
    assert flights.get(_key(1)) is job
    await _settle(job)
    assert flights.get(_key(1)) is None
    assert flights.cache.get(_key(1)) is ANSWERS[1]


@pytest.mark.parametrize("end", ["refused", "abandoned"])
async def test_a_computation_that_ended_without_an_answer_is_not_joined(end: str) -> None:
    flights, job = Flights(AnswerCache(4)), _job()
    flights.add(job, joinable=True)
    if end == "refused":
        job.fail(Refusal(Reason.UNDECODABLE, "no"))
        assert isinstance(job.done.exception(), Refusal)
    else:
        job.done.cancel()
    assert flights.get(_key(1)) is None


async def test_an_old_computation_that_finishes_does_not_remove_its_successor() -> None:
    flights, old, new = Flights(AnswerCache(4)), _job(), _job()
    flights.add(old, joinable=True)
    old.done.cancel()
    flights.add(new, joinable=True)  # before the callbacks of the old one's end have run
    await _settle(old)
    assert flights.get(_key(1)) is new


async def test_finished_computations_are_removed() -> None:
    flights, job = Flights(AnswerCache(4)), _job()
    flights.add(job, joinable=True)
    job.succeed(Answer(b"", 0.0, 0.0, {}))
    await _settle(job)
    assert flights.get(_key(1)) is None
    assert not flights._jobs


async def _settle(job: Job) -> None:
    """Wait until the loop has run all callbacks of the job's end."""
    told = job.done.get_loop().create_future()
    job.done.add_done_callback(lambda _done: told.set_result(None))
    await told


def test_answers_of_a_worker_that_ended_are_removed() -> None:
    cache = AnswerCache(8)
    for number, worker in enumerate((7, 8, 7)):
        cache.put(_key(number), replace(ANSWERS[MIB], worker=worker))
    cache.forget_worker(7)
    assert _kept(cache, range(3)) == [1]
    for number in range(3, 10):  # the bytes of the removed ones are free again
        assert cache.put(_key(number), ANSWERS[MIB])
        assert cache.get(_key(1)) is not None
