"""Run the tiers of tests that are there, then say for each what ran and what did not.

Usage: tiers.py [TIER ...]; all by default. Ends with 1 if a tier failed, or if a tier named in
POSECLUSTER_REQUIRE (comma list) ran nothing. Output a tier is bounded; build/<tier>.log has it all.
"""

import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections import deque
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
TIERS = ("unit", "component", "apiserver", "chart", "browser", "e2e")
_FIRST_LINES, _LAST_LINES, _WIDTH = 400, 200, 300
_NO_TESTS = 5  # pytest's exit code
# Tiers whose tests mostly wait, and share nothing between files, and how many run at once.
_AT_ONCE = {"unit": 2, "apiserver": 2}


@dataclass(frozen=True, slots=True)
class Result:
    """How a tier ended: `state` is one word, `detail` what a reader should know."""

    tier: str
    state: str
    detail: str
    skipped: tuple[str, ...] = ()


def main() -> int:
    wanted = tuple(sys.argv[1:]) or TIERS
    required = {name.strip() for name in os.environ.get("POSECLUSTER_REQUIRE", "").split(",")}
    BUILD.mkdir(exist_ok=True)
    results = [_run(tier) for tier in wanted]
    print("\nTier        Result   What ran")
    for result in results:
        print(f"{result.tier:<11} {result.state:<8} {result.detail}")
        for reason in result.skipped:
            print(f"{'':<20} left out: {reason}")
    missing = [item.tier for item in results if item.tier in required and item.state != "passed"]
    if missing:
        print(f"Required and not passed: {', '.join(missing)}")
    return 1 if missing or any(result.state == "FAILED" for result in results) else 0


def _run(tier: str) -> Result:
    folder = ROOT / "tests" / tier
    if not any(folder.rglob("test_*.py")):
        return Result(tier, "not run", "not there yet: comes with a later issue")
    print(f"\n== {tier}", flush=True)
    report = BUILD / f"{tier}.xml"
    report.unlink(missing_ok=True)
    code = _stream(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "--tb=short",
            "--color=no",
            f"--junitxml={report}",
            *_at_once(tier),
            str(folder),
        ],
        BUILD / f"{tier}.log",
    )
    if code == _NO_TESTS:
        return Result(tier, "not run", "no test was collected")
    if not report.is_file():
        return Result(tier, "FAILED", f"pytest ended with {code} and no report")
    return _judge(tier, code, report)


def _at_once(tier: str) -> list[str]:
    """pytest-xdist's arguments; none in a long run, whose figures are an undisturbed machine's."""
    if tier not in _AT_ONCE or os.environ.get("POSECLUSTER_LONG") == "1":
        return []
    return ["-n", str(_AT_ONCE[tier]), "--dist", "loadfile"]


def _judge(tier: str, code: int, report: Path) -> Result:
    suite = ElementTree.parse(report).getroot().find("testsuite")  # noqa: S314  pytest wrote it
    if suite is None:
        return Result(tier, "FAILED", f"pytest ended with {code} and an empty report")
    total, skipped = int(suite.get("tests", 0)), int(suite.get("skipped", 0))
    broken = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
    reasons = sorted({node.get("message", "")[:_WIDTH] for node in suite.iter("skipped")})
    detail = f"{max(0, total - skipped - broken)} passed, {broken} failed, {skipped} left out"
    if code != 0:
        return Result(tier, "FAILED", f"{detail} (all output: build/{tier}.log)", tuple(reasons))
    if total == skipped:
        return Result(tier, "not run", f"all {total} tests were left out", tuple(reasons))
    return Result(tier, "passed", detail, tuple(reasons))


def _stream(command: list[str], log: Path) -> int:
    """Run it, print the first and the last lines, keep all lines in `log`; the exit code."""
    last: deque[str] = deque(maxlen=_LAST_LINES)
    printed = held = 0
    with (
        log.open("w", encoding="utf-8") as copy,
        subprocess.Popen(
            command,
            cwd=ROOT,
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
        print(f"... {held - len(last)} lines left out here")
    for short in last:
        print(short)
    return process.returncode


if __name__ == "__main__":
    sys.exit(main())
