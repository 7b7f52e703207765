"""Run tiers of tests, then report for each what ran, and list every skipped test with its reason.

Usage: tiers.py [--smoke] [TIER ...]   run these tiers (default: all); --smoke: only the tests marked `smoke`
       tiers.py --summary [TIER ...]   print the summary of their last run

Exits with 1 if a tier failed or collected no test, or if a named tier skipped all its tests. A tier is named
by an argument (without --smoke) or by POSECLUSTER_REQUIRE (comma-separated). The printed output of a tier is
bounded; build/<tier>.log has all of it.

A tier runs in parts: first the tests that may run in parallel, then, one at a time, those marked `serial`.
A test that fails is run once more after its tier, on its own. If it passes then, the
tier passes and the test is reported as unstable; CONTRIBUTING.md says why. Unit tests get no second run.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
TIERS = ("unit", "component", "apiserver", "chart", "browser", "e2e")
_FIRST_LINES, _LAST_LINES, _WIDTH = 400, 200, 300
_ENDS = {
    "passed": "Passed",
    "PARTLY": "Passed but for the skipped tests above",
    "SKIPPED": "Skipped, nothing was tested",
    "FAILED": "Failed",
}
_NAMES = 12  # lines for one reason
_SLOWEST = 10
_OK, _TESTS_FAILED, _NO_TESTS = 0, 1, 5  # pytest's exit codes
# How many tests of a tier run in parallel, by file. Tiers that mostly wait have more than processors.
_AT_ONCE = {"unit": 2, "component": 4, "apiserver": 3, "e2e": 3}
_RUN_AGAIN = 5  # at most so many failures of a tier may be chance


@dataclass(frozen=True, slots=True)
class Result:
    """How a tier ended: `detail` says what ran, `skipped` has the names of tests by reason."""

    tier: str
    state: str  # passed, PARTLY: some tests were skipped, SKIPPED: all were, FAILED
    detail: str
    skipped: Mapping[str, Sequence[str]] = field(default_factory=dict)
    unstable: Sequence[str] = ()  # failed, and passed when they were run again
    slowest: Sequence[tuple[float, str]] = ()  # seconds and name


@dataclass(slots=True)
class _Part:
    """One run of pytest: its exit code and the test cases of its report."""

    code: int
    cases: list[ElementTree.Element] = field(default_factory=list)

    def skipped(self) -> dict[str, list[str]]:
        """Names of skipped tests by reason."""
        found: dict[str, list[str]] = {}
        for case in self.cases:
            if (node := case.find("skipped")) is not None:
                found.setdefault(node.get("message", "")[:_WIDTH], []).append(_name(case))
        return found

    @property
    def broken(self) -> int:
        """How many tests failed; a test that failed and then could not be torn down counts once."""
        failed = (
            case for case in self.cases if case.find("failure") is not None or case.find("error") is not None
        )
        return len({_name(case) for case in failed})


def main() -> int:
    parser = argparse.ArgumentParser(usage=__doc__.split("\n\n")[1].removeprefix("Usage: "))
    parser.add_argument("tiers", nargs="*", metavar="TIER")
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--summary", action="store_true")
    options = parser.parse_args()
    wanted = tuple(options.tiers) or TIERS
    BUILD.mkdir(exist_ok=True)
    if options.summary:
        results = [_read(tier) for tier in wanted if _result_file(tier).is_file()]
    else:
        results = [_run(tier, smoke=options.smoke) for tier in wanted]
    print("\n".join(_summary(results)))
    # the tests of a required tier fail when they are skipped without an excuse (tests/harness/tiers.py)
    required = {name.strip() for name in os.environ.get("POSECLUSTER_REQUIRE", "").split(",")}
    if not options.smoke and not options.summary:
        required |= set(options.tiers)  # somebody wants to see them run
    missing = [item.tier for item in results if item.tier in required and item.state == "SKIPPED"]
    if missing:
        print(f"Required, but nothing was tested: {', '.join(missing)}")
    return 1 if missing or any(result.state == "FAILED" for result in results) else 0


def _summary(results: Sequence[Result]) -> Iterator[str]:
    yield "\nTier        Result   What ran"
    for result in results:
        yield f"{result.tier:<11} {result.state:<8} {result.detail}"
    for result in results:
        for reason, tests in sorted(result.skipped.items()):
            yield f"\nSkipped in {result.tier}: {reason}"
            yield from (f"  {name}" for name in _named(tests))
    slowest = sorted((tuple(pair) for result in results for pair in result.slowest), reverse=True)[:_SLOWEST]
    if slowest:
        yield "\nSlowest tests:"
        yield from (f"{seconds:>8.1f} s  {name}" for seconds, name in slowest)
    yield ""
    for state, text in _ENDS.items():
        if tiers := [result.tier for result in results if result.state == state]:
            yield f"{text}: {', '.join(tiers)}"
    unstable = [name for result in results for name in result.unstable]
    if unstable:
        yield f"UNSTABLE, failed and passed when run again: {', '.join(unstable)}"


def _named(tests: Sequence[str]) -> Iterator[str]:
    """Name each test function, or each file where that would be too many lines; and how many cases it has."""
    functions = Counter(test.split("[")[0] for test in tests)
    files = Counter(test.split("::")[0] for test in tests)
    for name, count in sorted((functions if len(functions) <= _NAMES else files).items()):
        yield f"{name} ({count} tests)" if count > 1 else name


def _result_file(tier: str) -> Path:
    return BUILD / f"tier-{tier}.json"


def _read(tier: str) -> Result:
    return Result(**json.loads(_result_file(tier).read_text(encoding="utf-8")))


def _run(tier: str, *, smoke: bool) -> Result:
    if tier not in TIERS:
        return Result(tier, "FAILED", f"there is no such tier: name some of {', '.join(TIERS)}")
    result = _Tier(tier).run(smoke=smoke)
    if not smoke:
        _result_file(tier).write_text(json.dumps(asdict(result)), encoding="utf-8")
    return result


class _Tier:
    """A tier's run: its files under build/ are replaced."""

    def __init__(self, tier: str) -> None:
        self.tier = tier
        self._cache = BUILD / f"{tier}.cache"
        self._record = BUILD / f"{tier}.record.json"
        shutil.rmtree(self._cache, ignore_errors=True)
        for file in (self._log, self._record, _result_file(tier)):
            file.unlink(missing_ok=True)
        self._environment = _environment(tier)

    @property
    def _log(self) -> Path:
        return BUILD / f"{self.tier}.log"

    def run(self, *, smoke: bool) -> Result:
        """Run all parts, and what failed once more."""
        folder = ROOT / "tests" / self.tier
        if smoke:
            marked = _marked(folder, "smoke")
            if not marked:
                raise SystemExit(f"tests/{self.tier} has no test with the mark `smoke`: mark one")
            parts = [self._part("smoke", *marked)]
        else:
            self._environment["POSECLUSTER_RECORD"] = str(self._record)
            at_once = _at_once(self.tier)
            serial = _marked(folder, "serial") if at_once else []
            parts = [self._part("", str(folder), *at_once, *(["-m", "not serial"] if serial else []))]
            if serial:
                parts.append(self._part("serial", *serial))
        whole = _Part(
            max((part.code for part in parts if part.code != _NO_TESTS), default=_NO_TESTS),
            [case for part in parts for case in part.cases],
        )
        failed = self._failed()
        if whole.code == _TESTS_FAILED and self.tier != "unit" and self._may_be_chance(failed):
            again = self._part("again", *failed)
            if again.code == _OK and not again.skipped():
                return self._judge(_Part(_OK, whole.cases), failed)
        return self._judge(whole, [])

    @staticmethod
    def _may_be_chance(failed: Sequence[str]) -> bool:
        """Whether only a few single tests failed. A file that cannot be imported fails every time."""
        return 0 < len(failed) <= _RUN_AGAIN and all("::" in name for name in failed)

    def _failed(self) -> list[str]:
        """Names of the tests that failed, from pytest's cache."""
        file = self._cache / "v" / "cache" / "lastfailed"
        return sorted(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else []

    def _part(self, name: str, *arguments: str) -> _Part:
        title = f"{self.tier} {name}".strip()
        print(f"\n== {title}", flush=True)
        report = BUILD / f"{title.replace(' ', '-')}.xml"
        report.unlink(missing_ok=True)
        command = [sys.executable, "-m", "pytest", "-q", "--tb=short", "--color=no", f"--junitxml={report}"]
        code = _stream([*command, "-o", f"cache_dir={self._cache}", *arguments], self._log, self._environment)
        if not report.is_file():
            print(f"pytest ended with {code} and no report")
            return _Part(code or _TESTS_FAILED + 1)
        cases = ElementTree.parse(report).getroot().iter("testcase")  # noqa: S314  pytest wrote it
        return _Part(code, list(cases))

    def _judge(self, part: _Part, unstable: Sequence[str]) -> Result:
        if part.code == _NO_TESTS:
            return Result(self.tier, "FAILED", "no test was collected")
        seconds: Counter[str] = Counter()
        for case in part.cases:
            seconds[_name(case)] += float(case.get("time", 0))
        slowest = [(round(took, 3), name) for name, took in seconds.most_common(_SLOWEST)]
        skipped = part.skipped()
        left, total = sum(map(len, skipped.values())), len(seconds)
        broken = part.broken - len(unstable)
        detail = f"{max(0, total - left - part.broken)} passed, {broken} failed, {left} skipped"
        if unstable:
            detail += f", {len(unstable)} UNSTABLE"
        if part.code != _OK:
            detail += f" (all output: build/{self._log.name})"
            return Result(self.tier, "FAILED", detail, skipped, (), slowest)
        if total == left:
            return Result(self.tier, "SKIPPED", f"none of its {total} tests ran", skipped)
        return Result(self.tier, "PARTLY" if left else "passed", detail, skipped, unstable, slowest)


def _environment(tier: str) -> dict[str, str]:
    """What a tier's tests find in the environment; the API server tier gets programs to start."""
    environment = dict(os.environ)
    if tier == "apiserver":
        found = subprocess.run([ROOT / "scripts" / "envtest"], stdout=subprocess.PIPE, encoding="utf-8")
        if found.returncode == 0:
            environment["KUBEBUILDER_ASSETS"] = found.stdout.strip()
    return environment


def _marked(folder: Path, mark: str) -> list[str]:
    """pytest's arguments for the tests with this mark; only their files, so that others are not collected."""
    files = [
        str(file) for file in sorted(folder.glob("test_*.py")) if f"mark.{mark}" in file.read_text("utf-8")
    ]
    return [*files, "-m", mark] if files else []


def _at_once(tier: str) -> list[str]:
    """pytest-xdist's arguments; none in a long run, whose figures are an undisturbed machine's."""
    if tier not in _AT_ONCE or os.environ.get("POSECLUSTER_LONG") == "1":
        return []
    return ["-n", str(_AT_ONCE[tier]), "--dist", "loadfile"]


def _name(case: ElementTree.Element) -> str:
    """A test's name as pytest takes it: tests/unit/test_x.py::test_y[case]."""
    module = case.get("classname", "").replace(".", "/")
    return f"{module}.py::{case.get('name', '')}" if module else case.get("name", "")


def _stream(command: list[str], log: Path, environment: dict[str, str]) -> int:
    """Run it, print the first and the last lines, add all lines to `log`; return the exit code."""
    last: deque[str] = deque(maxlen=_LAST_LINES)
    printed = held = 0
    with (
        log.open("a", encoding="utf-8") as copy,
        subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        ) as process,
    ):
        for line in process.stdout or ():
            copy.write(line)
            short = line.rstrip("\n")[:_WIDTH]
            if printed < _FIRST_LINES:
                print(short, flush=True)
                printed += 1
            else:
                last.append(short)
                held += 1
    if held > len(last):
        print(f"... {held - len(last)} lines not shown: see build/{log.name}")
    for short in last:
        print(short)
    return process.returncode


if __name__ == "__main__":
    sys.exit(main())
