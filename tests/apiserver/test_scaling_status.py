"""Checks 26 and 28 for PoseClusters in Auto: status writes for a load, which pods are scraped, and pauses."""

import math
import time
from collections.abc import Callable
from itertools import pairwise

import pytest

from harness import client
from harness.kubernetes.api import Api
from harness.kubernetes.facts import assert_quiet, shown, wait_passes, wait_quiet, wait_rolled_out
from harness.kubernetes.fast_operator import FAST
from harness.kubernetes.loaded_pods import LoadedPods
from harness.kubernetes.operator import OperatorProcess
from harness.kubernetes.player import Player
from harness.kubernetes.proxy import FaultProxy
from harness.kubernetes.sizes import (
    auto,
    deployment_size,
    size_changes,
    start_measured,
    status_writes,
    ticks,
    wait_change,
    wait_ticks,
)
from harness.kubernetes.waiting import Json, conditions, posecluster
from harness.metrics_pod import Fault
from harness.recorder import RecordFigure

LOAD_SECONDS = 10.0  # from one write of the load to the next, at least
WATCHED_SECONDS = 15.0
HUGE = 400.0
PAUSED = "posecluster.io/paused"


@pytest.mark.acceptance(28)
def test_a_load_that_moves_is_written_every_ten_seconds_at_most(
    api: Api,
    namespace: str,
    operator: OperatorProcess,
    pods: LoadedPods,
    proxy: FaultProxy,
    record_figure: RecordFigure,
) -> None:
    start_measured(api, namespace, pods, ["demo"], auto(2, 2))
    since = time.monotonic()
    rate = 0.0
    while time.monotonic() - since < WATCHED_SECONDS:
        rate = 10.0 if rate == HUGE else HUGE
        pods.of("demo").change(per_second=rate, queued=int(rate / 10), running=2)
        wait_ticks(operator, 1)
    written = status_writes(proxy, "demo", since=since)
    told = [call for call in written if "load" in call.document()["status"]]
    assert told, "the load is shown"
    gaps = [later.time - earlier.time for earlier, later in pairwise(told)]
    assert all(gap >= LOAD_SECONDS - 1.0 for gap in gaps), gaps
    # nothing else changes: two sizes that are the same, and a condition that stays True
    assert len(written) <= 1 + WATCHED_SECONDS / LOAD_SECONDS, shown(written)
    assert size_changes(proxy, "demo") == []
    assert deployment_size(api, namespace, "demo") == 2
    record_figure(
        f"status writes in {WATCHED_SECONDS:.0f} s of a load that moves",
        len(written),
        bar="<= 2",
        sample=f"{ticks(operator)} scrapes",
    )


@pytest.mark.acceptance(28)
def test_a_settled_load_costs_no_write(
    api: Api,
    namespace: str,
    start_operator: Callable[..., OperatorProcess],
    pods: LoadedPods,
    proxy: FaultProxy,
    record_figure: RecordFigure,
) -> None:
    operator = start_operator(resync_seconds=1, fast=True)
    start_measured(api, namespace, pods, ["idle"], auto(1, 4))
    start_measured(api, namespace, pods, ["busy"], auto(3, 3))
    pods.of("busy").change(per_second=30.0, running=2)
    # While the rate rises, the status may show up to a fifth less and keep that figure. Once the load of the
    # whole window has this rate, a change of another figure makes the operator write the load again.
    wait_ticks(operator, math.ceil(FAST.busy_seconds / FAST.tick_seconds) + 1)
    pods.of("busy").change(running=12)
    api.wait_until(lambda: shown_load(api, namespace, "busy", "running") == 12, 45, "the new figure")
    assert shown_load(api, namespace, "busy", "requestsPerSecond") >= 27
    wait_quiet(operator, proxy, 45)
    since, scrapes = time.monotonic(), 12
    wait_ticks(operator, scrapes)
    written = proxy.writes(since=since)
    assert shown(written) == []
    record_figure(
        "writes of settled PoseClusters in Auto",
        len(written),
        bar="0",
        sample=f"{scrapes} scrapes",
    )
    assert_quiet(operator, proxy)


def shown_load(api: Api, namespace: str, name: str, field: str) -> int:
    """Return a figure of `status.load`, or 0 if it is not there."""
    figure: int = api.get("poseclusters", namespace, name)["status"].get("load", {}).get(field, 0)
    return figure


def test_only_pods_of_unpaused_auto_poseclusters_are_scraped(
    api: Api, namespace: str, operator: OperatorProcess, pods: LoadedPods
) -> None:
    pods.of("fixed").per_second = HUGE
    api.create(posecluster("fixed", namespace, replicas=2))
    start_measured(api, namespace, pods, ["turned"], auto(1, 4))
    start_measured(api, namespace, pods, ["asked"], auto(1, 4))
    turned: Json = {"spec": {"replicas": 1, "scaling": {"mode": "Fixed"}}}
    api.patch("poseclusters", namespace, "turned", turned)
    api.wait_condition(namespace, "turned", "ScalingActive", status="False", reason="FixedSize")
    wait_ticks(operator, 2)
    before = {name: pods.scrapes(name) for name in ("fixed", "turned", "asked")}
    wait_ticks(operator, 3)
    after = {name: pods.scrapes(name) for name in ("fixed", "turned", "asked")}
    assert all(count >= 3 for count in after["asked"].values())
    assert after["asked"] != before["asked"]
    assert after["turned"] == before["turned"]
    assert list(after["fixed"].values()) == [0, 0]
    for name in ("fixed", "turned"):
        assert "load" not in wait_rolled_out(api, namespace, name)["status"]
    assert operator.metrics("scraped_pods") == 1


def test_load_that_was_never_readable_has_one_event_once_it_lasts(
    api: Api, namespace: str, player: Player, start_operator: Callable[..., OperatorProcess]
) -> None:
    operator = start_operator(resync_seconds=1)
    api.create(posecluster("blind", namespace, scaling=auto(1, 2)))  # nothing answers at its pod's address
    api.wait_ready(namespace, "blind")
    found = api.wait_condition(namespace, "blind", "ScalingActive", status="False", reason="NoMetrics")
    wait_passes(operator, 2)
    assert blind_events(api, namespace) == []

    found["lastTransitionTime"] = "2026-01-01T00:00:00Z"
    aged = conditions(api.get("poseclusters", namespace, "blind")) | {"ScalingActive": found}
    api.patch_status("poseclusters", namespace, "blind", {"conditions": list(aged.values())})
    api.wait_until(lambda: blind_events(api, namespace), 20, "the Event")
    wait_passes(operator, 3)
    (event,) = blind_events(api, namespace)
    assert (event["type"], event.get("series")) == ("Warning", None)

    operator.terminate()
    operator.wait()
    wait_passes(start_operator(resync_seconds=1), 3)
    assert len(blind_events(api, namespace)) == 1, "another operator does not repeat it"


def blind_events(api: Api, namespace: str) -> list[Json]:
    """Events about load that cannot be read."""
    return [one for one in api.list("events", namespace) if one["reason"] == "NoMetrics"]


def ready_pods(api: Api, namespace: str, name: str) -> int:
    """The status' ready replicas."""
    count: int = api.get("poseclusters", namespace, name)["status"]["readyReplicas"]
    return count


@pytest.mark.acceptance(26)
def test_while_paused_the_load_changes_nothing(
    api: Api, namespace: str, fast_operator: OperatorProcess, pods: LoadedPods, proxy: FaultProxy
) -> None:
    hold = 5
    start_measured(api, namespace, pods, ["demo"], auto(1, 4, hold=hold))
    start_measured(api, namespace, pods, ["other"], auto(1, 4))
    api.patch("poseclusters", namespace, "demo", {"metadata": {"annotations": {PAUSED: "true"}}})
    api.wait_condition(namespace, "demo", "ScalingActive", status="False", reason="Paused")
    wait_ticks(fast_operator, 1)
    since, asked = time.monotonic(), pods.scrapes("demo")
    pods.of("demo").per_second = pods.of("other").per_second = HUGE
    wait_ticks(fast_operator, 4)
    assert wait_change(proxy, "other", since=since, up=True), "the one that is not paused"
    assert shown(proxy.find(verb="write", name="demo*", since=since)) == []
    assert pods.scrapes("demo") == asked

    api.patch("poseclusters", namespace, "demo", {"metadata": {"annotations": {PAUSED: None}}})
    assert wait_change(proxy, "demo", since=since, up=True).size == 4
    # a change of size is not a new generation: the status before it looks settled, too
    api.wait_until(lambda: ready_pods(api, namespace, "demo") == 4, 10, "4 pods")
    api.wait_condition(namespace, "demo", "ScalingActive", status="True", seconds=5)
    api.patch("poseclusters", namespace, "demo", {"metadata": {"annotations": {PAUSED: "true"}}})
    api.wait_condition(namespace, "demo", "ScalingActive", status="False", reason="Paused")
    pods.of("demo").per_second = 0.0
    api.patch("poseclusters", namespace, "demo", {"metadata": {"annotations": {PAUSED: None}}})
    resumed = time.monotonic()
    # what was wanted before the pause is not known any more: a whole hold is watched first
    api.wait_condition(namespace, "demo", "ScalingActive", status="True", reason="JustStarted", seconds=5)
    fell = wait_change(proxy, "demo", since=resumed, up=False, seconds=30)
    assert fell.time - resumed >= hold - 0.5


def test_scraped_load_is_shown_in_metrics_and_explanations(
    api: Api, namespace: str, operator: OperatorProcess, pods: LoadedPods
) -> None:
    start_measured(api, namespace, pods, ["demo"], auto(3, 3))
    wait_ticks(operator, 1)
    assert operator.metrics("scrape_interval_seconds") == 1.0
    assert operator.metrics("scraped_pods") == 3
    assert operator.metrics("scrape_seconds_sum") / operator.metrics("scrape_seconds_count") < 1.5
    failures = operator.metrics("scrape_failures_total")
    one = min(pods.addresses("demo"))
    pods.set_fault("demo", Fault.ERROR, pods=[one])
    begun = ticks(operator)
    wait_ticks(operator, 3)
    missed = operator.metrics("scrape_failures_total") - failures
    assert 2 <= missed <= ticks(operator) - begun + 1, "one a scrape"
    assert operator.metrics("scraped_pods") == 2
    operator.wait_log("Load of a pod could not be read")
    assert operator.logs().count(one) == 1, "told once, not every second"

    answer = client.get(f"{operator.url}/explain/{namespace}/demo")
    assert (answer.status, answer.headers.get_content_type()) == (200, "text/plain")
    assert "3" in answer.body.decode()
    assert client.get(f"{operator.url}/explain/{namespace}/nobody").status == 404
    assert conditions(api.get("poseclusters", namespace, "demo"))["ScalingActive"]["status"] == "True"
