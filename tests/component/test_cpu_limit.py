"""Check 34: the pool follows the CPU quota, not the node, and no library counts processors by itself."""

import asyncio
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness import client, pictures, processes
from harness.load import Load, closed_loop, open_loop
from harness.recorder import RecordFigure
from harness.server import ServerProcess
from harness.stub import DETECT
from harness.throttling import Throttling
from posecluster_inference.machine.cgroup import allowed_cpus

PERIOD_US = 100_000
# quota -> workers; None means no quota; on a machine that allows at least two processors
WORKERS: dict[float | None, int] = {0.5: 1, 1: 1, 1.5: 2, 2: 2, None: allowed_cpus()}
# share of capacity that scaling aims at, at which a pod must not be throttled
TARGET_LOAD = 0.6
THROTTLED_SHARE = 0.05
CGROUP_V1 = Path("/sys/fs/cgroup/cpu")
CGROUP_V2 = Path("/sys/fs/cgroup")
Start = Callable[..., ServerProcess]


def v1_files(root: Path, quota: float | None) -> None:
    folder = root / "cpu"
    folder.mkdir(parents=True)
    (folder / "cpu.cfs_period_us").write_text(f"{PERIOD_US}\n")
    (folder / "cpu.cfs_quota_us").write_text(f"{-1 if quota is None else int(quota * PERIOD_US)}\n")


def v2_files(root: Path, quota: float | None) -> None:
    root.mkdir(parents=True)
    (root / "cpu.max").write_text(f"{'max' if quota is None else int(quota * PERIOD_US)} {PERIOD_US}\n")


@pytest.mark.acceptance(34)
@pytest.mark.parametrize("files", [v1_files, v2_files], ids=["v1", "v2"])
@pytest.mark.parametrize("quota", WORKERS)
def test_workers_follow_the_quota(
    start: Start,
    tmp_path: Path,
    record_figure: RecordFigure,
    files: Callable[[Path, float | None], None],
    quota: float | None,
) -> None:
    root = tmp_path / "cgroup"
    files(root, quota)
    server = start(engine="stub", workers=0, cgroup_root=str(root), ready=False)
    health = server.health()
    expected = min(WORKERS[quota], allowed_cpus())
    record_figure(f"workers at quota {quota}", len(health["workers"]), bar=f"= {expected}")
    assert len(health["workers"]) == expected
    assert health["queue"]["limit"] == 8 * expected


@pytest.mark.acceptance(34)
def test_a_setting_wins_over_the_quota(start: Start, tmp_path: Path) -> None:
    v2_files(tmp_path / "cgroup", 1)
    server = start(engine="stub", workers=3, cgroup_root=str(tmp_path / "cgroup"), ready=False)
    assert len(server.health()["workers"]) == 3


def thread_counts(start: Start, folder: Path, *, processors: set[int], quota: float) -> tuple[int, int]:
    """Threads of the server and of its worker, after real inferences, on these processors."""
    v2_files(folder, quota)
    pin = f"import os, sys; os.sched_setaffinity(0, {processors!r}); os.execv(sys.argv[1], sys.argv[1:])"
    serve = (sys.executable, "-c", pin, sys.executable, "-m", "posecluster_inference", "serve")
    server = start(workers=0, cgroup_root=str(folder), command=serve)
    base = pictures.built_in()
    for index in range(3):
        reply = client.post(server.url + DETECT, pictures.unique_jpeg(base, index))
        assert reply.status == 200
    (worker,) = server.worker_pids()
    return processes.threads(server.pid), processes.threads(worker)


@pytest.mark.acceptance(34)
def test_no_library_sizes_itself_by_the_processors_it_sees(
    start: Start, tmp_path: Path, full_model: Path, record_figure: RecordFigure
) -> None:
    """The same quota with one processor and with all of them: the same threads."""
    everything = os.sched_getaffinity(0)
    if len(everything) < 2:
        pytest.skip("open: one processor shows no difference")
    one = thread_counts(start, tmp_path / "one", processors={min(everything)}, quota=1)
    many = thread_counts(start, tmp_path / "many", processors=everything, quota=1)
    record_figure(
        f"worker's threads on 1 / {len(everything)} processors", f"{one[1]} / {many[1]}", bar="equal"
    )
    assert many[1] == one[1]


@pytest.mark.acceptance(34)
def test_workers_are_configured_for_one_thread(start: Start) -> None:
    server = start(engine="stub", env={"OMP_NUM_THREADS": "64", "OPENBLAS_NUM_THREADS": "64"})
    (worker,) = server.worker_pids()
    variables = dict(
        entry.split("=", 1)
        for entry in Path(f"/proc/{worker}/environ").read_text(encoding="utf-8").split("\0")
        if "=" in entry
    )
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    assert {name: variables[name] for name in names} == dict.fromkeys(names, "1")
    # numpy, OpenCV and the stub: nothing that starts a thread for each processor
    assert processes.threads(worker) == 1


# --- a real quota ---


@dataclass(slots=True)
class Group:
    """A control group of ours with a CPU quota."""

    folder: Path

    def serve_command(self) -> tuple[str, ...]:
        """The server, started inside."""
        enter = (
            "import os, sys, pathlib; pathlib.Path(sys.argv[1], 'cgroup.procs').write_text(str(os.getpid()));"
            "os.execv(sys.argv[2], sys.argv[2:])"
        )
        return (
            sys.executable, "-c", enter, str(self.folder),
            sys.executable, "-m", "posecluster_inference", "serve",
        )  # fmt: skip

    def throttling(self) -> Throttling:
        text = (self.folder / "cpu.stat").read_text(encoding="ascii")
        numbers = {name: int(value) for name, value in map(str.split, text.splitlines())}
        return Throttling(numbers["nr_periods"], numbers["nr_throttled"])


@pytest.fixture
def group() -> Iterator[Group]:
    """A group with a quota of one CPU; skips, said aloud, where no group can be made."""
    name = f"posecluster-test-{os.getpid()}-{time.monotonic_ns()}"
    is_v1 = (CGROUP_V1 / "cpu.cfs_quota_us").exists()
    folder = (CGROUP_V1 if is_v1 else CGROUP_V2) / name
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"open: no control group can be made here ({error.strerror})")
    try:
        try:
            if is_v1:
                (folder / "cpu.cfs_period_us").write_text(str(PERIOD_US))
                (folder / "cpu.cfs_quota_us").write_text(str(PERIOD_US))
            else:
                (folder / "cpu.max").write_text(f"{PERIOD_US} {PERIOD_US}")
        except OSError as error:
            pytest.skip(f"open: no CPU quota can be set here ({error.strerror})")
        yield Group(folder)
    finally:
        _remove(folder)


def _remove(folder: Path) -> None:
    """Remove the group once its last process is gone from it."""
    end = time.monotonic() + 10
    while folder.exists():
        with suppress(OSError):
            folder.rmdir()
            return
        assert time.monotonic() < end, "processes are left in the group"
        time.sleep(0.02)


async def at_target_load(
    start: Start, group: Group, *, workers: int, seconds: float, rng: random.Random | None = None
) -> tuple[Throttling, Load]:
    """Serve in the group at the target share of the capacity it shows: evenly, or at random with `rng`."""
    server = await asyncio.to_thread(
        start, workers=workers, cache_entries=0, cgroup_root=str(group.folder), command=group.serve_command()
    )
    url, base = server.url + DETECT, pictures.built_in()

    def body(index: int) -> bytes:
        return pictures.unique_jpeg(base, index)

    capacity = await closed_loop(url, body, clients=2, seconds=2, first_index=1_000_000)
    before = group.throttling()
    load = await open_loop(url, body, rate=TARGET_LOAD * capacity.goodput, seconds=seconds, rng=rng)
    after = group.throttling()
    await asyncio.to_thread(server.close)
    return Throttling(after.periods - before.periods, after.throttled - before.throttled), load


@pytest.mark.serial
@pytest.mark.acceptance(34)
async def test_a_pool_of_the_quotas_size_is_hardly_throttled(
    start: Start, group: Group, full_model: Path, record_figure: RecordFigure, long_run: bool
) -> None:
    seen, load = await at_target_load(start, group, workers=0, seconds=60 if long_run else 11)
    record_figure("throttled periods", seen.share * 100, bar="<= 5", unit="%", sample=seen.periods)
    assert load.statuses.keys() == {200}, load.summary()
    assert seen.periods >= 100
    assert seen.share <= THROTTLED_SHARE


@pytest.mark.serial
@pytest.mark.acceptance(34)
@pytest.mark.control
async def test_a_pool_of_the_nodes_size_is_throttled(
    start: Start,
    group: Group,
    full_model: Path,
    rng: random.Random,
    record_figure: RecordFigure,
    long_run: bool,
) -> None:
    """Two workers on a quota of one processor, whenever requests overlap: hence arrivals at random here.

    They can only overrun the quota if the machine has more than one processor to give.
    """
    idle = idle_share()
    if allowed_cpus() < 2 or idle < 0.7:
        pytest.skip(f"open: others use this machine's processors (idle: {idle:.0%}), so no quota is overrun")
    seen, load = await at_target_load(
        start, group, workers=max(2, allowed_cpus()), seconds=60 if long_run else 11, rng=rng
    )
    record_figure(
        "throttled periods, node-sized pool", seen.share * 100, bar="> 5", unit="%", sample=seen.periods
    )
    assert seen.periods >= 100
    assert seen.share > THROTTLED_SHARE, load.summary()


def idle_share() -> float:
    """Idle share of processor time in the last half second."""

    def times() -> tuple[int, int]:
        numbers = [
            int(word) for word in Path("/proc/stat").read_text(encoding="ascii").split("\n")[0].split()[1:]
        ]
        return numbers[3] + numbers[4], sum(numbers)

    idle, total = times()
    time.sleep(0.5)
    later_idle, later_total = times()
    return (later_idle - idle) / max(1, later_total - total)
