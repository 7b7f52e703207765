"""Check 18: memory does not grow, and a worker that leaks is renewed in time."""

import asyncio
import statistics
import time
from contextlib import contextmanager, suppress

import cv2
import numpy as np
import pytest

from engines.stub_engine import Command, command_png
from harness import client, gallery, pictures, processes
from harness.background import repeating
from harness.faults import live_pids
from harness.load import closed_loop, open_loop

MIB = 1 << 20
_WORKERS = 2
_BATCH = 50
_SOAK, _LONG_SOAK = 1_500, 10_000
_LARGEST_RATE = 100.0  # leaks of 1 MiB a second, by all workers
_LEAKS_A_START = 40  # of one worker, while its successor warms up
_RENEWALS = 10
_ROUND = 200
_MOST_ROUNDS = 12
_RECYCLE = 100
_SHARE = 256 * MIB
_PERSON = "single/coco_000000000370.jpg"


def _mixed():
    """Ten kinds of requests, by index: seven to compute, one known already, three to refuse."""
    person = gallery.picture(_PERSON)
    small = pictures.built_in()
    lossless = gallery.picture("formats/pose_rgb8.png")
    scan = person.index(b"\xff\xda") + 400
    huge = pictures.tiny_png()[:16] + (30_000).to_bytes(4, "big") * 2 + pictures.tiny_png()[24:]

    def body(index):
        match index % 10:
            case 0:
                return b"GIF89a" + bytes(20)
            case 1:
                return huge
            case 2:
                return pictures.unique_png(lossless, index)[: -index % 1_000 - 100]
            case 3:
                return small
            case 4:
                return pictures.unique_jpeg(person[:scan] + b"\xff\xd9", index)
            case 5:
                return pictures.unique_png(lossless, index)
            case 6 | 7:
                return pictures.unique_jpeg(small, index)
        return pictures.unique_jpeg(person, index)

    return body


def _slope(sizes, requests_apart):
    """MiB per 1,000 requests over the last half of the samples."""
    half = sizes[len(sizes) // 2 :]
    line = statistics.linear_regression([index * requests_apart for index in range(len(half))], half)
    return line.slope * 1_000 / MIB


@pytest.mark.acceptance(18)
@pytest.mark.usefixtures("full_model")
def test_large_pictures_do_not_count_as_memory_growth(start):
    """glibc kept 93 MiB after 11-megapixel pictures, and MediaPipe keeps its copy of the last picture."""
    server = start(workers=1, cache_entries=0, deadline_ms=30_000)
    image = cv2.imdecode(np.frombuffer(pictures.built_in(), np.uint8), cv2.IMREAD_COLOR)
    for side, accept, count in (
        (3_464, "image/png", 25),
        (5_000, "application/json", 5),
        (5_000, "image/webp", 3),
    ):
        body = cv2.imencode(".jpg", cv2.resize(image, (side, side)))[1].tobytes()
        for _ in range(count):
            reply = client.post(
                server.url + "/v1/detect", body, headers={"Accept": accept}, timeout_seconds=30
            )
            assert reply.status == 200
    (worker,) = server.health()["workers"]
    assert worker["requests"] == 33, "the same worker answered all"
    assert server.metrics("worker_restarts_total", cause="memory") == 0


@pytest.mark.serial
@pytest.mark.acceptance(18)
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("full_model")
async def test_memory_does_not_creep(start, record_figure, long_run):
    count = _LONG_SOAK if long_run else _SOAK
    # (the cache fills up by design: it must have done so before the last half)
    server = await asyncio.to_thread(start, workers=_WORKERS, model_variant="lite", cache_entries=64)
    url, body = server.url + "/v1/detect", _mixed()
    sizes, statuses = [], set()
    for first in range(0, count, _BATCH):
        accept = "image/png" if first % (4 * _BATCH) == 0 else "application/json"
        load = await closed_loop(
            url, body, clients=4, count=_BATCH, first_index=first, headers={"Accept": accept}
        )
        statuses |= set(load.statuses)
        assert set(load.statuses) <= {200, 413, 415, 422}, load.summary()
        sizes.append(server.rss_with_workers())  # there are no requests now
    assert statuses == {200, 413, 415, 422}
    slope = _slope(sizes, _BATCH)
    bar = 1 if long_run else 4
    assert slope <= bar, [round(size / MIB, 1) for size in sizes]
    assert server.metrics("worker_restarts_total") == 0
    record_figure(
        "RSS slope of the last half", slope, bar=f"<= {bar} MiB per 1,000", unit="MiB per 1,000", sample=count
    )


class _Watch:
    """The largest growth of each worker process since it was first ready, and the fewest live workers."""

    def __init__(self, server):
        self._server = server
        self.warm, self.grown, self.fewest_live = {}, {}, _WORKERS

    def look(self):
        live = live_pids(self._server)
        self.fewest_live = min(self.fewest_live, len(live))
        for pid in live:
            with suppress(ProcessLookupError):
                size = processes.rss(pid)
                self.grown[pid] = max(self.grown.get(pid, 0), size - self.warm.setdefault(pid, size))


@contextmanager
def _watching(server):
    watch = _Watch(server)
    with repeating(watch.look, every_seconds=0.02):
        yield watch


def _leaky(index):
    return command_png(Command.LEAK, 1, b"%d" % index)


async def _leak(start, enough, **settings):
    """Leak evenly until `enough(server)`; the server, what was watched, and the loads."""
    began = time.monotonic()
    server = await asyncio.to_thread(
        start, workers=_WORKERS, engine="stub", recycle_growth_percent=0, queue_length=100, **settings
    )
    start_seconds = time.monotonic() - began  # longer where other tests run beside this one
    rate = min(_LARGEST_RATE, _WORKERS * _LEAKS_A_START / start_seconds)
    loads = []
    with _watching(server) as watch:
        while len(loads) < _MOST_ROUNDS and not enough(server):
            loads.append(
                await open_loop(
                    server.url + "/v1/detect",
                    _leaky,
                    rate=rate,
                    seconds=_ROUND / rate,
                    first_index=len(loads) * _ROUND,
                )
            )
    return server, watch, loads


def _faults(watch, loads):
    """What the check does not allow, by name."""
    found = {
        "a worker used more than 80 % of its share": max(watch.grown.values()) > 0.8 * _SHARE,
        "a request failed": any(len(load.right) != load.planned for load in loads),
        "fewer than half the workers lived": watch.fewest_live < _WORKERS / 2,
    }
    return [name for name, is_so in found.items() if is_so]


def _renewed(server, cause):
    return server.metrics("worker_restarts_total", cause=cause)


@pytest.mark.acceptance(18)
async def test_a_leaking_worker_is_renewed_in_time(start, record_figure):
    server, watch, loads = await _leak(
        start,
        lambda server: _renewed(server, "requests") >= _RENEWALS,
        recycle_requests=_RECYCLE,
        worker_memory_bytes=_SHARE,
    )
    assert _faults(watch, loads) == [], [load.summary() for load in loads]
    renewed = _renewed(server, "requests")
    assert renewed >= _RENEWALS
    assert renewed == server.metrics("worker_restarts_total")
    assert len(processes.children(server.pid)) <= _WORKERS + 1
    sent = sum(load.planned for load in loads)
    record_figure(
        "largest use of a share",
        100 * max(watch.grown.values()) / _SHARE,
        bar="<= 80 %",
        unit="%",
        sample=f"{renewed:.0f} renewals, {sent} requests",
    )
    record_figure("failures", sent - sum(len(load.right) for load in loads), bar="0", sample=sent)
    record_figure("fewest live workers", watch.fewest_live, bar=f">= {_WORKERS // 2}", sample=sent)


@pytest.mark.acceptance(18)
async def test_a_leaking_worker_is_renewed_by_its_memory_too(start):
    server, watch, loads = await _leak(
        start,
        lambda server: _renewed(server, "memory") >= 1,
        recycle_requests=0,
        worker_memory_bytes=_SHARE,
    )
    assert _faults(watch, loads) == [], [load.summary() for load in loads]
    assert _renewed(server, "memory") >= 1


@pytest.mark.acceptance(18)
@pytest.mark.control
async def test_a_leak_without_recycling_fails(start):
    server, watch, loads = await _leak(
        start,
        lambda server: max(map(processes.rss, server.worker_pids())) > 1.1 * _SHARE,
        recycle_requests=0,
        worker_memory_bytes=4 << 30,
    )
    assert _faults(watch, loads) == ["a worker used more than 80 % of its share"]
    assert server.metrics("worker_restarts_total") == 0


@pytest.mark.acceptance(18)
@pytest.mark.control
def test_a_creeping_size_has_a_slope():
    """The soak's measure itself: 5 MiB more in every 1,000 requests are found."""
    sizes = [200 * MIB + index * _BATCH * 5 * MIB // 1_000 for index in range(_SOAK // _BATCH)]
    assert _slope(sizes, _BATCH) == pytest.approx(5, abs=0.01)


def test_only_one_worker_is_renewed_at_a_time(start):
    server = start(workers=4, engine="stub", recycle_requests=10, recycle_growth_percent=0)
    url, most = server.url + "/v1/detect", 0
    for index in range(200):
        assert client.post(url, command_png(Command.OK, 0, b"%d" % index)).status == 200
        most = max(most, len(server.worker_pids()))
    assert most == 5
    assert server.metrics("worker_restarts_total", cause="requests") >= 1
