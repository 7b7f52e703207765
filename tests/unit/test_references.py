"""Texts refer only to things in this repository or on the public web.

Write the reason in place of such a reference.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from harness.checks import CHECKS, HOSTILE_ROWS
from harness.server import ROOT

pytestmark = pytest.mark.unit

RELIABILITY = ROOT / "docs" / "reliability.md"
NOT_OURS = {".git", ".venv", "build", "dist", "models", "requirements", "LICENSE"}
# what must not be referred to -> the files that may
REFERENCES = {
    r"HOUSE_STYLE|\bDESIGN\b|\bACCEPTANCE\b|\bFACTS\.md|[Hh]ouse rule": "",
    r"\b[Ii]ssues? #?\d|\blater issue\b|\bexp\. ?\d|\bthe acceptance list\b": "",
    r"(?<!/)/work/|\.\./shared|\$shared\b": ".ci/run",  # it names an optional folder
    r"\b[Cc]hecks? \d": "tests/ docs/reliability.md",  # numbers of docs/reliability.md
}
STANDARD = re.compile(r"RFC|specification|standard|W3C")
SECTION = re.compile(r"\b[Ss]ection \d|§")


def texts() -> Iterator[tuple[str, list[str]]]:
    """Every text file of the repository and its lines."""
    for top in ROOT.iterdir():
        if top.name in NOT_OURS or top.name.endswith(("_cache", ".egg-info")) or top.name == ".hypothesis":
            continue
        for path in [top] if top.is_file() else top.rglob("*"):
            if path.is_file() and path != Path(__file__):
                with suppress(UnicodeDecodeError):  # a picture
                    yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8").splitlines()


def references(name: str, lines: list[str]) -> list[str]:
    """The lines that refer to something outside the repository, as path:line: text."""
    patterns = [
        pattern
        for pattern, allowed in REFERENCES.items()
        if not (allowed and name.startswith(tuple(allowed.split())))
    ]
    return [
        f"{name}:{number}: {line.strip()[:120]}"
        for number, line in enumerate(lines, 1)
        if any(re.search(pattern, line) for pattern in patterns)
        or (SECTION.search(line) and not STANDARD.search(line))
    ]


def test_no_text_refers_to_anything_outside_the_repository() -> None:
    files = dict(texts())
    assert len(files) >= 400
    assert [found for name, lines in files.items() for found in references(name, lines)] == []


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("docs/a.md", "as HOUSE_STYLE says"),
        ("operator/a.py", "STALE_SECONDS = 5.0  # (issue 5)"),
        ("Makefile", "the scanners of check 40"),
        ("tests/a.py", "the metrics of DESIGN section 2"),
        ("bench/a.py", "`../shared` is looked at first"),
        ("inference/a.py", "see section 3"),
    ],
)
def test_control_a_reference_to_something_outside_is_found(name: str, line: str) -> None:
    assert references(name, [line]) == [f"{name}:1: {line}"]


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("tests/a.py", "Check 6: bombs die at the header"),
        ("inference/a.py", "# RFC 2046, section 5.1.1"),
        ("docs/a.md", "kubernetes#107417; see github.com/a/b/issues/12"),
    ],
)
def test_references_that_a_reader_can_follow_are_allowed(name: str, line: str) -> None:
    assert references(name, [line]) == []


def test_the_reliability_page_explains_every_check_and_row() -> None:
    first_cells = re.findall(r"(?m)^\| ([A-Z0-9a-z-]+) \|", RELIABILITY.read_text(encoding="utf-8"))
    assert {str(number) for number in CHECKS} | HOSTILE_ROWS <= set(first_cells)
