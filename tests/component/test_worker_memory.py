"""Check 19: a worker that allocates, and a pod near its memory limit, end no more than necessary."""

import os
import signal
import time
from collections import Counter
from contextlib import suppress

import pytest

from engines.stub_engine import Command, command_png
from harness import client, processes
from harness.faults import is_right, live_pids, posting, probing

MIB = 1 << 20
_SHARE = 96 * MIB
_SLACK = 48 * MIB  # of the engine's last step, and of what the share does not count, such as stacks
_LIMIT = 4 << 30
_TOLD_APART = 1.0  # of seconds: the server reads the files four times in each


class _Peak:
    """The largest growth of each worker that was seen; call it again and again."""

    def __init__(self, pids):
        self.warm = {pid: processes.rss(pid) for pid in pids}
        self.grown = dict.fromkeys(pids, 0)

    def look(self):
        for pid, warm in self.warm.items():
            with suppress(ProcessLookupError):
                self.grown[pid] = max(self.grown[pid], processes.rss(pid) - warm)


def _grow(server, argument, stop_at):
    """Post a picture that makes its worker grow; its reply and the largest growth seen.

    A worker that grows by more than `stop_at` is killed, for the machine's sake.
    """
    known, peak = {}, 0
    with posting(server) as poster:
        reply = poster.post(command_png(Command.GROW, argument))
        end = time.monotonic() + 30
        while not reply.done() and time.monotonic() < end:
            for worker in processes.children(server.pid):
                with suppress(ProcessLookupError):
                    size = processes.rss(worker.pid)
                    grown = size - known.setdefault(worker.pid, min(size, 60 * MIB))
                    peak = max(peak, grown)
                    if grown > stop_at:
                        os.kill(worker.pid, signal.SIGKILL)
        return reply.result(), peak


@pytest.mark.acceptance(19)
def test_a_worker_that_allocates_without_end_ends_only_itself(start, record_figure):
    server = start(
        workers=4, engine="stub", worker_memory_bytes=_SHARE, recycle_growth_percent=0, deadline_ms=20_000
    )
    peaks, deaths = [], 0
    with probing(server) as seen:
        for index in range(3):
            server.wait_until(lambda: len(live_pids(server)) == 4, "all live", 20)
            before = set(live_pids(server))
            reply, peak = _grow(server, index, stop_at=4 * _SHARE)
            assert (reply.status, reply.reason) == (503, "worker_crashed")
            assert reply.retry_after
            peaks.append(peak)
            lost = before - set(live_pids(server))
            assert len(lost) == 2, "the one that held it, and the one that tried it again"
            deaths += len(lost)
            good = client.post(server.url + "/v1/detect", command_png(Command.OK, index))
            assert is_right(good, Command.OK, index)
    assert deaths >= 5
    assert server.metrics("worker_restarts_total") == deaths
    assert max(peaks) <= _SHARE + _SLACK
    assert set(seen.statuses) == {200}
    assert server.process.poll() is None
    record_figure(
        "growth of a worker",
        max(peaks) / MIB,
        bar=f"<= {_SHARE // MIB} + {_SLACK // MIB}",
        unit="MiB",
        sample=deaths,
    )
    record_figure("server ends", 0, bar="0", sample=f"{deaths} deaths of workers")


@pytest.mark.acceptance(19)
@pytest.mark.control
def test_without_a_share_a_worker_grows_on(start):
    server = start(workers=2, engine="stub", worker_memory_bytes=1 << 44, recycle_growth_percent=0)
    _reply, peak = _grow(server, 0, stop_at=3 * _SHARE)
    assert peak > _SHARE + _SLACK


class _V2:
    def __init__(self, folder):
        self._folder = folder
        _write(folder / "memory.max", _LIMIT)
        self.use(0.1)

    def use(self, share, droppable=0):
        _write(self._folder / "memory.stat", f"anon 1\ninactive_file {droppable}\nactive_file 7")
        _write(self._folder / "memory.current", int(share * _LIMIT) + droppable)


class _V1:
    def __init__(self, folder):
        self._folder = folder / "memory"
        self._folder.mkdir()
        _write(self._folder / "memory.limit_in_bytes", _LIMIT)
        self.use(0.1)

    def use(self, share, droppable=0):
        _write(self._folder / "memory.stat", f"cache 5\ninactive_file 3\ntotal_inactive_file {droppable}")
        _write(self._folder / "memory.usage_in_bytes", int(share * _LIMIT) + droppable)


def _write(path, value):
    """As the kernel does it: a reader sees the old or the new figure, never half of one."""
    new = path.with_name("new")
    new.write_text(f"{value}\n", encoding="ascii")
    os.replace(new, path)


@pytest.mark.serial
@pytest.mark.acceptance(19)
@pytest.mark.parametrize("version", [_V2, _V1])
def test_at_95_percent_new_work_is_refused_until_there_is_room_again(start, tmp_path, record_figure, version):
    folder = tmp_path / "cgroup"
    folder.mkdir()
    cgroup = version(folder)
    server = start(workers=2, engine="stub", cgroup_root=folder)
    url = server.url + "/v1/detect"
    assert client.post(url, command_png(Command.OK)).status == 200

    with posting(server) as poster:
        at_work = poster.post(command_png(Command.OK, 1_500))
        server.wait_until(lambda: server.metrics("running") == 1, "at work")
        cgroup.use(0.951)
        # (arguments are milliseconds of sleep: the pictures differ by their comment)
        refused_after = server.wait_until(
            lambda: client.post(url, command_png(Command.OK, 0, os.urandom(8))).reason == "memory", "refused"
        )
        assert refused_after <= _TOLD_APART
        kept = {"Connection": "keep-alive"}
        replies = [
            client.post(url, command_png(Command.OK, 0, b"%d" % index), headers=kept) for index in range(50)
        ]
        assert is_right(at_work.result(), Command.OK, 1_500), "work that was taken is finished"
    assert Counter((reply.status, reply.reason) for reply in replies) == {(503, "memory"): 50}
    assert all(1 <= reply.retry_after <= 60 for reply in replies)
    assert server.metrics("refused_total", reason="memory") >= 50
    assert all(reply.headers["Connection"] == "close" for reply in replies)
    assert server.is_ready(), "probes go on: leaving the Service would help nobody"
    assert client.get(server.admin_url + "/livez").status == 200
    assert server.health()["memory"]["limit_bytes"] == _LIMIT

    cgroup.use(0.5)
    since = time.monotonic()
    server.wait_until(
        lambda: client.post(url, command_png(Command.OK, 0, os.urandom(8))).status == 200, "served again"
    )
    served_after = time.monotonic() - since
    assert served_after <= _TOLD_APART
    assert server.metrics("worker_restarts_total") == 0
    record_figure(
        f"{version.__name__[1:].lower()}: served again after", served_after, bar="<= 1 s", unit="s", sample=50
    )


@pytest.mark.acceptance(19)
@pytest.mark.control
def test_just_below_and_with_page_cache_work_is_taken(start, tmp_path):
    cgroup = _V2(tmp_path)
    server = start(workers=1, engine="stub", cgroup_root=tmp_path)
    url = server.url + "/v1/detect"
    cgroup.use(0.93)
    server.wait_until(
        lambda: (
            client.post(
                url, command_png(Command.OK, 0, os.urandom(8)), headers={"Connection": "keep-alive"}
            ).headers.get("Connection", "")
            == "close"
        ),
        "connections end after their answer at 92 %",
    )
    cgroup.use(0.5, droppable=int(0.49 * _LIMIT))  # cache that the kernel drops by itself
    server.wait_until(
        lambda: server.health()["memory"]["used_bytes"] == int(0.5 * _LIMIT), "cache is not counted"
    )
    assert client.post(url, command_png(Command.OK, 0, b"cache")).status == 200
