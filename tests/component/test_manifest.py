"""Every test picture, posted to a real server with the full model.

Each gets the answer that the gallery states, within a bounded time, and the next valid request to the same
worker is answered correctly. Answers equal those of plain MediaPipe for the same bytes.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from harness import client
from harness.answers import GOLDEN_TOLERANCE, off_golden, people
from harness.client import Reply
from harness.gallery import manifest, names, picture, pictures
from harness.load import percentile
from harness.peaks import memory_peak, waits
from harness.pictures import built_in, unique_jpeg
from harness.plain_mediapipe import detect_plain
from harness.recorder import RecordFigure
from harness.server import ServerProcess

DETECT = "/v1/detect"
REFUSED_SECONDS = 1.0  # any refusal; its own bar is 0.1 s, on a machine that does nothing else
SERVED_SECONDS = 5.0
STALL_SECONDS = (1.0, 0.25)  # beside other tests; alone
MIB = 1 << 20


def files() -> list[Any]:
    """Every file, with its rows as marks."""
    return [pytest.param(name, marks=pytest.mark.hostile(*manifest()[name].rows)) for name in names()]


def faults(server: ServerProcess) -> float:
    """Workers that have ended otherwise than by an orderly renewal."""
    return sum(server.metrics("worker_restarts_total", cause=cause) for cause in ("crash", "hang", "start"))


@pytest.fixture(scope="module")
def bare(full_model: Path) -> dict[str, Any]:
    """People according to plain MediaPipe, for every file that must be served."""
    served = names(served=True)
    return dict(zip(served, detect_plain(full_model, pictures(served)), strict=True))


_number = count()


def good_request(server: ServerProcess) -> list[Any]:
    """People in a picture that no cache has seen."""
    reply = client.post(server.url + DETECT, unique_jpeg(built_in(), next(_number)), timeout_seconds=30)
    assert reply.status == 200
    return people(reply)


@pytest.fixture(scope="module")
def good(pose_server: ServerProcess, full_model: Path) -> list[Any]:
    """What `good_request` must find, according to plain MediaPipe."""
    return detect_plain(full_model, [built_in()])[0]  # type: ignore[no-any-return]


@pytest.mark.serial
@pytest.mark.parametrize("name", files())
def test_a_file_is_answered_as_listed(
    name: str, pose_server: ServerProcess, bare: dict[str, Any], good: list[Any]
) -> None:
    entry = manifest()[name]
    begin = time.monotonic()
    reply = client.post(pose_server.url + DETECT, picture(name), timeout_seconds=30)
    seconds = time.monotonic() - begin

    assert (reply.reason if reply.status != 200 else None) in entry.answers, reply.body[:300]
    assert seconds < (SERVED_SECONDS if reply.status == 200 else REFUSED_SECONDS)
    if reply.status == 200:
        check_served(name, reply, bare)
    assert good_request(pose_server) == good
    assert faults(pose_server) == 0


def check_served(name: str, reply: Reply, bare: dict[str, Any]) -> None:
    entry = manifest()[name]
    found = people(reply)  # no NaN, no infinity
    if name in bare:
        assert found == bare[name]
    if entry.golden and name in bare:
        assert len(found) == 1
        assert off_golden(found[0][0], entry.golden) < GOLDEN_TOLERANCE
    if name.startswith("none/"):
        assert found == []
    image = reply.json()["image"]
    assert entry.size is None or sorted(entry.size) == sorted((image["width"], image["height"]))
    if name.startswith("exif/"):
        assert image["width"] > image["height"]  # upright


@pytest.mark.parametrize("variant", ["lite", "heavy"])
def test_the_other_variants_serve(
    variant: str, start: Any, full_model: Path, record_figure: RecordFigure
) -> None:
    model = full_model.with_name(f"pose_landmarker_{variant}.task")
    if not model.is_file():
        pytest.skip(f"no {model.name}: run make models")
    name = "single/mp_test_image.jpg"
    data = picture(name)
    server = start(model_variant=variant)
    begin = time.monotonic()
    reply = client.post(server.url + DETECT, data, timeout_seconds=30)
    record_figure(f"{variant}: one answer", time.monotonic() - begin, bar="<= 5 s", unit="s")
    assert reply.status == 200
    assert reply.json()["model"]["variant"] == variant
    assert client.get(server.url + "/v1/model").json()["variant"] == variant
    found = people(reply)
    assert found == detect_plain(model, [data])[0]
    if variant == "heavy":  # plain MediaPipe does not match the golden for lite either
        assert off_golden(found[0][0], manifest()[name].golden, variant) < GOLDEN_TOLERANCE


@pytest.mark.hostile("I-18")
def test_several_people_are_found(start: Any, full_model: Path) -> None:
    several = pictures(names(folder="multi/"))
    expected = detect_plain(full_model, several, max_people=5)
    server = start(max_people=5)
    found = [people(client.post(server.url + DETECT, data)) for data in several]
    assert found == expected
    assert sum(len(each) > 1 for each in found) >= 4
    assert client.get(server.url + "/v1/model").json()["limits"]["max_people"] == 5


@pytest.mark.serial
def test_hostile_files_do_not_delay_other_callers(
    pose_server: ServerProcess, good: list[Any], record_figure: RecordFigure, long_run: bool
) -> None:
    """All hostile files twice, four at a time: others are answered meanwhile, and memory stays bounded."""
    bodies = pictures(names(folder="hostile/")) * 2
    assert len(bodies) >= 110
    for _ in range(8):
        assert good_request(pose_server) == good

    def send(body: bytes) -> int:
        return client.post(
            pose_server.url + DETECT, body + b"%d" % next(_number) if body else body, timeout_seconds=30
        ).status

    begin = time.monotonic()
    with waits(pose_server) as others, memory_peak(pose_server) as memory, ThreadPoolExecutor(4) as pool:
        statuses = list(pool.map(send, bodies))
    seconds = time.monotonic() - begin

    assert set(statuses) <= {200, 400, 413, 415, 422}
    assert good_request(pose_server) == good
    assert faults(pose_server) == 0
    assert others.failed == 0
    assert len(others.seconds) >= 20
    assert max(others.seconds) < STALL_SECONDS[long_run]
    assert memory.samples >= 20
    assert memory.growth < 64 * MIB
    assert memory.growth_all < 64 * MIB
    record_figure(
        "others wait at most", 1000 * max(others.seconds), bar="<= 250 ms", unit="ms", sample=len(statuses)
    )
    record_figure("others wait, p50", 1000 * percentile(others.seconds, 0.5), bar="", unit="ms")
    record_figure("memory of all processes grows by", memory.growth_all / MIB, bar="<= 64 MiB", unit="MiB")
    record_figure("all hostile files twice", seconds, bar="", unit="s", sample=len(statuses))
