"""What kubectl wait, Flux, Helm and Argo CD conclude about a PoseCluster in each state of its life."""

from collections.abc import Callable

import pytest

from harness.kstatus import CURRENT, FAILED, IN_PROGRESS, TERMINATING, kstatus
from harness.kubernetes.api import Api, ApiError
from harness.kubernetes.facts import assert_quiet, wait_quiet
from harness.kubernetes.gitops import CHILD, NAME, abnormal, change, kubectl_wait, looking, wait_verdict
from harness.kubernetes.operator import OperatorProcess
from harness.kubernetes.player import Player
from harness.kubernetes.proxy import FaultProxy
from harness.kubernetes.waiting import Json, conditions, posecluster

NEW, MISSING = "example.test/pose:2", "example.test/pose:missing"
PAUSED = "posecluster.io/paused"
SLOW_SECONDS = 1.0  # for a pod to become ready: enough to be seen


def pause(api: Api, namespace: str, value: str | None) -> None:
    api.patch("poseclusters", namespace, NAME, {"metadata": {"annotations": {PAUSED: value}}})


def test_without_an_operator_a_new_posecluster_is_in_progress(api: Api, namespace: str) -> None:
    made = api.create(posecluster(NAME, namespace))
    for item in (made, api.get("poseclusters", namespace, NAME), api.list("poseclusters", namespace)[0]):
        assert kstatus(item) == IN_PROGRESS
        assert conditions(item)["Ready"]["reason"] == "WaitingForOperator"
    with pytest.raises(ApiError, match="timed out"):
        kubectl_wait(api, namespace, 1)
    forgeries: list[Json] = [{"conditions": []}, {"observedGeneration": None}, {"replicas": 1}]
    for forged in forgeries:
        api.patch_status("poseclusters", namespace, NAME, forged)
        assert kstatus(api.get("poseclusters", namespace, NAME)) == IN_PROGRESS, forged
    # without the defaults of the CRD it would look finished
    assert kstatus({**made, "status": {}}) == CURRENT


def test_a_rollout_is_in_progress_until_every_pod_is_ready_and_new(
    api: Api,
    namespace: str,
    start_player: Callable[..., Player],
    start_operator: Callable[..., OperatorProcess],
    proxy: FaultProxy,
) -> None:
    player = start_player(ready_seconds=SLOW_SECONDS)
    api.create(posecluster(NAME, namespace, replicas=3))
    with looking(api, namespace) as first:
        operator = start_operator(resync_seconds=1)
        kubectl_wait(api, namespace)
        assert len(player.ready_pods(namespace, CHILD)) == 3
    with looking(api, namespace) as second:
        change(api, namespace, image=NEW)
        kubectl_wait(api, namespace)  # also when it is asked before the operator is
        pods = player.ready_pods(namespace, CHILD)
    assert first.summary == [IN_PROGRESS, CURRENT]
    assert second.summary == [CURRENT, IN_PROGRESS, CURRENT]
    assert [pod["spec"]["containers"][0]["image"] for pod in pods] == [NEW] * 3
    for item in first.items + second.items:
        status = item["status"]
        if kstatus(item) == CURRENT:
            assert status["readyReplicas"] == status["replicas"] == 3
        elif status["observedGeneration"] == item["metadata"]["generation"]:
            assert abnormal(item) == {"Reconciling": "RollingOut"}
    wait_quiet(operator, proxy)
    assert_quiet(operator, proxy)
    events = {one["reason"] for one in api.list("events", namespace) if one["regarding"]["name"] == NAME}
    assert events == {"RolloutComplete"}, "the conditions that tools read are no news of their own"
    head, row = api.kubectl("get", "pose", "-n", namespace, "-o", "wide").stdout.splitlines()
    assert dict(zip(head.split(), row.split(), strict=False))["NAME"] == NAME
    assert "RolledOut" in row


def test_an_image_that_cannot_be_pulled_fails_when_kubernetes_gives_up(
    api: Api, namespace: str, player: Player, operator: OperatorProcess
) -> None:
    api.create(posecluster(NAME, namespace))
    kubectl_wait(api, namespace)
    with looking(api, namespace) as looks:
        change(api, namespace, image=MISSING)
        failed = wait_verdict(api, namespace, FAILED)
        with pytest.raises(ApiError, match="timed out"):
            kubectl_wait(api, namespace, 1)
        change(api, namespace, image=NEW)
        kubectl_wait(api, namespace)
        wait_verdict(api, namespace, CURRENT)
    assert looks.summary == [CURRENT, IN_PROGRESS, FAILED, IN_PROGRESS, CURRENT]
    assert {"Reconciling": "ImagePullBackOff"} in list(map(abnormal, looks.items))
    assert abnormal(failed) == {"Stalled": "ImagePullBackOff"}
    assert "no such host" in conditions(failed)["Stalled"]["message"]
    assert conditions(failed)["Available"]["status"] == "True", "the old pod serves"
    stalled = [one for one in api.list("events", namespace) if one["reason"] == "ImagePullBackOff"]
    assert len(stalled) == 1


def test_a_spec_that_cannot_be_acted_on_and_a_name_that_is_taken_fail(
    api: Api, namespace: str, player: Player, operator: OperatorProcess
) -> None:
    manifest = posecluster(NAME, namespace)
    image = manifest["spec"].pop("image")
    theirs: Json = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": CHILD, "namespace": namespace},
        "spec": {"selector": {"app": "theirs"}, "ports": [{"port": 5432}]},
    }
    api.create(theirs)
    api.create(manifest)
    assert abnormal(wait_verdict(api, namespace, FAILED)) == {"Stalled": "InvalidSpec"}
    change(api, namespace, image=image)
    api.wait_condition(namespace, NAME, "Stalled", reason="NameTaken")
    assert kstatus(api.get("poseclusters", namespace, NAME)) == FAILED
    api.delete("services", namespace, CHILD)
    wait_verdict(api, namespace, CURRENT)


def test_a_paused_posecluster_is_current_until_the_spec_changes(
    api: Api, namespace: str, player: Player, operator: OperatorProcess
) -> None:
    api.create(posecluster(NAME, namespace))
    kubectl_wait(api, namespace)
    pause(api, namespace, "true")
    api.wait_condition(namespace, NAME, "Progressing", reason="Paused")
    kubectl_wait(api, namespace)
    assert kstatus(api.get("poseclusters", namespace, NAME)) == CURRENT
    change(api, namespace, image=NEW)
    with pytest.raises(ApiError, match="timed out"):
        kubectl_wait(api, namespace, 1)
    assert kstatus(api.get("poseclusters", namespace, NAME)) == IN_PROGRESS
    pause(api, namespace, None)
    kubectl_wait(api, namespace)
    (pod,) = player.ready_pods(namespace, CHILD)
    assert pod["spec"]["containers"][0]["image"] == NEW


def test_a_posecluster_created_paused_is_in_progress(
    api: Api, namespace: str, player: Player, operator: OperatorProcess
) -> None:
    api.create(posecluster(NAME, namespace, annotations={PAUSED: "true"}))
    api.wait_condition(namespace, NAME, "Ready", status="False", reason="Paused")
    item = api.get("poseclusters", namespace, NAME)
    assert (kstatus(item), abnormal(item)) == (IN_PROGRESS, {})


def test_a_posecluster_scaled_to_zero_is_ready(
    api: Api, namespace: str, player: Player, operator: OperatorProcess
) -> None:
    api.create(posecluster(NAME, namespace, replicas=2))
    kubectl_wait(api, namespace)
    api.kubectl("scale", f"pose/{NAME}", "--replicas=0", "-n", namespace)
    kubectl_wait(api, namespace)
    assert player.pods(namespace, CHILD) == []
    assert kstatus(wait_verdict(api, namespace, CURRENT)) == CURRENT
    ready = conditions(api.get("poseclusters", namespace, NAME))["Ready"]
    assert (ready["status"], ready["reason"]) == ("True", "ScaledToZero")


def test_with_the_operator_away_a_change_is_in_progress(
    api: Api, namespace: str, player: Player, start_operator: Callable[..., OperatorProcess]
) -> None:
    operator = start_operator()
    api.create(posecluster(NAME, namespace))
    kubectl_wait(api, namespace)
    operator.terminate()
    operator.wait()
    assert kstatus(api.get("poseclusters", namespace, NAME)) == CURRENT
    change(api, namespace, image=NEW)
    with pytest.raises(ApiError, match="timed out"):
        kubectl_wait(api, namespace, 1)
    assert kstatus(api.get("poseclusters", namespace, NAME)) == IN_PROGRESS
    start_operator()
    kubectl_wait(api, namespace)
    wait_verdict(api, namespace, CURRENT)


def test_a_posecluster_being_deleted_is_terminating(
    api: Api, namespace: str, player: Player, operator: OperatorProcess
) -> None:
    api.create(posecluster(NAME, namespace))
    kubectl_wait(api, namespace)
    api.patch("poseclusters", namespace, NAME, {"metadata": {"finalizers": ["example.test/hold"]}})
    api.delete("poseclusters", namespace, NAME)
    assert kstatus(api.get("poseclusters", namespace, NAME)) == TERMINATING
    api.patch("poseclusters", namespace, NAME, {"metadata": {"finalizers": None}})
