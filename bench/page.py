"""Output of the benchmarks: a description of the machine, and their tables in docs/performance.md."""

import os
import platform
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"


def machine(packages: Iterable[str], load: str) -> str:
    """Return date, processor, systems and these packages; `load` says what the processors also carried."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {cpu[1] if cpu else platform.machine()}, {os.cpu_count()} CPUs "
        f"shared with {load}, Linux {platform.release().split('-')[0]}, "
        f"Python {platform.python_version()}, {versions}"
    )


def table(rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table: figure, measured, to reach."""
    return ["| figure | measured | to reach |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows)]


def fill(marker: str, text: str, page: Path = PAGE) -> None:
    """Put text between `<!-- MARKER: start -->` and `<!-- MARKER: end -->` of the page."""
    start, end = f"<!-- {marker}: start -->", f"<!-- {marker}: end -->"
    before, _, rest = page.read_text().partition(start)
    _, found, after = rest.partition(end)
    assert found, f"{page.name} has no place for {marker}"
    page.write_text(f"{before}{start}\n{text}\n{end}{after}")
