"""Check 29: the time until PoseClusters have their children, singly and in bulk, beside thousands of pods."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from harness.bars import bar_text
from harness.kubernetes.api import Api
from harness.kubernetes.many_objects import (
    children_seconds,
    create_all,
    foreign_pods,
    peak_rss,
    percentile,
    wait_all_rolled_out,
    wait_silent,
    writes_each,
)
from harness.kubernetes.operator import OperatorProcess
from harness.kubernetes.player import Player
from harness.kubernetes.proxy import FaultProxy
from harness.kubernetes.waiting import posecluster
from harness.recorder import RecordFigure

LONG = os.environ.get("POSECLUSTER_LONG") == "1"
FOREIGN = 5_000
ONE_BY_ONE = 40 if LONG else 12
BURST, BURST_SECONDS, BURST_MIB = (500, 120.0, 256) if LONG else (100, 25.0, 180)
ONE_SECONDS, ONE_MIB = 1.0, 150
SHARED_ONE_SECONDS = 1.0 if LONG else 2.0
MOST_WRITES = 8
FOREIGN_MIB = 10
MIB = 2**20


@dataclass(frozen=True, slots=True)
class Wave:
    """PoseClusters that came together: seconds to the children and writes of each."""

    seconds: list[float]
    writes: list[int]


def wave(api: Api, proxy: FaultProxy, where: str, names: list[str], seconds: float) -> Wave:
    """Create these PoseClusters together and wait until all of them are rolled out."""
    since = time.monotonic()
    begun = create_all(api.server, [posecluster(name, where) for name in names])
    wait_all_rolled_out(api, where, names, seconds)
    calls = proxy.writes(since=since)
    found = children_seconds(calls, begun)
    assert found.keys() == set(names)
    written = writes_each(calls)
    return Wave(list(found.values()), [written[name] for name in names])


@pytest.mark.serial
@pytest.mark.acceptance(29)
@pytest.mark.timeout(900 if LONG else 150)
def test_children_are_created_soon_beside_thousands_of_other_pods(
    own_api: Callable[[], Api],
    start_proxy: Callable[[Api], FaultProxy],
    start_player: Callable[..., Player],
    start_operator: Callable[..., OperatorProcess],
    record_figure: RecordFigure,
) -> None:
    api = own_api()
    proxy = start_proxy(api)
    where = api.make_namespace()
    others = api.make_namespace(**{"pod-security.kubernetes.io/enforce": "privileged"})
    operator = start_operator(api=api, namespaces=(), lease_namespace=where, through=proxy)
    before = operator.rss()
    create_all(api.server, foreign_pods(others, FOREIGN))
    operator.close()
    # as it meets them on any other day: they are there when it starts
    operator = start_operator(api=api, namespaces=(), lease_namespace=where, through=proxy)
    grown = (operator.rss() - before) / MIB
    start_player(api=api, namespace=where)
    single = [wave(api, proxy, where, [f"one-{index}"], 20.0) for index in range(ONE_BY_ONE)]
    single_mib = peak_rss(operator.pid) / MIB
    burst = wave(api, proxy, where, [f"burst-{index}" for index in range(BURST)], 2 * BURST_SECONDS)
    wait_silent(proxy)
    burst_mib = peak_rss(operator.pid) / MIB
    one_p95 = percentile((one.seconds[0] for one in single), 0.95)
    burst_p95 = percentile(burst.seconds, 0.95)
    most = max(*burst.writes, *(one.writes[0] for one in single))
    bar = bar_text(f"<= {SHARED_ONE_SECONDS:.0f} s", f"<= {ONE_SECONDS:.0f} s")
    record_figure("one PoseCluster to its children, p95", one_p95, bar=bar, unit="s", sample=ONE_BY_ONE)
    record_figure(f"{BURST} at once, p95", burst_p95, bar=f"<= {BURST_SECONDS:.0f} s", unit="s", sample=BURST)
    record_figure("most writes for one, to settled", most, bar=f"<= {MOST_WRITES}", sample=BURST + ONE_BY_ONE)
    record_figure("peak memory, one by one", single_mib, bar=f"<= {ONE_MIB} MiB", unit="MiB")
    record_figure(f"peak memory, {BURST} at once", burst_mib, bar=f"<= {BURST_MIB} MiB", unit="MiB")
    record_figure(
        "memory for foreign pods", grown, bar=f"< {FOREIGN_MIB} MiB", unit="MiB", sample=f"{FOREIGN} pods"
    )
    assert one_p95 <= SHARED_ONE_SECONDS
    assert burst_p95 <= BURST_SECONDS
    assert most <= MOST_WRITES
    assert single_mib <= ONE_MIB
    assert burst_mib <= BURST_MIB
    assert grown < FOREIGN_MIB
