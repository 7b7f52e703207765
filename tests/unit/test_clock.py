"""Durations never come from the wall clock; it is read only for dates that people see."""

import ast
from collections.abc import Iterator

import pytest

from harness.server import ROOT

PACKAGE = ROOT / "operator" / "posecluster_operator"
# each turns it into a text immediately: conditions, the Lease's record, Events
DATES = {
    (module, "datetime.now") for module in ("app.py", "explain/client.py", "kube/events.py", "kube/lease.py")
}
_WALL = {
    "time.time", "time.time_ns", "time.ctime", "datetime.now", "datetime.utcnow", "datetime.today",
    "date.today", "datetime.datetime.now", "datetime.datetime.utcnow", "datetime.date.today",
    "time.clock_gettime",
}  # fmt: skip
# the present time unless a time is passed
_WALL_WITHOUT_ARGUMENTS = {"time.gmtime": 1, "time.localtime": 1, "time.strftime": 2, "time.asctime": 1}


def wall_clock_reads(source: str) -> Iterator[str]:
    """Names of what reads or passes on the wall clock in this source."""
    tree = ast.parse(source)
    told = {
        id(node.func)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and len(node.args) >= _WALL_WITHOUT_ARGUMENTS.get(ast.unparse(node.func), 99)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "time":
            yield from (f"from time import {name.name}" for name in node.names)
        elif isinstance(node, ast.Attribute):
            name = ast.unparse(node)
            if name in _WALL or (name in _WALL_WITHOUT_ARGUMENTS and id(node) not in told):
                yield name


@pytest.mark.hostile("K-15")
def test_the_wall_clock_is_read_for_dates_only() -> None:
    found = {
        (path.relative_to(PACKAGE).as_posix(), name)
        for path in PACKAGE.rglob("*.py")
        for name in wall_clock_reads(path.read_text(encoding="utf-8"))
    }
    assert found == DATES


@pytest.mark.control
@pytest.mark.hostile("K-15")
@pytest.mark.parametrize(
    "slip",
    [
        "started = time.time()",
        "clock = time.time",
        "late = datetime.now(UTC) - then",
        "time.gmtime()",
        "from time import time",
    ],
)
def test_a_duration_from_the_wall_clock_is_found(slip: str) -> None:
    assert list(wall_clock_reads(slip))
    assert not list(wall_clock_reads("time.monotonic(); time.gmtime(record.created)"))
