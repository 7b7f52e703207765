"""Check 28: settled PoseClusters cause no write but the Lease's, and hardly any processor time."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.bars import bar_text
from harness.kubernetes.api import Api
from harness.kubernetes.changed_operator import planted
from harness.kubernetes.facts import shown, wait_passes
from harness.kubernetes.many_objects import create_all, wait_all_rolled_out, wait_silent
from harness.kubernetes.operator import OperatorProcess
from harness.kubernetes.player import Player
from harness.kubernetes.proxy import FaultProxy
from harness.kubernetes.waiting import posecluster
from harness.recorder import RecordFigure

LONG = os.environ.get("POSECLUSTER_LONG") == "1"
COUNT, SECONDS = (1_000, 600.0) if LONG else (100, 30.0)
MOST_MIB = 200 if LONG else 128
MOST_CPU = 0.02
SHARED_CPU = 0.02 if LONG else 0.03
SETTLE_SECONDS = 600.0 if LONG else 150.0  # no bar: test_scale has that
LEASE_SECONDS = 15  # the operator's own default: renewing more often would cost more
# with the default resync each is reconciled every 90 s; their last passes are all about as old, so
# that a window of half a minute might have none: a third of them are woken instead
WOKEN = 0 if LONG else COUNT // 3

STAMP = """
import time
from posecluster_operator.reconcile import status
_compute = status.compute_status

def _stamped(*arguments, **facts):
    made = _compute(*arguments, **facts)
    made["conditions"][0]["message"] += f" Looked at at {time.time():.1f}."
    return made

status.compute_status = _stamped
"""


def assert_no_write(proxy: FaultProxy, since: float) -> None:
    assert shown(proxy.writes(since=since)) == []


@pytest.mark.serial
@pytest.mark.acceptance(28)
@pytest.mark.timeout(1_800 if LONG else 240)
def test_settled_poseclusters_cost_next_to_nothing(
    own_api: Callable[[], Api],
    start_proxy: Callable[[Api], FaultProxy],
    start_player: Callable[..., Player],
    start_operator: Callable[..., OperatorProcess],
    record_figure: RecordFigure,
) -> None:
    api = own_api()
    proxy = start_proxy(api)
    where = api.make_namespace()
    start_player(api=api, namespace=None, pods=not LONG)
    operator = start_operator(
        api=api, namespaces=(), lease_namespace=where, through=proxy, lease_seconds=LEASE_SECONDS
    )
    names = [f"quiet-{index}" for index in range(COUNT)]
    create_all(api.server, [posecluster(name, where) for name in names])
    wait_all_rolled_out(api, where, names, SETTLE_SECONDS)
    wait_silent(proxy)
    passes = operator.metrics("reconcile_total")
    used, since = operator.cpu_seconds(), time.monotonic()
    for index in range(WOKEN):
        # of the PoseCluster, so that the pass has nothing to repair
        note = {"metadata": {"annotations": {"example.test/woken": "1"}}}
        api.patch("poseclusters", where, names[3 * index], note)
        time.sleep(max(0.0, since + (index + 1) * SECONDS / WOKEN - time.monotonic()))
    time.sleep(max(0.0, since + SECONDS - time.monotonic()))
    cpu = (operator.cpu_seconds() - used) / (time.monotonic() - since)
    rss = operator.rss() / 2**20
    written = proxy.writes(since=since, lease=True)
    passes = operator.metrics("reconcile_total") - passes
    renewals = [call for call in written if call.resource == "leases"]
    record_figure(
        f"writes of {COUNT} settled PoseClusters in {SECONDS:.0f} s but the Lease's",
        len(written) - len(renewals),
        bar="0",
        sample=f"{passes:.0f} passes, {len(renewals)} renewals",
    )
    bar = bar_text(f"<= {SHARED_CPU:.0%} of a core", f"<= {MOST_CPU:.0%} of a core")
    record_figure("  processor", cpu * 100, bar=bar, unit="%", sample=COUNT)
    record_figure("  resident memory", rss, bar=f"<= {MOST_MIB} MiB", unit="MiB", sample=COUNT)
    assert_no_write(proxy, since)
    assert passes >= COUNT // 3
    assert len(renewals) >= SECONDS / LEASE_SECONDS * 4  # the proxy sees what the operator writes
    assert cpu <= SHARED_CPU
    assert rss <= MOST_MIB


@pytest.mark.acceptance(28)
@pytest.mark.control
def test_a_time_stamp_in_the_status_is_caught(
    api: Api,
    namespace: str,
    player: Player,
    proxy: FaultProxy,
    start_operator: Callable[..., OperatorProcess],
    tmp_path: Path,
) -> None:
    operator = start_operator(resync_seconds=1, env=planted(tmp_path / "slip", STAMP))
    api.create(posecluster("demo", namespace))
    api.wait_ready(namespace, "demo")
    since = time.monotonic()
    wait_passes(operator, 3)
    with pytest.raises(AssertionError, match="tus demo 200"):
        assert_no_write(proxy, since)
