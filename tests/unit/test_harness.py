"""Tests of the harness: what every component test relies on must be able to detect failures."""

import json
import os
import random
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from harness import load, pictures, processes, raw
from harness.bars import bar_text
from harness.recorder import Entry, Run, write
from harness.reliability_table import END, START, replaced, table

JPEG = b"\xff\xd8\xff\xd9"


def test_answers_are_split_as_they_came() -> None:
    data = (
        b"HTTP/1.1 100 Continue\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        b"HTTP/1.1 503 No\r\nContent-Length: 9\r\n\r\ncut"
    )
    found = raw.parse_responses(data)
    assert [response.status for response in found] == [100, 200, 200, 503]
    assert [response.body for response in found] == [b"", b"ok", b"abc", b"cut"]
    assert [response.complete for response in found] == [True, True, True, False]


@pytest.mark.parametrize("make", [pictures.unique_jpeg, pictures.unique_png])
def test_unique_pictures_refuse_formats_that_take_no_comment(make: object) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match="not a"):
        make(b"GIF89a", 1)


def test_unique_pictures_differ_only_by_a_comment() -> None:
    assert pictures.unique_jpeg(JPEG, 7) == b"\xff\xd8\xff\xfe\0\x0aunique 7\xff\xd9"
    base = pictures.tiny_png()
    marked = pictures.unique_png(base, 7)
    chunk = pictures.png_chunk(b"tEXt", b"unique\x007")
    assert marked.replace(chunk, b"") == base
    assert chunk.endswith(zlib.crc32(b"tEXtunique\x007").to_bytes(4, "big"))


def test_percentiles_are_nearest_rank() -> None:
    values = [float(value) for value in range(1, 101)]
    random.Random(1).shuffle(values)
    assert [load.percentile(values, share) for share in (0.0, 0.5, 0.99, 1.0)] == [1, 50, 99, 100]
    with pytest.raises(ValueError, match="no values"):
        load.percentile([], 0.5)


def test_requests_sent_late_reduce_the_sent_share() -> None:
    run = load.Load(planned=4, seconds=2.0)
    for sent, error in ((0.0, ""), (0.04, ""), (0.5, ""), (0.0, "not sent")):
        run.outcomes.append(
            load.Outcome("", 0, 0.0, sent, 0.1, 0 if error else 200, "", None, not error, error)
        )
    assert run.sent_share == 0.5
    assert run.goodput == 1.5


def test_a_dead_process_is_not_alive() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        process = processes.read(child.pid)
        assert process is not None
        assert processes.alive(process)
        assert child.pid in {found.pid for found in processes.children(process.parent)}
        assert processes.wait_gone([process], 0) == [process]
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, and still in the table
        assert processes.read(child.pid) is not None
        assert not processes.alive(process)
        assert child.pid not in {found.pid for found in processes.children(process.parent)}
        assert processes.wait_gone([process], 0) == []
    assert processes.read(child.pid) is None
    assert not processes.alive(process)


def test_the_record_keeps_what_did_not_run(tmp_path: Path) -> None:
    path = tmp_path / "acceptance.json"
    write(path, {(3, "component"): Entry(states={"a": "passed", "b": "failed"})}, seed=1)
    write(path, {(5, "component"): Entry(states={"c": "passed"}, controls={"d": "failed"})}, seed=2)
    write(path, {(6, "component"): Entry(controls={"d": "passed"}), ("I-5", "unit"): Entry()}, seed=3)
    record = json.loads(path.read_text(encoding="utf-8"))
    assert [(line["number"], line["state"], line["control"]) for line in record["checks"]] == [
        (3, "failed", "none"),
        (5, "failed", "not proven"),
        (6, "open", "failed as it should"),
    ]
    assert [line["row"] for line in record["rows"]] == ["I-5"]


def test_the_record_of_two_workers_holds_what_each_ran() -> None:
    """Both collected all three tests; `c` ran nowhere, and stays open."""
    collected = {"a": "open", "b": "open", "c": "open"}
    first = Run({(3, "apiserver"): Entry(states=collected | {"a": "passed"}, figures=[{"name": "x"}])}, {"a"})
    second = Run({(3, "apiserver"): Entry(states=collected | {"b": "failed"}, controls={"d": "open"})}, {"b"})
    whole = Run()
    for worker in (first, second):
        whole.take(json.loads(json.dumps(worker.as_sent())))
    entry = whole.entries[3, "apiserver"]
    assert entry.states == {"a": "passed", "b": "failed", "c": "open"}
    assert entry.controls == {"d": "open"}
    assert entry.figures == [{"name": "x"}]
    assert whole.begun == {"a", "b"}


def test_a_test_that_ran_again_counts_by_its_last_result() -> None:
    def figures(*tests: str) -> list[dict[str, object]]:
        return [{"name": "x", "test": test} for test in tests]

    first = Run(
        {(3, "component"): Entry({"f::a": "failed", "f::b": "passed"}, figures=figures("a", "b"))},
        {"f::a", "f::b"},
    )
    again = Run({(3, "component"): Entry({"f::a": "passed"}, figures=figures("a"))}, {"f::a"})
    entry = again.follow(json.loads(json.dumps(first.as_sent()))).entries[3, "component"]
    assert entry.state == "passed"
    assert entry.states == {"f::a": "passed", "f::b": "passed"}
    assert entry.figures == figures("b", "a")


def test_the_table_names_every_check_and_keeps_the_text_around() -> None:
    made = table({"checks": []})
    assert all(f"| {number} " in made for number in range(1, 41))
    assert "passed" not in made
    assert replaced(f"before\n{START}\nold\n{END}\nafter", "new\n") == f"before\n{START}\nnew\n{END}\nafter"
    with pytest.raises(ValueError, match="marker lines"):
        replaced("no markers", "new")


def test_the_table_names_the_files_of_each_checks_tests(tmp_path: Path) -> None:
    path = tmp_path / "acceptance.json"
    tests = {
        f"tests/unit/test_{name}": "passed" for name in ("b.py::test_1", "b.py::test_2[x]", "a.py::test_3")
    }
    write(path, {(3, "component"): Entry(states=tests)}, seed=1)
    made = table(json.loads(path.read_text(encoding="utf-8")))
    assert "| test_a.py<br>test_b.py | 1 |" in made
    assert len({line.count("|") for line in made.splitlines()}) == 1


def test_a_wider_bar_of_a_run_states_its_reason() -> None:
    assert bar_text("<= 50 ms", "<= 50 ms") == "<= 50 ms"
    assert bar_text("<= 250 ms", "<= 50 ms", "why") == "<= 250 ms (why; <= 50 ms with POSECLUSTER_LONG=1)"
