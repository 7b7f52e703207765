"""Workers follow the CPU quota and the memory limit, read from v1 or v2 files."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.recorder import RecordFigure
from posecluster_inference.machine import cgroup
from posecluster_inference.machine.cgroup import Cgroup, MemoryUse, allowed_cpus

ALLOWED = 8
PERIOD_US = 100_000
CGROUP_FILES = (
    "cpu.max",
    "cpu/cpu.cfs_quota_us",
    "cpu/cpu.cfs_period_us",
    "memory.max",
    "memory.current",
    "memory.stat",
    "memory/memory.limit_in_bytes",
    "memory/memory.usage_in_bytes",
)
number_like = st.sampled_from(
    [b"", b"5", b"max", b"-1", b"inactive_file 3", b"50000 100000", b"9" * 5_000, b"\xb2"]
)


@pytest.fixture
def _allowed_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with more processors than any quota here, so that only the quota explains a number."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(ALLOWED)), raising=False)


def _write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def _cpu_quota(root: Path, form: str, cpus: float | None) -> None:
    quota = None if cpus is None else round(cpus * PERIOD_US)
    if form == "v2":
        _write(root, cpu__max=f"{quota or 'max'} {PERIOD_US}\n")
    else:
        _write(root / "cpu", cpu__cfs_quota_us=f"{quota or -1}\n", cpu__cfs_period_us=f"{PERIOD_US}\n")


@pytest.mark.acceptance(34)
@pytest.mark.usefixtures("_allowed_cpus")
@pytest.mark.parametrize("form", ["v1", "v2"])
@pytest.mark.parametrize(("cpus", "workers"), [(0.5, 1), (1, 1), (1.5, 2), (2, 2), (None, ALLOWED)], ids=str)
def test_workers_are_the_quota_rounded_up(
    tmp_path: Path, form: str, cpus: float | None, workers: int, record_figure: RecordFigure
) -> None:
    _cpu_quota(tmp_path, form, cpus)
    found = Cgroup(tmp_path)
    record_figure(f"workers at quota {cpus}, {form}", found.workers(), bar=f"= {workers}")
    assert (found.cpus(), found.workers()) == (cpus, workers)


@pytest.mark.acceptance(34)
@pytest.mark.control
@pytest.mark.usefixtures("_allowed_cpus")
def test_a_pool_sized_by_the_node_would_be_larger(tmp_path: Path) -> None:
    _cpu_quota(tmp_path, "v2", 1.5)
    assert allowed_cpus() > Cgroup(tmp_path).workers()


@pytest.mark.usefixtures("_allowed_cpus")
def test_a_quota_beyond_the_allowed_processors_gives_no_more_workers(tmp_path: Path) -> None:
    _cpu_quota(tmp_path, "v2", 2.5 * ALLOWED)
    assert Cgroup(tmp_path).workers() == ALLOWED


@pytest.mark.usefixtures("_allowed_cpus")
@pytest.mark.parametrize(
    "text", ["", "max", "50000", "50000 0", "0 100000", "-1 100000", "5e4 100000", "1 2 3"]
)
def test_an_unlimited_cpu_quota_is_no_limit(tmp_path: Path, text: str) -> None:
    _write(tmp_path, cpu__max=text)
    assert (Cgroup(tmp_path).cpus(), Cgroup(tmp_path).workers()) == (None, ALLOWED)


@given(files=st.fixed_dictionaries(dict.fromkeys(CGROUP_FILES, st.binary(max_size=40) | number_like)))
def test_any_bytes_in_the_files_give_a_limit_or_none(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]
) -> None:
    root = tmp_path_factory.getbasetemp() / "any-bytes"
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    found = Cgroup(root)
    assert 1 <= found.workers() <= allowed_cpus()
    use = found.memory()
    assert use is None or (use.used_bytes >= 0 and (use.limit_bytes or 0) > 0)


@pytest.mark.parametrize(
    "text", ["\N{ARABIC-INDIC DIGIT THREE}", "\N{SUPERSCRIPT TWO}", "9" * 5_000, "+5", "1_0"]
)
def test_only_plain_short_numbers_are_a_limit(tmp_path: Path, text: str) -> None:
    _write(tmp_path, memory__max=text, memory__current="5", cpu__max=f"{text} 100000")
    assert (Cgroup(tmp_path).memory(), Cgroup(tmp_path).cpus()) == (None, None)
    _write(tmp_path, memory__max="1000", memory__stat=f"inactive_file {text}\n")
    assert Cgroup(tmp_path).memory() == MemoryUse(5, 1_000)


def test_without_files_there_is_no_limit(tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / "absent"):
        assert Cgroup(root).cpus() is None
        assert Cgroup(root).memory() is None


def test_allowed_cpus_are_those_of_this_process() -> None:
    assert allowed_cpus() == len(os.sched_getaffinity(0))


@given(quota=st.integers(-2, 10**12), period=st.integers(-2, 10**12))
def test_any_quota_gives_from_one_worker_to_the_allowed_processors(
    tmp_path_factory: pytest.TempPathFactory, quota: int, period: int
) -> None:
    root = tmp_path_factory.getbasetemp() / "any-quota"
    _write(root, cpu__max=f"{quota} {period}")
    assert 1 <= Cgroup(root).workers() <= allowed_cpus()


def test_the_smallest_limit_on_the_way_up_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroup, "_own_paths", lambda controller: ["slice/ours"])
    _write(tmp_path / "slice", cpu__max="50000 100000", memory__max="900", memory__current="10")
    _write(tmp_path / "slice" / "ours", cpu__max="200000 100000", memory__max="700", memory__current="20")
    _write(tmp_path / "unmanaged", cpu__max="1000 100000", memory__max="1", memory__current="1")
    assert Cgroup(tmp_path).cpus() == 0.5
    assert Cgroup(tmp_path).memory() == MemoryUse(20, 700)


@pytest.mark.parametrize("form", ["v1", "v2"])
def test_memory_in_use_excludes_what_the_kernel_can_reclaim(tmp_path: Path, form: str) -> None:
    if form == "v2":
        stat = "anon 500\nfile 300\ninactive_file 200\nactive_file 100\n"
        _write(tmp_path, memory__max="1000\n", memory__current="800\n", memory__stat=stat)
    else:
        stat = "cache 300\ninactive_file 5\ntotal_inactive_file 200\n"
        files = {"memory__limit_in_bytes": "1000\n", "memory__usage_in_bytes": "800\n", "memory__stat": stat}
        _write(tmp_path / "memory", **files)
    assert Cgroup(tmp_path).memory() == MemoryUse(used_bytes=600, limit_bytes=1_000)


def test_memory_in_use_is_never_negative(tmp_path: Path) -> None:
    _write(tmp_path, memory__max="1000", memory__current="5", memory__stat="inactive_file 200")
    assert Cgroup(tmp_path).memory() == MemoryUse(0, 1_000)


@pytest.mark.parametrize("limit", ["max", str((1 << 63) - 4_096)])
def test_unlimited_memory_in_either_cgroup_version_is_no_limit(tmp_path: Path, limit: str) -> None:
    _write(tmp_path, memory__max=limit, memory__current="5")
    assert Cgroup(tmp_path).memory() is None
