"""Counters of restarted pods and operators are no load; nothing shrinks before a whole hold was observed."""

import time
from collections.abc import Callable

import pytest

from harness.kubernetes.api import Api
from harness.kubernetes.fast_operator import FAST
from harness.kubernetes.loaded_pods import LoadedPods
from harness.kubernetes.operator import OperatorProcess
from harness.kubernetes.proxy import FaultProxy
from harness.kubernetes.sizes import (
    auto,
    deployment_size,
    size_changes,
    size_writes,
    start_measured,
    wait_change,
    wait_ticks,
)

HOLD_SECONDS = 5
SIZE, MOST = 4, 10
SCALING = auto(1, MOST, hold=HOLD_SECONDS)
STEADY = 40.0  # requests a second: for two or three pods
HUGE = 5_000.0  # of a second, as many as MOST pods answer in several
GAP_SECONDS = FAST.gap_seconds + 1.0  # without data for longer, nothing is known of the time between


def test_a_restarted_operator_holds_for_a_whole_window(
    api: Api,
    namespace: str,
    pods: LoadedPods,
    proxy: FaultProxy,
    start_operator: Callable[..., OperatorProcess],
) -> None:
    operator = start_operator(fast=True)
    names = ["quiet", "busy"]
    for name in names:
        # counters that read as load would want more pods than there may be
        pods.of(name).per_second = HUGE
        start_measured(api, namespace, pods, [name], SCALING, replicas=SIZE)
        api.wait_until(lambda name=name: deployment_size(api, namespace, name) == MOST, 15, "large")
        api.wait_ready(namespace, name)
    operator.kill()
    pods.of("quiet").per_second = 0.0
    pods.of("busy").per_second = STEADY
    for name in names:
        api.patch("poseclusters", namespace, name, {"spec": {"scaling": {"maxReplicas": 50}}})
    started = time.monotonic()
    operator = start_operator(fast=True)
    for name in names:
        api.wait_condition(namespace, name, "ScalingActive", status="True", reason="JustStarted", seconds=15)
    fell = {name: wait_change(proxy, name, since=started, up=False, seconds=40) for name in names}
    for name in names:
        assert fell[name].time - started >= HOLD_SECONDS
        assert fell[name].before == MOST
        assert not any(change.up for change in size_changes(proxy, name, since=started))
    wait_ticks(operator, 3)
    assert size_writes(proxy, "busy")[-1].size >= 2, "as large as its load wants"


@pytest.mark.hostile("K-15")
def test_a_stopped_operator_holds_for_a_whole_window(
    api: Api, namespace: str, pods: LoadedPods, proxy: FaultProxy, fast_operator: OperatorProcess
) -> None:
    pods.of("demo").per_second = STEADY
    start_measured(api, namespace, pods, ["demo"], SCALING, replicas=SIZE)
    wait_ticks(fast_operator, 1)
    fast_operator.stop()
    pods.of("demo").per_second = 0.0
    time.sleep(GAP_SECONDS)  # so long as the operator is not there
    resumed = time.monotonic()
    fast_operator.resume()
    fell = wait_change(proxy, "demo", since=resumed, up=False, seconds=60)
    assert fell.time - resumed >= HOLD_SECONDS - 0.5
    assert not any(change.up for change in size_changes(proxy, "demo", since=resumed))


def test_counters_of_restarted_pods_are_no_load(
    api: Api, namespace: str, pods: LoadedPods, proxy: FaultProxy, fast_operator: OperatorProcess
) -> None:
    pods.of("demo").per_second = STEADY
    start_measured(api, namespace, pods, ["demo"], auto(1, MOST, hold=600), replicas=SIZE)
    wait_ticks(fast_operator, 12)  # how much STEADY wants shows by now
    since, size = time.monotonic(), deployment_size(api, namespace, "demo")
    for _ in range(3):
        pods.restart("demo")  # from 0: a step of minus all that came before
        wait_ticks(fast_operator, 2)
        pods.restart("demo", arrivals=5_000, busy_seconds=250)  # much load while no operator was running
        wait_ticks(fast_operator, 2)
    assert [change.size for change in size_changes(proxy, "demo", since=since)] == []
    assert deployment_size(api, namespace, "demo") == size
    found = api.get("poseclusters", namespace, "demo")["status"]
    assert found["load"]["requestsPerSecond"] <= 2 * STEADY
