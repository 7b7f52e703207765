"""How many connections fit into a limit on descriptors, and how the soft limit is raised."""

import logging
import resource
from collections.abc import Callable

import pytest

from posecluster_common.descriptors import raise_limit
from posecluster_inference.errors import InvalidSetting
from posecluster_inference.server import descriptors as of_server
from posecluster_inference.settings import Settings
from posecluster_operator import descriptors as of_operator
from posecluster_operator.errors import InvalidSetting as OperatorInvalidSetting

pytestmark = pytest.mark.unit

NONE = resource.RLIM_INFINITY
Limits = tuple[int, int]


class Kernel:
    """A kernel's limits: soft ones up to `most`; without `allows_hard` it refuses the hard limit itself."""

    def __init__(self, soft: int, hard: int, most: int = 1 << 20, *, allows_hard: bool = True) -> None:
        self.limits: Limits = (soft, hard)
        self._most, self._allows_hard = most, allows_hard

    def getrlimit(self, _kind: int) -> Limits:
        return self.limits

    def setrlimit(self, _kind: int, limits: Limits) -> None:
        soft, hard = limits
        if hard != NONE and (soft == NONE or soft > hard):
            raise ValueError("current limit exceeds maximum limit")
        if not self._allows_hard:
            raise PermissionError("not allowed to raise maximum limit")
        if soft == NONE or soft > self._most:
            raise ValueError("invalid argument")
        self.limits = limits


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Kernel]:
    def make(*limits: int, **rules: bool) -> Kernel:
        made = Kernel(*limits, **rules)
        monkeypatch.setattr(resource, "getrlimit", made.getrlimit)
        monkeypatch.setattr(resource, "setrlimit", made.setrlimit)
        return made

    return make


@pytest.mark.parametrize(
    ("given", "raised"),
    [
        (Kernel(1_024, 524_288), (524_288, 524_288)),
        (Kernel(1_024, 1_024), (1_024, 1_024)),
        (Kernel(256, 4_096), (4_096, 4_096)),
        # as macOS: no infinite soft limit
        (Kernel(256, NONE, 10_240), (10_240, NONE)),
        (Kernel(20_000, NONE, 20_000), (20_000, NONE)),
        (Kernel(NONE, NONE), (NONE, NONE)),
        # as Linux with fs.nr_open below the hard limit: it takes nothing
        (Kernel(1_024, 1 << 30, allows_hard=False), (1_024, 1 << 30)),
    ],
)
def test_the_soft_limit_becomes_the_hard_one_where_the_kernel_takes_it(
    monkeypatch: pytest.MonkeyPatch, given: Kernel, raised: Limits
) -> None:
    monkeypatch.setattr(resource, "getrlimit", given.getrlimit)
    monkeypatch.setattr(resource, "setrlimit", given.setrlimit)
    raise_limit()
    assert given.limits == raised


@pytest.mark.parametrize(
    ("limit", "wanted", "workers", "allowed"),
    [
        (1_024, 512, 2, 512),
        (1_024, 512, 64, 512),
        (706, 512, 2, 512),
        (705, 512, 2, 511),
        (294, 512, 2, 100),
        (356, 512, 64, 38),
        (294, 50, 2, 50),
        (226, 512, 2, 32),
        (198, 4, 2, 4),
        (NONE, 1_000_000, 64, 1_000_000),
    ],
)
def test_connections_fit_the_limit_with_one_warning(
    kernel: Callable[..., Kernel],
    caplog: pytest.LogCaptureFixture,
    limit: int,
    wanted: int,
    workers: int,
    allowed: int,
) -> None:
    kernel(limit, limit)
    with caplog.at_level(logging.WARNING):
        fitted = of_server.fit_connections(Settings(max_connections=wanted), workers=workers)
    assert fitted == Settings(max_connections=allowed)
    assert len(caplog.records) == (allowed < wanted)


@pytest.mark.parametrize(("limit", "wanted", "least"), [(64, 512, 226), (225, 512, 226), (197, 4, 198)])
def test_too_few_descriptors_are_an_error_that_says_how_many_are_needed(
    kernel: Callable[..., Kernel], limit: int, wanted: int, least: int
) -> None:
    kernel(limit, limit)
    with pytest.raises(InvalidSetting, match=rf"^POSECLUSTER_MAX_CONNECTIONS={wanted}: ") as caught:
        of_server.fit_connections(Settings(max_connections=wanted), workers=2)
    assert f"limit on open files is {limit}, but the server needs at least {least}" in str(caught.value)


@pytest.mark.parametrize(("limit", "watches", "pods"), [(1_024, 5, 843), (256, 5, 75), (197, 5, 16)])
def test_the_operator_uses_the_remaining_descriptors_for_pods(
    kernel: Callable[..., Kernel], limit: int, watches: int, pods: int
) -> None:
    kernel(limit, limit)
    assert of_operator.pod_connections(watches=watches) == pods


@pytest.mark.parametrize(("limit", "watches", "least"), [(64, 5, 197), (1_024, 1_000, 1_192)])
def test_an_operator_with_too_few_descriptors_says_how_many_it_needs(
    kernel: Callable[..., Kernel], limit: int, watches: int, least: int
) -> None:
    kernel(limit, limit)
    with pytest.raises(
        OperatorInvalidSetting, match=f"is {limit}, .* {watches} watches needs at least {least}:"
    ):
        of_operator.pod_connections(watches=watches)
