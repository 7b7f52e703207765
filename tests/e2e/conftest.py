"""Fixtures of e2e tests: the cluster of KUBECONFIG, the installed chart, a namespace and a load generator."""

import itertools
import os
import uuid
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.e2e.cluster import find_cluster
from harness.e2e.collecting import collect, folder_name
from harness.e2e.nodes import Nodes
from harness.e2e.pose import Place, new_place
from harness.e2e.release import CHART, NAMESPACE, Release
from harness.e2e.users import Users
from harness.kubernetes.api import Api
from harness.server import ROOT

_API = pytest.StashKey[Api]()
_PLACES = pytest.StashKey[list[Place]]()
_numbers = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "e2e" in item.path.parts and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(180))  # pods are started and drained


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    stash = item.config.stash
    if report.failed and report.when != "teardown" and _API in stash:
        namespaces = [NAMESPACE, *(place.namespace for place in stash[_PLACES])]
        folder = ROOT / "build" / "e2e" / folder_name(item.nodeid)
        report.sections.append(("the cluster", _collected(stash[_API], namespaces, folder)))
    return report


def _collected(api: Api, namespaces: list[str], folder: Path) -> str:
    try:
        return collect(api, namespaces, folder)
    except Exception as error:  # noqa: BLE001  any error here must not hide the test's own failure
        return f"could not be read: {error!r}"


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of pytest-xdist share."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session")
def users(shared_folder: Path) -> Users:
    """Those of the release."""
    return Users(shared_folder, "release")


@pytest.fixture(scope="session")
def api(request: pytest.FixtureRequest, shared_folder: Path) -> Iterator[Api]:
    """Admin of the cluster; skips with what to set if there is none for tests."""
    if not (CHART / "Chart.yaml").is_file():
        pytest.skip("no chart in charts/posecluster")
    with find_cluster(Users(shared_folder, "cluster")) as found:
        request.config.stash[_PLACES] = []
        request.config.stash[_API] = found
        yield found
        del request.config.stash[_API]


@pytest.fixture(scope="session")
def nodes(api: Api) -> Nodes:
    """The cluster's nodes: `need(2)` if a test needs two that run pods, `frozen(name)` for a dead one."""
    return Nodes(api)


@pytest.fixture(scope="session")
def installed(api: Api, users: Users) -> Iterator[Release]:
    """The release, for the session; the last process that uses it removes all of it, the CRD too.

    A test that changes or removes the release must be marked `serial`.
    """
    release = Release(api)
    with users.change(+1) as now:
        if now == 1:
            release.remove_all()
    yield release
    with users.change(-1) as now:
        if now == 0:
            release.remove_all()


@pytest.fixture
def release(installed: Release, users: Users) -> Release:
    """The release, installed and ready, also after a test that took it away."""
    with users.change(0):
        return installed.ensure()


@pytest.fixture
def make_place(api: Api, request: pytest.FixtureRequest) -> Iterator[Callable[[], Place]]:
    """Places of one test, whether the release is there or not."""
    with _places(api, request) as make:
        yield make


@pytest.fixture
def place(release: Release, make_place: Callable[[], Place]) -> Place:
    """A namespace that enforces `restricted`, with what a test puts into it."""
    return make_place()


@pytest.fixture(scope="module")
def shared_place(
    api: Api, installed: Release, users: Users, request: pytest.FixtureRequest
) -> Iterator[Place]:
    """A place that the tests of a module share."""
    with users.change(0):
        installed.ensure()
    with _places(api, request) as make:
        yield make()


@contextmanager
def _places(api: Api, request: pytest.FixtureRequest) -> Iterator[Callable[[], Place]]:
    known, made = request.config.stash[_PLACES], []

    def make() -> Place:
        one = new_place(api, f"e2e-{next(_numbers)}-{uuid.uuid4().hex[:6]}")
        made.append(one)
        known.append(one)
        return one

    try:
        yield make
    finally:
        for one in made:
            known.remove(one)
            one.close()
