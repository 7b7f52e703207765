"""Check 6: decompression bombs are refused at the header, or at their first frame, within 64 MiB.

The bombs of rows I-1 to I-6 and I-10, each ten times, eight in parallel. Copies differ by a number behind the
picture's end, which no format reads.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import cv2
import numpy as np
import pytest

from harness import client, hostile_pictures
from harness.gallery import picture
from harness.load import Load, closed_loop
from harness.peaks import MemoryPeak, memory_peak
from harness.pictures import built_in, tiny_png, unique_jpeg
from harness.recorder import RecordFigure
from harness.server import ServerProcess, start_server
from posecluster_inference.machine.memory import worker_share_bytes

DETECT = "/v1/detect"
AT_ONCE = 8
MIB = 1 << 20
GROWTH = 64 * MIB
HEADER_SECONDS = 0.100
BUSY_SECONDS = 0.500  # the same where clients, sampling and other tests use the processors too
_WARM_REQUESTS = 32


@dataclass(frozen=True, slots=True)
class Bomb:
    """A file, its expected answer, and whether its header is enough to refuse it."""

    body: bytes
    status: int
    reason: str
    by_header: bool = True


def bombs() -> dict[str, Bomb]:
    """All of them, by row and name."""
    frame = cv2.imencode(".webp", np.zeros((64, 64, 3), np.uint8), [cv2.IMWRITE_WEBP_QUALITY, 101])[1]
    idat = picture("hostile/bomb_idat_64mib_for_8x8.png")
    large, broken = (413, "picture_too_large"), (422, "undecodable")
    found = {
        "I-1 30,000 a side": Bomb(picture("hostile/bomb_30000x30000_1bit.png"), *large),
        "I-1 12,000 a side": Bomb(picture("hostile/bomb_12000x12000_gray8.png"), *large),
        "I-2 2^31-1 a side": Bomb(picture("hostile/bomb_header_2147483647.png"), *large),
        "I-2 0 a side": Bomb(picture("hostile/bomb_header_0x0.png"), *broken),
        "I-3 second header": Bomb(hostile_pictures.second_header(), *broken),
        "I-3 64 MiB of pixels": Bomb(idat, *broken, by_header=False),
        "I-4 profile": Bomb(picture("hostile/bomb_iccp_64mib.png"), 200, "", by_header=False),
        "I-4 text": Bomb(picture("hostile/bomb_ztxt_64mib.png"), 200, "", by_header=False),
        "I-4 text chunks": Bomb(hostile_pictures.text_chunks(tiny_png()), 200, "", by_header=False),
        "I-4 too many": Bomb(hostile_pictures.text_chunks(tiny_png(), 20_000), *broken),
        "I-5 scans": Bomb(picture("hostile/bomb_2000_scans_4000x4000.jpg"), *broken),
        "I-6 baseline": Bomb(picture("hostile/bomb_header_65500x65500.jpg"), *large),
        "I-6 progressive": Bomb(picture("hostile/bomb_header_65500x65500_progressive.jpg"), *large),
        "I-6 made here": Bomb(hostile_pictures.huge_jpeg(65_500, 65_500), *large),
        "I-10 frames": Bomb(
            hostile_pictures.many_frames(frame.tobytes()[12:], 64, 64), 200, "", by_header=False
        ),
    }
    for number, data in enumerate(hostile_pictures.bad_huffman_webp()):
        found[f"I-10 Huffman tables {number}"] = Bomb(data, *broken, by_header=False)
    return found


NAMES = (
    *("I-1 30,000 a side", "I-1 12,000 a side", "I-2 2^31-1 a side", "I-2 0 a side"),
    *("I-3 second header", "I-3 64 MiB of pixels"),
    *("I-4 profile", "I-4 text", "I-4 text chunks", "I-4 too many"),
    *("I-5 scans", "I-6 baseline", "I-6 progressive", "I-6 made here"),
    *("I-10 frames", "I-10 Huffman tables 0", "I-10 Huffman tables 1", "I-10 Huffman tables 2"),
)
_number = count()


@pytest.fixture(scope="module")
def all_bombs() -> dict[str, Bomb]:
    return bombs()


@pytest.fixture(scope="module")
def server(full_model: Any) -> Iterator[ServerProcess]:
    """A server whose memory has been used by eight ordinary photos at the same time."""
    share = worker_share_bytes(1 << 30, workers=2)
    with start_server(workers=2, cache_entries=0, worker_memory_bytes=share) as one:
        asyncio.run(warm(one))
        yield one


async def warm(server: ServerProcess) -> None:
    base = picture("single/mp_pose.jpg")
    load = await closed_loop(
        server.url + DETECT, lambda n: unique_jpeg(base, n), clients=AT_ONCE, count=_WARM_REQUESTS
    )
    assert load.statuses == {200: _WARM_REQUESTS}, load.summary()


async def drop(server: ServerProcess, body: bytes, times: int) -> tuple[Load, MemoryPeak]:
    """Post it that often, eight at a time; what came back, and the memory meanwhile."""
    first = next(_number) * 1_000
    with memory_peak(server) as memory:
        load = await closed_loop(
            server.url + DETECT,
            lambda n: body + b"\n%d" % n,
            clients=AT_ONCE,
            count=times,
            first_index=first,
        )
    assert len(load.outcomes) == times
    return load, memory


def judge(bomb: Bomb, load: Load, memory: MemoryPeak) -> None:
    """What the check demands, but for times."""
    assert {(one.status, one.reason) for one in load.outcomes} == {(bomb.status, bomb.reason)}, load.summary()
    assert memory.growth < GROWTH, f"the server grew by {memory.growth / MIB:.0f} MiB"
    assert memory.growth_all < GROWTH, f"server and workers grew by {memory.growth_all / MIB:.0f} MiB"


def handed_out(server: ServerProcess) -> float:
    """Pictures that any worker has been given."""
    completed = server.metrics("stage_seconds_count", stage="decode")
    return completed + server.metrics("failed_total") + server.metrics("worker_restarts_total")


def test_every_bomb_is_listed(all_bombs: dict[str, Bomb]) -> None:
    assert set(NAMES) == set(all_bombs)


@pytest.mark.serial
@pytest.mark.acceptance(6)
@pytest.mark.hostile("I-1", "I-2", "I-3", "I-4", "I-5", "I-6", "I-10")
@pytest.mark.parametrize("name", NAMES)
async def test_decompression_bombs_are_refused_within_memory_and_time_limits(
    name: str,
    server: ServerProcess,
    all_bombs: dict[str, Bomb],
    record_figure: RecordFigure,
    long_run: bool,
) -> None:
    bomb = all_bombs[name]
    times = 50 if long_run else 10
    before = await asyncio.to_thread(handed_out, server)
    load, memory = await drop(server, bomb.body, times)

    judge(bomb, load, memory)
    given = await asyncio.to_thread(handed_out, server) - before
    assert given == (0 if bomb.by_header else times)
    slowest = max(one.latency for one in load.outcomes)
    if bomb.by_header:
        assert slowest <= (HEADER_SECONDS if long_run else BUSY_SECONDS)
        assert load.latency(0.5) <= (HEADER_SECONDS if long_run else BUSY_SECONDS / 2)
    else:
        assert slowest <= 5
    assert await asyncio.to_thread(server.metrics, "worker_restarts_total") == 0
    good = unique_jpeg(built_in(), next(_number))
    reply = await asyncio.to_thread(client.post, server.url + DETECT, good)
    assert len(reply.json()["people"]) == 1

    bar = "<= 100 ms" if bomb.by_header else "bounded"
    record_figure(f"{name}: slowest answer", 1000 * slowest, bar=bar, unit="ms", sample=times)
    record_figure(f"{name}: memory", memory.growth_all / MIB, bar="<= +64 MiB", unit="MiB", sample=times)


@pytest.mark.acceptance(6)
@pytest.mark.control
async def test_without_limits_a_bomb_exceeds_the_memory(start: Any, full_model: Any) -> None:
    """79 megapixels in 77 kB: with the limits as far off as they go they take a worker's memory."""
    limits = {"max_pixels": 80_000_000, "max_side_pixels": 8_900}
    server = await asyncio.to_thread(
        lambda: start(workers=1, cache_entries=0, hang_limit_ms=20_000, deadline_ms=30_000, **limits)
    )
    bomb = Bomb(tiny_png(8_900, 8_900), 413, "picture_too_large")
    assert len(bomb.body) < 100_000
    load, memory = await drop(server, bomb.body, 1)
    with pytest.raises(AssertionError):
        judge(bomb, load, memory)
    with pytest.raises(AssertionError, match="grew by"):
        judge(Bomb(bomb.body, load.outcomes[0].status, load.outcomes[0].reason), load, memory)
