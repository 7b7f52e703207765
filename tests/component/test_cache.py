"""The answer cache: stored answers, identical pictures in flight, and `no-cache`."""

import asyncio
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from engines.stub_engine import Command, command_png
from harness import client
from harness.client import Reply
from harness.raw import RawConnection, RawResponse, post
from harness.recorder import RecordFigure
from harness.server import ServerProcess
from harness.stub import DETECT, Slow, inferences, nose, send, send_many, wait_waiting

MISS = "posecluster; fwd=miss; stored"
HIT = "posecluster; hit"
COLLAPSED = "posecluster; fwd=miss; collapsed"
FRESH = "posecluster; fwd=request; stored"
Start = Callable[..., ServerProcess]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "stub.log"


@pytest.fixture
def serve(start: Start, log: Path) -> Start:
    """Servers of one worker whose inferences `log` counts."""
    return lambda **settings: start(**{"engine": "stub", "env": {"STUB_LOG": str(log)}, **settings})


def detect(server: ServerProcess, picture: bytes, **headers: str) -> Reply:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post(server.url + DETECT, picture, headers=fields, timeout_seconds=20)


def cache_status(reply: Reply) -> str:
    return reply.headers["Cache-Status"]


def answered(connection: RawConnection, seconds: float = 10) -> RawResponse:
    """The one answer on a connection."""
    (response,) = connection.read(seconds, responses=1).responses
    return response


def test_a_second_request_is_answered_from_the_cache(serve: Start, log: Path) -> None:
    server, picture = serve(), Slow(20).picture(0)
    first, second = detect(server, picture), detect(server, picture)
    assert (cache_status(first), cache_status(second)) == (MISS, HIT)
    fresh, kept = first.json(), second.json()
    assert (fresh.pop("cached"), kept.pop("cached")) == (False, True)
    assert fresh.pop("id") != kept.pop("id")
    assert fresh == kept
    assert inferences(log).total() == 1
    assert server.metrics("cache_requests_total", result="miss") == 1
    assert server.metrics("cache_requests_total", result="hit") == 1
    assert server.metrics("arrivals_total") == 1, "a hit asked for no compute"


def test_each_form_of_the_answer_is_cached_separately(serve: Start, log: Path) -> None:
    server, picture = serve(), Slow(0).picture(0)
    forms = ("application/json", "image/jpeg", "image/png", "image/webp")
    first = [detect(server, picture, Accept=form) for form in forms]
    again = [detect(server, picture, Accept=form) for form in forms]
    assert [cache_status(reply) for reply in first + again] == [MISS] * 4 + [HIT] * 4
    assert [reply.headers["Content-Type"] for reply in again] == list(forms)
    assert [reply.body for reply in first[1:]] == [reply.body for reply in again[1:]]
    assert inferences(log).total() == 4


def test_identical_pictures_in_flight_are_computed_once(serve: Start, log: Path) -> None:
    """Some arrive while it waits behind another picture, some while it is computed."""
    server, slow = serve(), Slow(800, "same")
    with ExitStack() as stack:
        send_many(server, stack, [Slow(801, "ahead").picture(0)])
        wait_waiting(server, queued=0, running=1)
        waiting = send_many(server, stack, [slow.picture(0)] * 15)
        wait_waiting(server, queued=1, running=1)
        wait_waiting(server, queued=0, running=1)
        computing = send_many(server, stack, [slow.picture(0)] * 15)
        replies = [answered(connection) for connection in waiting + computing]
    assert [reply.status for reply in replies] == [200] * 30
    assert all(slow.is_answer(0, reply.body) for reply in replies)
    assert Counter(reply.headers["cache-status"] for reply in replies) == {MISS: 1, COLLAPSED: 29}
    assert inferences(log)["OK", 800] == 1
    assert server.metrics("cache_requests_total", result="collapsed") == 29
    assert server.metrics("arrivals_total") == 2


async def test_a_storm_of_one_picture_is_one_inference(
    serve: Start, log: Path, record_figure: RecordFigure
) -> None:
    """Requests that come in the very moment in which the answer does are neither lost nor computed again."""
    server = await asyncio.to_thread(serve, max_connections=400)
    pictures = [command_png(Command.OK, 15, b"storm %d" % index) for index in range(20)]

    async def one(picture: bytes, delay: float) -> bytes:
        await asyncio.sleep(delay)
        reader, writer = await asyncio.open_connection(*server.address)
        writer.write(post(DETECT, picture, "Connection: close"))
        seen = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        return seen

    answers = []
    for picture in pictures:
        answers += await asyncio.gather(*(one(picture, index / 1_000) for index in range(40)))
    assert all(answer.startswith(b"HTTP/1.1 200") for answer in answers)
    record_figure("inferences for 20 pictures sent 40 times", inferences(log).total(), bar="= 20", sample=800)
    assert inferences(log)["OK", 15] == len(pictures)


def test_no_cache_computes_again_and_replaces_the_stored_answer(serve: Start, log: Path) -> None:
    server, picture = serve(), Slow(0).picture(0)
    replies = [
        detect(server, picture, Cache_Control="no-cache"),
        detect(server, picture),
        detect(server, picture, Cache_Control="max-age=0, No-Cache"),
    ]
    assert [cache_status(reply) for reply in replies] == [FRESH, HIT, FRESH]
    assert inferences(log).total() == 2
    assert server.metrics("cache_requests_total", result="bypass") == 2


def test_only_the_directive_no_cache_computes_again(serve: Start) -> None:
    server, picture = serve(), Slow(5).picture(0)
    for value, status in (
        ("max-age=0", MISS),
        ("max-age=0, x-no-cache", HIT),
        ("no-cached", HIT),
        ("max-age=0, No-Cache", FRESH),
        ('no-cache="a"', FRESH),
    ):
        assert cache_status(detect(server, picture, Cache_Control=value)) == status


def test_no_cache_joins_no_computation_and_is_not_joined(serve: Start, log: Path) -> None:
    server, picture = serve(), Slow(200).picture(0)
    with ExitStack() as stack:
        connections = [
            stack.enter_context(send(server, picture, "Cache-Control: no-cache")),
            stack.enter_context(send(server, picture)),
            stack.enter_context(send(server, picture, "Cache-Control: no-cache")),
        ]
        replies = [answered(connection) for connection in connections]
    assert [reply.headers["cache-status"] for reply in replies] == [FRESH, MISS, FRESH]
    assert inferences(log).total() == 3


def test_without_a_cache_no_request_gets_the_answer_of_another(serve: Start, log: Path) -> None:
    server, picture = serve(cache_entries=0), Slow(200).picture(0)
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda _: detect(server, picture), range(4)))
    later = detect(server, picture)
    assert {cache_status(reply) for reply in (*together, later)} == {"posecluster; fwd=miss"}
    assert inferences(log).total() == 5


def test_the_least_recently_used_answer_goes_first(serve: Start) -> None:
    server, slow = serve(cache_entries=2), Slow(0)
    sequence = [0, 1, 0, 2, 0, 1]
    seen = [cache_status(detect(server, slow.picture(index))) for index in sequence]
    assert seen == [MISS, MISS, HIT, MISS, HIT, MISS]


def test_refusals_are_not_cached(serve: Start, log: Path) -> None:
    server = serve(workers=2, deadline_ms=300)
    late = Slow(600).picture(0)
    assert [detect(server, late, Accept="image/png").status for _ in range(2)] == [504, 504]
    server.wait_until(lambda: server.health()["workers"][0]["state"] == "ready", "idle")
    server.wait_until(lambda: server.health()["workers"][1]["state"] == "ready", "idle")
    assert inferences(log)["OK", 600] == 2


def test_callers_that_joined_get_the_answer_though_the_first_one_disconnects(serve: Start, log: Path) -> None:
    """Both while the picture waits and while it is computed, by FIN and by RST."""
    server, slow = serve(), Slow(900, "left")
    for index, is_waiting in enumerate((True, False, True, False)):
        with ExitStack() as stack:
            if is_waiting:
                send_many(server, stack, [Slow(800, "ahead").picture(index)])
                wait_waiting(server, queued=0, running=1)
            leader = send(server, slow.picture(index))
            wait_waiting(server, queued=int(is_waiting), running=1)
            collapsed = server.metrics("cache_requests_total", result="collapsed")
            joiners = send_many(server, stack, [slow.picture(index)] * 3)
            server.wait_until(
                lambda before=collapsed: (
                    server.metrics("cache_requests_total", result="collapsed") == before + 3
                ),
                "joined",
            )
            leader.close() if index < 2 else leader.reset()
            replies = [answered(joiner) for joiner in joiners]
        assert [reply.status for reply in replies] == [200] * 3
        assert all(slow.is_answer(index, reply.body) for reply in replies)
        assert inferences(log)["OK", 900] == index + 1
        after = detect(server, slow.picture(index))
        assert cache_status(after) == HIT, "an answer that was computed and given is worth keeping"
    assert server.metrics("queue_depth") == 0


def test_a_first_caller_with_a_short_deadline_does_not_shorten_the_others_wait(
    serve: Start, log: Path
) -> None:
    server, slow = serve(), Slow(500)
    with (
        send(server, slow.picture(0), "X-Request-Timeout-Ms: 250") as leader,
        ThreadPoolExecutor(1) as pool,
    ):
        wait_waiting(server, queued=0, running=1)
        joiner = pool.submit(detect, server, slow.picture(0))
        assert answered(leader).status == 504
        assert joiner.result(10).status == 200
        assert cache_status(joiner.result()) == COLLAPSED
    assert inferences(log)["OK", 500] == 1


def test_after_every_caller_has_disconnected_the_next_request_is_computed(serve: Start, log: Path) -> None:
    server, slow = serve(), Slow(150, "abandoned")
    with ExitStack() as stack:
        send_many(server, stack, [Slow(600, "ahead").picture(0)])
        wait_waiting(server, queued=0, running=1)
        everybody = send_many(server, stack, [slow.picture(0)] * 3)
        wait_waiting(server, queued=1, running=1)
        for connection in everybody:
            connection.close()
        wait_waiting(server, queued=0, running=1)
        reply = detect(server, slow.picture(0))
    assert reply.status == 200
    assert abs(nose(reply.json()) - slow.nose(0)) < 1e-6
    assert cache_status(reply) == MISS
    assert inferences(log)["OK", 150] == 1


def test_every_waiting_caller_gets_the_failure(serve: Start, log: Path) -> None:
    """One picture that crashes its worker: two tries in all, not two for each of ten callers."""
    server, poison = serve(workers=2), command_png(Command.KILL, 0, b"shared poison")
    with ExitStack() as stack:
        send_many(server, stack, [Slow(500, "ahead").picture(index) for index in range(2)])
        wait_waiting(server, queued=0, running=2)
        connections = send_many(server, stack, [poison] * 10)
        replies = [answered(connection) for connection in connections]
    assert {reply.status for reply in replies} == {503}
    assert all(1 <= int(reply.headers["retry-after"]) <= 60 for reply in replies)
    assert inferences(log)["KILL", 0] == 2
