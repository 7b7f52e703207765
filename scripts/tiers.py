"""Run tiers of tests, then say for each what ran, and name every test that was skipped and why.

Usage: tiers.py [TIER ...]; all by default. Ends with 1 if a tier failed or collected no test, or if a
tier named in POSECLUSTER_REQUIRE (comma list) was skipped. Output a tier is bounded; build/<tier>.log
has it all.
"""

import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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
_NO_TESTS = 5  # pytest's exit code
# Tiers whose tests mostly wait, and share nothing between files, and how many run at once.
_AT_ONCE = {"unit": 2, "apiserver": 2}


@dataclass(frozen=True, slots=True)
class Result:
    """How a tier ended: `detail` says what ran, `skipped` has the names of tests by reason."""

    tier: str
    state: str  # passed, PARTLY: some tests were skipped, SKIPPED: all were, FAILED
    detail: str
    skipped: Mapping[str, Sequence[str]] = field(default_factory=dict)


def main() -> int:
    wanted = tuple(sys.argv[1:]) or TIERS
    required = {name.strip() for name in os.environ.get("POSECLUSTER_REQUIRE", "").split(",")}
    BUILD.mkdir(exist_ok=True)
    results = [_run(tier) for tier in wanted]
    print("\n".join(_summary(results)))
    # the tests of a required tier fail when they are skipped without an excuse (tests/harness/tiers.py)
    missing = [item.tier for item in results if item.tier in required and item.state in ("SKIPPED", "FAILED")]
    if missing:
        print(f"Required and not passed: {', '.join(missing)}")
    return 1 if missing or any(result.state == "FAILED" for result in results) else 0


def _summary(results: Sequence[Result]) -> Iterator[str]:
    yield "\nTier        Result   What ran"
    for result in results:
        yield f"{result.tier:<11} {result.state:<8} {result.detail}"
    for result in results:
        for reason, tests in sorted(result.skipped.items()):
            yield f"\nSkipped in {result.tier}: {reason}"
            yield from (f"  {name}" for name in _named(tests))
    yield ""
    for state, text in _ENDS.items():
        if tiers := [result.tier for result in results if result.state == state]:
            yield f"{text}: {', '.join(tiers)}"


def _named(tests: Sequence[str]) -> Iterator[str]:
    """Name each test function, or each file where that would be too many lines; and how many cases it has."""
    functions = Counter(test.split("[")[0] for test in tests)
    files = Counter(test.split("::")[0] for test in tests)
    for name, count in sorted((functions if len(functions) <= _NAMES else files).items()):
        yield f"{name} ({count} tests)" if count > 1 else name


def _run(tier: str) -> Result:
    folder = ROOT / "tests" / tier
    if tier not in TIERS:
        return Result(tier, "FAILED", f"there is no such tier: name some of {', '.join(TIERS)}")
    print(f"\n== {tier}", flush=True)
    report = BUILD / f"{tier}.xml"
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", "--tb=short", "--color=no", f"--junitxml={report}"]
    code = _stream([*command, *_at_once(tier), str(folder)], BUILD / f"{tier}.log", _environment(tier))
    if code == _NO_TESTS:
        return Result(tier, "FAILED", "no test was collected")
    if not report.is_file():
        return Result(tier, "FAILED", f"pytest ended with {code} and no report")
    return _judge(tier, code, report)


def _environment(tier: str) -> dict[str, str]:
    """What a tier's tests find in the environment; the API server tier gets programs to start."""
    environment = dict(os.environ)
    if tier == "apiserver":
        found = subprocess.run([ROOT / "scripts" / "envtest"], stdout=subprocess.PIPE, encoding="utf-8")
        if found.returncode == 0:
            environment["KUBEBUILDER_ASSETS"] = found.stdout.strip()
    return environment


def _at_once(tier: str) -> list[str]:
    """pytest-xdist's arguments; none in a long run, whose figures are an undisturbed machine's."""
    if tier not in _AT_ONCE or os.environ.get("POSECLUSTER_LONG") == "1":
        return []
    return ["-n", str(_AT_ONCE[tier]), "--dist", "loadfile"]


def _judge(tier: str, code: int, report: Path) -> Result:
    suite = ElementTree.parse(report).getroot().find("testsuite")  # noqa: S314  pytest wrote it
    if suite is None:
        return Result(tier, "FAILED", f"pytest ended with {code} and an empty report")
    total = int(suite.get("tests", 0))
    broken = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
    skipped: dict[str, list[str]] = {}
    for case in suite.iter("testcase"):
        if (node := case.find("skipped")) is not None:
            skipped.setdefault(node.get("message", "")[:_WIDTH], []).append(_name(case))
    left = sum(map(len, skipped.values()))
    detail = f"{max(0, total - left - broken)} passed, {broken} failed, {left} skipped"
    if code != 0:
        return Result(tier, "FAILED", f"{detail} (all output: build/{tier}.log)", skipped)
    if total == left:
        return Result(tier, "SKIPPED", f"none of its {total} tests ran", skipped)
    return Result(tier, "PARTLY" if left else "passed", detail, skipped)


def _name(case: ElementTree.Element) -> str:
    """A test's name as pytest takes it: tests/unit/test_x.py::test_y[case]."""
    module = case.get("classname", "").replace(".", "/")
    return f"{module}.py::{case.get('name', '')}" if module else case.get("name", "")


def _stream(command: list[str], log: Path, environment: dict[str, str]) -> int:
    """Run it, print the first and the last lines, write all lines to `log`; return the exit code."""
    last: deque[str] = deque(maxlen=_LAST_LINES)
    printed = held = 0
    with (
        log.open("w", encoding="utf-8") as copy,
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
