"""pytest plugin: a marker for each tier's folder, no silent skip, no blocking call on a test's loop.

In a tier that POSECLUSTER_REQUIRE names (comma-separated; set by .ci/run) a skipped test is a failure,
unless its reason begins with "open:", which marks what such a machine can never run. Such tests are
printed and count as open.
"""

import inspect
import os
from collections.abc import Generator, Iterator

import pytest
from blockbuster import blockbuster_ctx

from harness.recorder import tier_of

TIERS = ("unit", "component", "apiserver", "chart", "browser", "e2e", "bench")
ALLOWED_SKIP = "open:"
_OURS = ["posecluster_inference", "posecluster_operator"]


def required_tiers() -> set[str]:
    """Tiers in which no test may be skipped."""
    return {name.strip() for name in os.environ.get("POSECLUSTER_REQUIRE", "").split(",") if name.strip()}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if (tier := tier_of(item)) in TIERS:
            item.add_marker(tier)


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and tier_of(item) in required_tiers():
        _forbid_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if report.skipped and any(f"tests/{tier}/" in collector.nodeid for tier in required_tiers()):
        _forbid_skip(report)
    return report


def _forbid_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    reason = str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if reason.removeprefix("Skipped: ").startswith(ALLOWED_SKIP):
        return
    report.outcome = "failed"
    report.longrepr = f"skipped in a tier that is required (POSECLUSTER_REQUIRE): {reason}"


@pytest.fixture(autouse=True)
def _no_blocking_calls(request: pytest.FixtureRequest) -> Iterator[None]:
    """In async unit tests a blocking call that our own code makes on the loop is an error."""
    function = getattr(request.node, "function", None)
    if tier_of(request.node) != "unit" or not inspect.iscoroutinefunction(function):
        yield
        return
    with blockbuster_ctx(_OURS):
        yield
