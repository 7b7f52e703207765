"""The scraper with more pods than connections: all pods are read, and the limit holds."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from harness.metrics_pod import Fault, MetricsPods
from posecluster_operator.scaling import scraper
from posecluster_operator.scaling.policy.demand import PodSample
from posecluster_operator.scaling.scraper import Scraper, Target

pytestmark = pytest.mark.component

CONNECTIONS, KEPT, PODS = 10, 5, 15
WARNING = "Limit on open files is too low, pods are scraped in turns"


@pytest.fixture
def pods() -> Iterator[MetricsPods]:
    with MetricsPods() as made:
        yield made


class Counted(scraper._Socket):
    """A scraper's socket; counts how many are open."""

    now = most = 0

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        Counted.now += 1
        Counted.most = max(Counted.now, Counted.most)

    def close(self) -> None:
        Counted.now -= self.fileno() != -1
        super().close()


@pytest.mark.parametrize("hang", [False, True], ids=["well", "hanging"])
async def test_more_pods_than_connections_take_turns(
    pods: MetricsPods, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, hang: bool
) -> None:
    """All are read, no more connections than that are ever open, one warning is logged, and half are kept."""
    monkeypatch.setattr(scraper, "_Socket", Counted)
    Counted.now = Counted.most = 0
    addresses = [pods.start() for _ in range(PODS)]
    targets = [Target(pod=address, name="pod", host=address) for address in addresses]
    made = Scraper(seconds=1.0, connections=CONNECTIONS, monotonic=time.monotonic)
    for address in addresses[KEPT:] if hang else ():
        pods.set_fault(address, Fault.SILENT)
    for _ in range(2):
        answers = (await made.scrape(targets)).values()
        assert sum(isinstance(answer, PodSample) for answer in answers) == (KEPT if hang else PODS)
    assert KEPT < Counted.most <= CONNECTIONS
    assert Counted.now == KEPT
    assert [pods.accepted(address) for address in addresses[:KEPT]] == [1] * KEPT
    assert [pods.accepted(address) for address in addresses[KEPT:]] == [2] * (PODS - KEPT)
    assert [record.getMessage() for record in caplog.records] == [WARNING]
    for address in addresses:
        pods.set_fault(address, None)
    for _ in range(2):
        await made.scrape(targets[:CONNECTIONS])
    assert Counted.now == CONNECTIONS, "all are kept when they are few enough"
    await made.close()
    assert Counted.now == 0
