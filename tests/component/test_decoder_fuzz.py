"""Check 37: mutated pictures against header checks and decoders, in real workers and without a server.

Three rounds: the decoders in a separate process, servers whose workers decode and then run the stub
engine, and a server with the full model. Each input is identified by (seed, format, index), so that an
input that crashes can be generated again and stored in tests/data/regressions.
"""

import asyncio
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engines.stub_engine import Command, command_png
from harness import client, mutations
from harness.load import Load, closed_loop
from harness.pictures import ROOT, built_in, unique_jpeg
from harness.recorder import RecordFigure
from harness.server import ServerProcess
from posecluster_inference.machine.memory import worker_share_bytes

DETECT = "/v1/detect"
DOCUMENTED = {200, 400, 413, 415, 422}
LONGEST_SECONDS = 2.0
ALONE_INPUTS = 800  # of each format
SERVER_INPUTS = 640
MODEL_SECONDS = 5.0
MODEL_LONG_SECONDS = 200.0
MODEL_INPUTS = 100
CLIENTS = 4
SHARE = worker_share_bytes(1 << 30, workers=2)


class Crashed(AssertionError):
    """An input ended a process; it has been kept."""


def keep(data: bytes, folder: Path) -> Path:
    """Write an input to where the next run takes its seeds."""
    path = folder / f"crash-{hashlib.sha256(data).hexdigest()[:16]}.bin"
    path.write_bytes(data)
    return path


def fuzz_alone(
    seed: int, form: str, count: int, *, planted: int = -1, folder: Path = mutations.REGRESSIONS
) -> dict[str, Any]:
    """Run decoder_child to its end; raises Crashed, with the input kept, when it does not get there."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT / "inference"), str(ROOT / "tests")]),
    }
    done = subprocess.run(
        [sys.executable, "-m", "harness.decoder_child", str(seed), form, str(count), str(planted)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=80 + count / 20,
        check=False,
    )
    lines = done.stdout.splitlines()
    if done.returncode:
        index = int(lines[-1])
        path = keep(mutations.mutated(seed, form, index, mutations.seeds(form)), folder)
        raise Crashed(f"{form} {index} ended with {done.returncode}: {path.name}\n{done.stderr[-2_000:]}")
    assert len(lines) == count + 1
    result: dict[str, Any] = json.loads(lines[-1])
    return result


async def fuzz_server(
    server: ServerProcess,
    bodies: Any,
    *,
    count: int | None = None,
    seconds: float | None = None,
    folder: Path = mutations.REGRESSIONS,
) -> Load:
    """Post mutated pictures; raises Crashed, with what ended a worker kept, if any did."""
    before = await asyncio.to_thread(faults, server)
    load = await closed_loop(
        server.url + DETECT, bodies, clients=CLIENTS, count=count, seconds=seconds, timeout_seconds=30
    )
    guilty = [one for one in load.outcomes if one.reason in ("worker_crashed", "worker_hung")]
    paths = [keep(bodies(one.index), folder).name for one in guilty]
    ended = await asyncio.to_thread(faults, server) - before
    if guilty or ended:
        raise Crashed(f"{ended:.0f} workers ended: {paths} {load.summary()}")
    return load


def faults(server: ServerProcess) -> float:
    """Workers that have ended otherwise than by an orderly renewal."""
    return sum(server.metrics("worker_restarts_total", cause=cause) for cause in ("crash", "hang", "start"))


def judge(load: Load, least: int) -> None:
    assert len(load.outcomes) >= least, load.summary()
    assert set(load.statuses) <= DOCUMENTED, load.summary()
    assert {one.reason for one in load.outcomes if one.status == 422} <= {"undecodable"}
    assert load.statuses[200] >= least / 50, load.summary()  # not all die at the door
    assert max(one.latency for one in load.outcomes) <= LONGEST_SECONDS


@pytest.mark.acceptance(37)
@pytest.mark.parametrize("form", mutations.FORMATS)
def test_mutated_pictures_in_the_decoders_without_a_server(
    form: str, seed: int, record_figure: RecordFigure, long_run: bool
) -> None:
    count = ALONE_INPUTS * (40 if long_run else 1)
    result = fuzz_alone(seed, form, count)
    outcomes = result["outcomes"]
    assert sum(outcomes.values()) == count
    assert set(outcomes) <= {
        "decoded",
        "undecodable",
        "refused 400",
        "refused 413",
        "refused 415",
        "refused 422",
    }
    assert outcomes["decoded"] >= count / 50
    assert outcomes["undecodable"] >= 1
    assert result["slowest"] <= LONGEST_SECONDS
    name = f"{form} alone: slowest"
    record_figure(name, 1000 * result["slowest"], bar="<= 2 s", unit="ms", sample=f"{count}: {outcomes}")


@pytest.mark.acceptance(37)
@pytest.mark.parametrize("form", mutations.FORMATS)
async def test_mutated_pictures_in_real_workers(
    form: str, start: Any, seed: int, record_figure: RecordFigure, long_run: bool
) -> None:
    count = SERVER_INPUTS * (20 if long_run else 1)
    server = await asyncio.to_thread(
        lambda: start(engine="stub", workers=2, cache_entries=0, worker_memory_bytes=SHARE)
    )
    pool = mutations.seeds(form)
    assert len(pool) >= 8
    load = await fuzz_server(server, lambda index: mutations.mutated(seed, form, index, pool), count=count)
    judge(load, count)
    good = command_png(Command.OK, 0, b"after the fuzz")
    assert (await asyncio.to_thread(client.post, server.url + DETECT, good)).status == 200
    slowest = max(one.latency for one in load.outcomes)
    record_figure(f"{form}: slowest", 1000 * slowest, bar="<= 2 s", unit="ms", sample=load.summary())


@pytest.mark.acceptance(37)
async def test_mutated_pictures_with_the_full_model(
    pose_server: ServerProcess, seed: int, record_figure: RecordFigure, long_run: bool
) -> None:
    pools = {form: mutations.seeds(form) for form in mutations.FORMATS}

    def body(index: int) -> bytes:
        form = mutations.FORMATS[index % len(mutations.FORMATS)]
        return mutations.mutated(seed + 1, form, index, pools[form])  # not those of the other rounds

    seconds = MODEL_LONG_SECONDS if long_run else MODEL_SECONDS
    load = await fuzz_server(pose_server, body, seconds=seconds)
    judge(load, MODEL_INPUTS)  # with the other rounds' 3 x SERVER_INPUTS the check's 2,000
    reply = await asyncio.to_thread(client.post, pose_server.url + DETECT, unique_jpeg(built_in(), seed))
    assert len(reply.json()["people"]) == 1
    slowest = max(one.latency for one in load.outcomes)
    record_figure("full model: slowest", 1000 * slowest, bar="<= 2 s", unit="ms", sample=load.summary())


@pytest.mark.acceptance(37)
def test_inputs_that_once_crashed_are_handled(pose_server: ServerProcess) -> None:
    before = faults(pose_server)
    for path in mutations.regressions():
        reply = client.post(pose_server.url + DETECT, path.read_bytes(), timeout_seconds=30)
        assert reply.status in DOCUMENTED, path.name
    assert faults(pose_server) == before
    assert (mutations.REGRESSIONS / "README.md").is_file()


@pytest.mark.acceptance(37)
def test_equal_seeds_give_equal_inputs() -> None:
    for form in mutations.FORMATS:
        pool = mutations.seeds(form)
        made = [[mutations.mutated(seed, form, n, pool) for n in range(50)] for seed in (1, 1, 2)]
        assert made[0] == made[1] != made[2]
        assert len(set(made[0])) >= 45


@pytest.mark.acceptance(37)
@pytest.mark.control
def test_a_planted_crash_of_a_decoder_is_found(seed: int, tmp_path: Path) -> None:
    with pytest.raises(Crashed, match="png 17 ended with -6"):
        fuzz_alone(seed, "png", 40, planted=17, folder=tmp_path)
    kept = [path.read_bytes() for path in tmp_path.iterdir()]
    assert kept == [mutations.mutated(seed, "png", 17, mutations.seeds("png"))]


@pytest.mark.acceptance(37)
@pytest.mark.control
async def test_a_planted_crash_of_a_worker_is_found(start: Any, seed: int, tmp_path: Path) -> None:
    server = await asyncio.to_thread(lambda: start(engine="stub", workers=2, cache_entries=0))
    pool = mutations.seeds("png")
    crash = command_png(Command.SEGV, 0, b"planted")
    kept = tmp_path / "kept"
    kept.mkdir()

    def body(index: int) -> bytes:
        return crash if index == 30 else mutations.mutated(seed, "png", index, pool)

    with pytest.raises(Crashed, match="2 workers ended"):
        await fuzz_server(server, body, count=60, folder=kept)
    assert [path.read_bytes() for path in kept.iterdir()] == [crash]
    await asyncio.to_thread(server.wait_ready)  # it stayed confined
