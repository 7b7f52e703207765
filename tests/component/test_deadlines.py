"""Check 24 and row H-20: what cannot be answered in time is refused in time, and never computed."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness import client
from harness.bars import bar_text
from harness.load import closed_loop
from harness.recorder import RecordFigure
from harness.server import ServerProcess, start_server
from harness.stub import DETECT, Slow, inferences, send, send_many, wait_waiting

QUEUED_MS = 100  # also what the server takes for its service time before it has measured one
QUEUED = Slow(QUEUED_MS, "queued")
HURRIED_MS, PATIENT_MS = 7, 9  # their service times name them in the stub's log
HURRY = {"X-Request-Timeout-Ms": "300"}


def queue_of_two_seconds(server: ServerProcess, stack: ExitStack) -> None:
    """One worker at work and 2 s of work waiting, from clients that stay."""
    send_many(server, stack, [QUEUED.picture(index) for index in range(23)])
    server.wait_until(lambda: server.health()["queue"]["length"] >= 20, "2 s of queue", 5)


@pytest.mark.serial
@pytest.mark.acceptance(24)
async def test_a_deadline_that_the_queue_makes_impossible_is_refused_uncomputed(
    start: Callable[..., ServerProcess], tmp_path: Path, record_figure: RecordFigure, long_run: bool
) -> None:
    log = tmp_path / "stub.log"
    server = await asyncio.to_thread(start, engine="stub", queue_length=100, env={"STUB_LOG": str(log)})
    with ExitStack() as stack:
        await asyncio.to_thread(queue_of_two_seconds, server, stack)
        load = await closed_loop(
            server.url + DETECT, Slow(HURRIED_MS, "hurried").picture, clients=20, count=100, headers=HURRY
        )
        still = (await asyncio.to_thread(server.health))["queue"]["length"]
        assert still * QUEUED_MS > 300, "the queue was gone before the last request asked"
        # the queue drains: anything that was admitted wrongly would be computed now
        await asyncio.to_thread(wait_waiting, server, queued=0, running=0)
    bar_ms = 400 if long_run else 800
    bar = bar_text(f"<= {bar_ms} ms", "<= 400 ms")
    record_figure("504 after", load.latency(1.0, 504) * 1000, bar=bar, unit="ms", sample=100)
    assert load.statuses == {504: 100}, load.summary()
    assert load.reasons == {"deadline": 100}
    assert load.latency(1.0) <= bar_ms / 1000
    assert inferences(log)["OK", HURRIED_MS] == 0
    assert inferences(log)["OK", QUEUED_MS] == 23
    assert await asyncio.to_thread(server.metrics, "refused_total", reason="deadline") == 100
    assert await asyncio.to_thread(server.metrics, "late_total") >= 100


@pytest.mark.serial
@pytest.mark.acceptance(24)
@pytest.mark.control
async def test_the_same_queue_answers_callers_with_longer_deadlines(
    start: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    log = tmp_path / "stub.log"
    server = await asyncio.to_thread(start, engine="stub", queue_length=100, env={"STUB_LOG": str(log)})
    patient = Slow(PATIENT_MS, "patient")
    with ExitStack() as stack:
        await asyncio.to_thread(queue_of_two_seconds, server, stack)
        load = await closed_loop(
            server.url + DETECT,
            patient.picture,
            clients=20,
            count=20,
            headers={"X-Request-Timeout-Ms": "5000"},
            check=patient.check,
        )
    assert len(load.right) == 20, load.summary()
    assert inferences(log)["OK", PATIENT_MS] == 20


@pytest.mark.serial
@pytest.mark.acceptance(24)
async def test_work_that_expires_while_it_waits_reaches_no_worker(
    start: Callable[..., ServerProcess], tmp_path: Path, long_run: bool
) -> None:
    """The estimate lets these in: it knows only quick work, and the worker hangs on a slow one."""
    log = tmp_path / "stub.log"
    server = await asyncio.to_thread(start, engine="stub", queue_length=200, env={"STUB_LOG": str(log)})
    url = server.url + DETECT
    quick = await closed_loop(url, Slow(0, "quick").picture, clients=4, count=60)
    assert quick.statuses == {200: 60}
    with ExitStack() as stack:
        send_many(server, stack, [Slow(2_500, "unforeseen").picture(0)])
        await asyncio.to_thread(wait_waiting, server, queued=0, running=1)
        load = await closed_loop(
            url, Slow(HURRIED_MS, "hurried").picture, clients=100, count=100, headers=HURRY
        )
        await asyncio.to_thread(wait_waiting, server, queued=0, running=1)
        await asyncio.to_thread(wait_waiting, server, queued=0, running=0)
    assert load.statuses == {504: 100}, load.summary()
    waited = [outcome for outcome in load.outcomes if outcome.latency >= 0.3]
    assert waited, "all were refused at the door: the wait was not tried"
    assert load.latency(1.0) <= (0.4 if long_run else 0.9)
    assert inferences(log)["OK", HURRIED_MS] == 0
    # whichever way a request ran out of time, it was demand that was not met
    assert await asyncio.to_thread(server.metrics, "arrivals_total") == 161
    assert await asyncio.to_thread(server.metrics, "refused_total", reason="deadline") == 100
    assert await asyncio.to_thread(server.metrics, "late_total") == 101


@pytest.mark.acceptance(24)
def test_the_deadline_holds_for_work_in_compute_too(start: Callable[..., ServerProcess]) -> None:
    server = start(engine="stub")
    begin = time.monotonic()
    reply = client.post(server.url + DETECT, Slow(1_500).picture(0), headers=HURRY)
    assert (reply.status, reply.reason) == (504, "deadline")
    assert 0.3 <= time.monotonic() - begin <= 1.2


@pytest.mark.acceptance(24)
def test_the_deadline_counts_from_the_last_body_byte(start: Callable[..., ServerProcess]) -> None:
    server = start(engine="stub", deadline_ms=400)
    picture = Slow(200).picture(0)
    with send(server, Slow(1).picture(0)) as connection:
        assert connection.read(5, responses=1).statuses == [200]
        connection.send(
            f"POST {DETECT} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(picture)}\r\n\r\n".encode()
        )
        sent = connection.dribble(picture[:10], every_seconds=0.06, deadline_seconds=5)
        assert sent == 10
        connection.send(picture[10:])
        assert connection.read(5, responses=1).statuses == [200]


@pytest.mark.hostile("H-20")
@pytest.mark.parametrize(
    "value", ["0", "000", "-1", "1.5", "soon", "", " ", "1e3", "٣٠٠", "+5", "0x10", "5,6"]
)
def test_a_deadline_that_is_no_whole_number_is_400(stub: ServerProcess, value: str) -> None:
    encoded = value.encode()
    request = b"POST %b HTTP/1.1\r\nHost: a\r\nX-Request-Timeout-Ms: %b\r\nContent-Length: 3\r\n\r\nabc"
    with send(stub, Slow(0, "H-20 good").picture(hash(value))) as connection:
        assert connection.read(5, responses=1).statuses == [200]
        connection.send(request % (DETECT.encode(), encoded))
        seen = connection.read(5, responses=1)
    assert seen.statuses == [400]
    assert b'"malformed"' in seen.data


@pytest.mark.hostile("H-20")
@pytest.mark.parametrize("value", ["99999999999999999999", "9" * 3_000, "0000000000000000000005000"])
def test_a_huge_deadline_is_clamped(stub: ServerProcess, value: str) -> None:
    """To the server's own, here 1 s, which the picture overstays."""
    reply = client.post(
        stub.url + DETECT, Slow(1).picture(len(value)), headers={"X-Request-Timeout-Ms": value}
    )
    assert reply.status == 200
    reply = client.post(
        stub.url + DETECT, Slow(1_600).picture(len(value)), headers={"X-Request-Timeout-Ms": value}
    )
    assert (reply.status, reply.reason) == (504, "deadline")
    stub.wait_until(lambda: stub.health()["workers"][0]["state"] == "ready", "idle again")


@pytest.fixture(scope="module")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with start_server(folder=tmp_path_factory.mktemp("stub"), engine="stub", deadline_ms=1_000) as server:
        yield server
