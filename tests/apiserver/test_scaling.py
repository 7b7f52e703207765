"""The size follows the load: up immediately, down after the hold, idlest pods first, within its bounds."""

import os
import re
import time
from datetime import UTC, datetime

from harness.bars import bar_text
from harness.kubernetes.api import Api
from harness.kubernetes.fast_operator import FAST
from harness.kubernetes.loaded_pods import LoadedPods
from harness.kubernetes.operator import OperatorProcess
from harness.kubernetes.player import Player
from harness.kubernetes.proxy import FaultProxy
from harness.kubernetes.sizes import (
    COST,
    auto,
    deployment_size,
    scaled_events,
    size_changes,
    size_writes,
    start_measured,
    wait_change,
    wait_ticks,
)
from harness.kubernetes.waiting import Json, conditions, posecluster
from harness.recorder import RecordFigure

LONG = os.environ.get("POSECLUSTER_LONG") == "1"
SPIKE_SECONDS = 2.0
SHARED_SPIKE_SECONDS = SPIKE_SECONDS if LONG else 4.0
BUSY, HUGE = 80.0, 400.0  # requests a second: for some pods, and for more than any test allows
MOST = 8
WATCHED_TICKS = 21  # so long a load must be known before a size falls, however short the hold
RAISED = {"Burst", "DemandRose"}


def pod_costs(api: Api, namespace: str, name: str) -> dict[str, str]:
    """Deletion costs that its pods have, by pod name."""
    found = api.list("pods", namespace, labels=f"app.kubernetes.io/instance={name}")
    notes = {pod["metadata"]["name"]: pod["metadata"].get("annotations", {}) for pod in found}
    return {pod: texts[COST] for pod, texts in notes.items() if COST in texts}


def test_a_spike_raises_the_size_at_once_and_no_higher_than_allowed(
    api: Api,
    namespace: str,
    operator: OperatorProcess,
    pods: LoadedPods,
    proxy: FaultProxy,
    record_figure: RecordFigure,
) -> None:
    names = ["a", "b", "c", "d", "e"]
    start_measured(api, namespace, pods, names, auto(1, MOST))
    wait_ticks(operator, 2)
    took = []
    for index, name in enumerate(names):
        time.sleep(index / len(names))  # at any phase of the operator's tick
        begin = time.monotonic()
        pods.of(name).per_second = BUSY
        took.append(wait_change(proxy, name, since=begin, up=True).time - begin)
    record_figure(
        "spike to decision, slowest",
        max(took),
        bar=bar_text(f"<= {SHARED_SPIKE_SECONDS:.0f} s", f"<= {SPIKE_SECONDS:.0f} s"),
        unit="s",
        sample=len(took),
    )
    assert max(took) <= SHARED_SPIKE_SECONDS

    pods.of("a").per_second = HUGE
    api.wait_until(lambda: deployment_size(api, namespace, "a") == MOST, 10, "all that it may have")
    found = api.wait_condition(namespace, "a", "ScalingActive", reason="AtMaximum", seconds=20)
    assert found["status"] == "True"
    assert "maxReplicas" in found["message"]
    wait_ticks(operator, 2)
    for name in names:
        assert {write.size for write in size_writes(proxy, name)} <= set(range(1, MOST + 1))


def test_a_change_of_size_is_reported_with_its_numbers(
    api: Api, namespace: str, fast_operator: OperatorProcess, pods: LoadedPods, proxy: FaultProxy
) -> None:
    start_measured(api, namespace, pods, ["demo"], auto(1, 6, hold=300))
    assert "lastScaling" not in api.get("poseclusters", namespace, "demo")["status"]
    assert fast_operator.metrics("scrape_interval_seconds") == FAST.tick_seconds
    begin = time.monotonic()
    pods.of("demo").change(per_second=BUSY, running=3, queued=7, late_share=0.25, refused_share=0.25)
    write = wait_change(proxy, "demo", since=begin, up=True)
    found = api.wait_until(
        lambda: api.get("poseclusters", namespace, "demo")["status"].get("lastScaling"), 5, "lastScaling"
    )
    assert found is not None
    assert (found["from"], found["to"]) == (1, write.size)
    assert found["reason"] in RAISED
    age = datetime.now(UTC) - datetime.fromisoformat(found["time"])
    assert -2 <= age.total_seconds() <= 10
    assert re.search(r"\d", found["message"])
    assert fast_operator.metrics("scaling_decisions_total", reason=found["reason"]) >= 1
    (event,) = api.wait_until(lambda: scaled_events(api, namespace, "demo"), 5, "an Event")
    assert event["type"] == "Normal"
    assert re.fullmatch(rf"Scaled from 1 to {write.size}: .*\d.*", event["note"])

    # the load is of the last seconds: wait until those are all busy, and no more pods are wanted for it
    load = api.wait_until(lambda: busy_load(api, namespace), 30, "the load of all pods in the status") or {}
    api.wait_ready(namespace, "demo")
    assert 5 <= load["queued"] <= 9
    assert 1 <= load["running"] <= 5
    assert 150 <= load["lateRequestsPermille"] <= 350
    size = deployment_size(api, namespace, "demo")
    assert load["scrapedPods"] == size == fast_operator.metrics("scraped_pods")
    head, row = api.kubectl("get", "pose", "demo", "-n", namespace).stdout.splitlines()
    shown = dict(zip(head.split(), row.split(), strict=True))
    assert (shown["READY"], shown["DESIRED"], shown["AVAILABLE"]) == (str(size), str(size), "True")
    assert (shown["QUEUE"], shown["RATE"]) == (str(load["queued"]), str(load["requestsPerSecond"]))
    active = conditions(api.get("poseclusters", namespace, "demo"))["ScalingActive"]
    assert shown["REASON"] == active["reason"]
    assert active["status"] == "True"


def busy_load(api: Api, namespace: str) -> Json | None:
    """The status' load, once its rate is that of the test, and of as many pods as there are to be."""
    load: Json = api.get("poseclusters", namespace, "demo")["status"].get("load", {})
    complete = load.get("scrapedPods") == deployment_size(api, namespace, "demo")
    return load if complete and abs(load.get("requestsPerSecond", 0) - BUSY) <= 0.2 * BUSY else None


def test_the_size_falls_after_the_hold_and_the_idlest_pods_go(
    api: Api,
    namespace: str,
    player: Player,
    fast_operator: OperatorProcess,
    pods: LoadedPods,
    proxy: FaultProxy,
) -> None:
    hold = 4
    start_measured(api, namespace, pods, ["held"], auto(1, 6, hold=hold))
    start_measured(api, namespace, pods, ["quick"], auto(1, 6, hold=0))
    wait_ticks(fast_operator, WATCHED_TICKS)
    begin = time.monotonic()
    for name in ("held", "quick"):
        pods.of(name).per_second = BUSY
    raised = {name: wait_change(proxy, name, since=begin, up=True) for name in ("held", "quick")}
    pods.of("quick").per_second = 0.0
    api.wait_until(
        lambda: len(player.ready_pods(namespace, "held-pose")) >= raised["held"].size, 10, "all ready"
    )
    busy, *idle = pods.addresses("held")  # one still has a little load, the others have none
    pods.of("held").change(per_second=2.0, running=1, weights=dict.fromkeys(idle, 0.0))
    quick = wait_change(proxy, "quick", since=raised["quick"].time, up=False, seconds=20)
    held = wait_change(proxy, "held", since=raised["held"].time, up=False, seconds=20)
    assert held.time - raised["held"].time >= hold - 0.5
    assert quick.time - raised["quick"].time < hold - 1, "it is the hold that holds"

    assert held.before is not None
    marked = [
        call
        for call in proxy.find(verb="patch", resource="pods", name="held-pose-*")
        if call.time < held.time and call.document()["metadata"]["annotations"] == {COST: "-1"}
    ]
    assert len({call.name for call in marked}) == len(marked) == held.before - held.size
    assert all(call.status == 200 and call.ended <= held.time for call in marked), "before the size"
    assert {call.name for call in marked} <= set(idle)
    api.wait_until(lambda: deployment_size(api, namespace, "held") == 1, 40, "one pod left")
    left = api.wait_until(
        lambda: one if len(one := player.ready_pods(namespace, "held-pose")) == 1 else None, 10, "one pod"
    )
    assert left is not None
    assert left[0]["metadata"]["name"] == busy, "the one with work"
    assert not any(change.up for change in size_changes(proxy, "held", since=held.time)), "no flapping"
    # the status follows the Deployment: what is ready just now may be the size before
    api.wait_until(
        lambda: api.get("poseclusters", namespace, "held")["status"]["lastScaling"]["to"] == 1, 10, "told"
    )
    last = api.wait_ready(namespace, "held")["status"]["lastScaling"]
    assert (last["to"], last["reason"]) == (1, "DemandFell")


def test_costs_that_were_not_needed_are_removed(
    api: Api,
    namespace: str,
    player: Player,
    fast_operator: OperatorProcess,
    pods: LoadedPods,
    proxy: FaultProxy,
) -> None:
    pods.of("demo")
    api.create(posecluster("demo", namespace, replicas=4, scaling=auto(1, 6)))
    api.wait_ready(namespace, "demo")
    player.pause()  # no controller deletes the pods that will get a deletion cost
    wait_change(proxy, "demo", since=0.0, up=False, seconds=30)
    assert set(pod_costs(api, namespace, "demo").values()) == {"-1"}
    since = time.monotonic()
    pods.of("demo").per_second = HUGE
    wait_change(proxy, "demo", since=since, up=True)
    api.wait_until(lambda: not pod_costs(api, namespace, "demo"), 10, "no costs left")
    player.resume()
    api.wait_until(lambda: len(player.ready_pods(namespace, "demo-pose")) == 6, 10, "6 pods")
    wait_ticks(fast_operator, 2)
    assert not pod_costs(api, namespace, "demo")
