"""Once rolled out, a PoseCluster stays current for GitOps tools, whatever its size, pods and operator do."""

import time
from collections.abc import Callable

from harness.kstatus import CURRENT, FAILED, IN_PROGRESS
from harness.kubernetes.api import Api
from harness.kubernetes.facts import wait_rolled_out
from harness.kubernetes.gitops import CHILD, LEAST_LOOKS, NAME, change, kubectl_wait, looking, wait_verdict
from harness.kubernetes.loaded_pods import LoadedPods
from harness.kubernetes.operator import OperatorProcess
from harness.kubernetes.player import Behaviour, Player
from harness.kubernetes.sizes import auto, deployment_size, start_measured
from harness.kubernetes.waiting import conditions, posecluster

NEW = "example.test/pose:2"
SLOW_SECONDS = 1.0  # for a pod to become ready: enough to be seen


def test_the_autoscaler_and_lost_pods_and_a_new_operator_leave_it_current(
    api: Api,
    namespace: str,
    start_player: Callable[..., Player],
    start_operator: Callable[..., OperatorProcess],
) -> None:
    player = start_player(ready_seconds=SLOW_SECONDS)
    operator = start_operator()
    with LoadedPods(player, namespace) as pods:
        start_measured(api, namespace, pods, [NAME], auto(1, 6, hold=300))
        with looking(api, namespace) as looks:
            pods.of(NAME).per_second = 80.0
            api.wait_until(lambda: deployment_size(api, namespace, NAME) > 1, 15, "scaled up")
            operator.kill()  # while pods start
            start_operator()
            api.wait_ready(namespace, NAME)
            lost = player.ready_pods(namespace, CHILD)[0]["metadata"]["name"]
            api.delete("pods", namespace, lost)
            api.wait_condition(namespace, NAME, "Progressing", reason="RollingOut", seconds=15)
            api.wait_ready(namespace, NAME)
    assert looks.summary == [CURRENT]
    unready = [
        item for item in looks.items if item["status"]["readyReplicas"] < item["status"]["desiredReplicas"]
    ]
    assert len(unready) >= LEAST_LOOKS, "pods that were starting were seen"


def test_a_pod_that_is_lost_counts_if_it_was_the_only_one(
    api: Api,
    namespace: str,
    start_player: Callable[..., Player],
    operator: OperatorProcess,
) -> None:
    player = start_player(ready_seconds=SLOW_SECONDS)
    api.create(posecluster(NAME, namespace))
    kubectl_wait(api, namespace)
    with looking(api, namespace) as looks:
        api.delete("pods", namespace, player.ready_pods(namespace, CHILD)[0]["metadata"]["name"])
        api.wait_condition(namespace, NAME, "Ready", status="False", seconds=10)
        kubectl_wait(api, namespace)
    assert looks.summary == [CURRENT, IN_PROGRESS, CURRENT]


def test_a_forged_ready_is_not_believed(
    api: Api, namespace: str, player: Player, start_operator: Callable[..., OperatorProcess]
) -> None:
    player.behave("*:new", Behaviour.NEVER_READY)
    operator = start_operator(resync_seconds=1)
    api.create(posecluster(NAME, namespace, replicas=2))
    kubectl_wait(api, namespace)
    change(api, namespace, image="example.test/pose:new")
    stalled = wait_verdict(api, namespace, FAILED)
    lie = {
        **conditions(stalled)["Ready"],
        "status": "True",
        "reason": "RolledOut",
        "lastTransitionTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    api.patch_status("poseclusters", namespace, NAME, {"conditions": [lie]})
    wait_verdict(api, namespace, FAILED)
    change(api, namespace, image=NEW, replicas=3)
    wait_rolled_out(api, namespace, NAME)
    kubectl_wait(api, namespace)
    assert operator.metrics("unmet_conditions", namespace=namespace, name=NAME, condition="Ready") == 0
