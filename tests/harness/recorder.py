"""pytest plugin: which check each test covers, the figures it measured, and the run's seed.

    @pytest.mark.acceptance(5)
    async def test_overload_is_refused_fast(record_figure): ...
        record_figure("refused p99", 12.1, bar="<= 50 ms", unit="ms", sample=450)

    @pytest.mark.acceptance(5)
    @pytest.mark.control            # expects the failure that the check is there to find
    async def test_an_unbounded_queue_would_fail(): ...

A run of whole tiers replaces the entries of the checks and rows that it ran in build/acceptance.json
(any other run: acceptance-partial.json). A check has passed if at least one of its tests passed in
that tier and none failed or was skipped. Under pytest-xdist each worker sends its results to the
controller, which has the seed and writes the record. scripts/tiers.py runs a tier in parts:
POSECLUSTER_RECORD names a file in which each part finds what the parts before it ran.
"""

import json
import os
import random
import re
import secrets
import subprocess
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import pytest

from harness.checks import CHECKS

ROOT = Path(__file__).resolve().parents[2]
_SEED = pytest.StashKey[int]()
_FIGURES = pytest.StashKey[list[dict[str, Any]]]()
_RUN = pytest.StashKey["Run"]()
_RANK = {"passed": 0, "open": 1, "failed": 2}


class RecordFigure(Protocol):
    """Type of the fixture `record_figure`."""

    def __call__(
        self,
        name: str,
        value: float | str,
        *,
        bar: str,
        unit: str = "",
        sample: int | str = "",
        control: str = "",
    ) -> None:
        """Note a measured figure, what it must reach, out of how many, and what its control showed."""


@dataclass(slots=True)
class Entry:
    """One check or row in one tier."""

    states: dict[str, str] = field(default_factory=dict)
    controls: dict[str, str] = field(default_factory=dict)
    figures: list[dict[str, Any]] = field(default_factory=list)

    @property
    def state(self) -> str:
        """The worst that any of its tests came to."""
        every = {**self.states, **self.controls}
        return max(every.values(), key=_RANK.__getitem__) if self.states else "open"

    @property
    def control(self) -> str:
        """What the control came to."""
        if not self.controls:
            return "none"
        worst = max(self.controls.values(), key=_RANK.__getitem__)
        return {"passed": "failed as it should", "open": "not run", "failed": "not proven"}[worst]


@dataclass(slots=True)
class Run:
    """What this session ran: entries by (check or row, tier)."""

    entries: dict[tuple[int | str, str], Entry] = field(default_factory=dict)
    begun: set[str] = field(default_factory=set)

    def plan(self, item: pytest.Item) -> None:
        """Count a collected test as open until it has run, in case the run stops early."""
        for ends in self._ends(item):
            ends[item.nodeid] = "open"

    def note(self, item: pytest.Item, state: str) -> None:
        """Add a test's end; the worst of set-up, call and teardown counts."""
        for ends in self._ends(item):
            known = ends[item.nodeid] if item.nodeid in self.begun else state
            ends[item.nodeid] = max(known, state, key=_RANK.__getitem__)
        self.begun.add(item.nodeid)

    def as_sent(self) -> dict[str, Any]:
        """As a worker of pytest-xdist can send it: plain values."""
        entries = [(*key, entry.states, entry.controls, entry.figures) for key, entry in self.entries.items()]
        return {"entries": entries, "begun": sorted(self.begun)}

    def take(self, sent: dict[str, Any]) -> None:
        """Add what a worker sent; it collected every test, so only those that it began say how they ended."""
        begun = set(sent["begun"])
        for subject, tier, states, controls, figures in sent["entries"]:
            entry = self.entries.setdefault((subject, tier), Entry())
            for known, told in ((entry.states, states), (entry.controls, controls)):
                known |= {name: end for name, end in told.items() if name in begun or name not in known}
            entry.figures += figures
        self.begun |= begun

    def follow(self, sent: dict[str, Any]) -> "Run":
        """Return what an earlier part of this run sent, and this one; of a test in both, this one's end."""
        repeated = {nodeid.partition("::")[2] for nodeid in self.begun & set(sent["begun"])}
        whole = Run()
        whole.take(sent)
        for entry in whole.entries.values():
            entry.figures = [figure for figure in entry.figures if figure["test"] not in repeated]
        whole.take(self.as_sent())
        return whole

    def _ends(self, item: pytest.Item) -> Iterable[dict[str, str]]:
        for subject in subjects(item):
            entry = self.entries.setdefault((subject, tier_of(item)), Entry())
            yield entry.controls if item.get_closest_marker("control") else entry.states

    def add_figures(self, item: pytest.Item) -> None:
        """Add what the test recorded, once it is over."""
        for subject in subjects(item):
            entry = self.entries.setdefault((subject, tier_of(item)), Entry())
            entry.figures += [{**figure, "test": item.name} for figure in item.stash.get(_FIGURES, [])]


def subjects(item: pytest.Item) -> Iterable[int | str]:
    """Checks (numbers) and rows ("I-5") that a test covers; raises UsageError for an unknown check."""
    for mark in item.iter_markers("acceptance"):
        for number in mark.args:
            if number not in CHECKS:
                raise pytest.UsageError(f"{item.nodeid}: there is no acceptance check {number!r}")
            yield number
    for mark in item.iter_markers("hostile"):
        yield from mark.args


def tier_of(item: pytest.Item) -> str:
    """The tier: the first folder under tests/."""
    try:
        return item.path.relative_to(ROOT / "tests").parts[0]
    except ValueError:
        return "elsewhere"


@pytest.fixture(scope="session")
def seed(request: pytest.FixtureRequest) -> int:
    """The run's seed: POSECLUSTER_SEED, else fresh; printed at start and on failure."""
    return request.config.stash[_SEED]


@pytest.fixture
def rng(request: pytest.FixtureRequest, seed: int) -> random.Random:
    """Randomness of this test: the same for the same seed, whichever tests run."""
    return random.Random(f"{seed} {request.node.nodeid}")


@pytest.fixture
def record_figure(request: pytest.FixtureRequest) -> RecordFigure:
    """See `RecordFigure`."""
    figures = request.node.stash.setdefault(_FIGURES, [])

    def record(
        name: str, value: float | str, *, bar: str, unit: str = "", sample: int | str = "", control: str = ""
    ) -> None:
        shown = round(value, 4) if isinstance(value, float) else value
        figures.append(
            {"name": name, "value": shown, "unit": unit, "bar": bar, "sample": sample, "control": control}
        )

    return record


def pytest_configure(config: pytest.Config) -> None:
    text = os.environ.get("POSECLUSTER_SEED", "")
    fresh = getattr(config, "workerinput", {}).get("seed") or secrets.randbelow(1 << 32)
    config.stash[_SEED] = int(text) if text else fresh
    config.stash[_RUN] = Run()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """pytest-xdist: every worker has the run's seed."""
    node.workerinput["seed"] = node.config.stash[_SEED]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """pytest-xdist: a worker has ended, and sent what it ran if it could."""
    if sent := getattr(node, "workeroutput", {}).get("record"):
        node.config.stash[_RUN].take(sent)


def pytest_report_header(config: pytest.Config) -> str:
    return f"POSECLUSTER_SEED={config.stash[_SEED]}"


def pytest_collection_finish(session: pytest.Session) -> None:
    for item in session.items:
        session.config.stash[_RUN].plan(item)  # an unknown number stops the run


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    run = item.config.stash[_RUN]
    if report.failed:
        report.sections.append(("seed", f"POSECLUSTER_SEED={item.config.stash[_SEED]}"))
        run.note(item, "failed")
    elif report.skipped:
        run.note(item, "open")
    elif report.when == "call":
        run.note(item, "passed")
    if report.when == "teardown":
        run.add_figures(item)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    # -q leaves the header out, and a seed that is nowhere to be read is of no use
    config = terminalreporter.config
    terminalreporter.write_line(f"POSECLUSTER_SEED={config.stash[_SEED]}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    run = session.config.stash[_RUN]
    controller = getattr(session.config, "workeroutput", None)  # pytest-xdist's, in a worker
    if controller is not None:
        controller["record"] = run.as_sent()
        return
    if parts := os.environ.get("POSECLUSTER_RECORD"):
        record = Path(parts)
        if record.is_file():
            run = run.follow(json.loads(record.read_text(encoding="utf-8")))
        record.write_text(json.dumps(run.as_sent()), encoding="utf-8")
    entries = run.entries
    if entries and not session.config.option.collectonly:
        folder = Path(os.environ.get("POSECLUSTER_BUILD_DIR") or ROOT / "build")
        name = "acceptance.json" if _is_whole(session.config) else "acceptance-partial.json"
        write(folder / name, entries, session.config.stash[_SEED])


def _is_whole(config: pytest.Config) -> bool:
    """Whether whole tiers ran: a chosen test must not pass for its check."""
    if "POSECLUSTER_RECORD" in os.environ:
        return True  # a part of one
    chosen = any(config.getoption(name, None) for name in ("keyword", "markexpr", "lf", "deselect"))
    folders = {ROOT, ROOT / "tests", *(ROOT / "tests").iterdir()}
    places = (config.invocation_params.dir / argument for argument in config.args)
    return not chosen and all(place.resolve() in folders and place.is_dir() for place in places)


def write(path: Path, entries: dict[tuple[int | str, str], Entry], seed: int) -> None:
    """Merge these entries into the record: those of other checks and tiers stay."""
    record: dict[str, list[dict[str, Any]]] = {"checks": [], "rows": []}
    if path.is_file():
        record |= json.loads(path.read_text(encoding="utf-8"))
    commit, date = _commit(), datetime.now(UTC).date().isoformat()
    for (subject, tier), entry in entries.items():
        kind, key = ("checks", "number") if isinstance(subject, int) else ("rows", "row")
        line: dict[str, Any] = {key: subject, "tier": tier}
        if isinstance(subject, int):
            line["name"] = CHECKS[subject][0]
        line |= {
            "state": entry.state,
            "control": entry.control,
            "tests": sorted({nodeid.split("[")[0] for nodeid in (*entry.states, *entry.controls)}),
        }
        line |= {"figures": entry.figures, "seed": seed, "commit": commit, "date": date}
        record[kind] = [old for old in record[kind] if (old[key], old["tier"]) != (subject, tier)] + [line]
    record["checks"].sort(key=lambda line: (line["number"], line["tier"]))
    record["rows"].sort(
        key=lambda line: (line["row"][0], int(re.sub(r"\D", "", line["row"])), line["row"], line["tier"])
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _row_order(row: str) -> tuple[str, int, str]:
    """Letter, then number: I-9, I-10, H-8, H-8a."""
    return row[0], int(re.sub(r"\D", "", row)), row


def _commit() -> str:
    """Short hash of HEAD, with "+" when files differ from it; "unknown" without git."""
    try:
        head = _git("rev-parse", "--short", "HEAD")
        return head + ("+" if _git("status", "--porcelain") else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=10, check=True
    )
    return done.stdout.strip()
