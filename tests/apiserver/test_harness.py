"""Tests of the harness: the player brings Deployments to ready, or to the failure that a test asks for."""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from harness.kubernetes.api import Api, ApiError
from harness.kubernetes.apiserver import named_server
from harness.kubernetes.operator import OperatorProcess
from harness.kubernetes.player import Behaviour, Player
from harness.kubernetes.proxy import FaultProxy
from harness.kubernetes.waiting import conditions, posecluster, wait_until

Json = dict[str, Any]
NAME = "demo-pose"


def test_only_an_administrator_of_a_cluster_runs_tests_on_it(
    api: Api, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = [{"apiGroups": [""], "resources": ["nodes", "namespaces"], "verbs": ["*"]}]
    account = api.account(namespace, "visitor", rules)
    monkeypatch.setenv("KUBECONFIG", str(account.kubeconfig()))
    with pytest.raises(pytest.skip.Exception, match="must be an administrator of the cluster"):
        named_server(tmp_path)
    monkeypatch.setenv("KUBECONFIG", str(api.server.kubeconfig))
    assert named_server(tmp_path).url == api.server.url


def deployment(namespace: str, *, image: str = "example.test/pose:1", replicas: int = 2) -> Json:
    """A restricted Deployment as the operator would make it."""
    labels = {"app": "demo"}
    container = {
        "name": "inference",
        "image": image,
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    security = {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}}
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": NAME, "namespace": namespace},
        "spec": {
            "replicas": replicas,
            "strategy": rolling,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"securityContext": security, "containers": [container]},
            },
        },
    }


def wait_status(api: Api, namespace: str, fact: Callable[[Json], object], what: str) -> Json:
    """Wait for this status of the Deployment; return the Deployment."""
    found: Json = {}

    def holds() -> bool:
        nonlocal found
        found = api.get("deployments", namespace, NAME)
        return bool(fact(found.get("status", {})))

    try:
        wait_until(holds, 10, what)
    except AssertionError as error:
        raise AssertionError(f"{error}: {json.dumps(found.get('status'))}") from None
    return found


def test_player_brings_a_deployment_to_ready_and_rolls_it(api: Api, namespace: str, player: Player) -> None:
    api.create(deployment(namespace, replicas=4))
    found = wait_status(api, namespace, lambda status: status.get("readyReplicas") == 4, "ready")
    assert found["status"]["observedGeneration"] == 1
    assert conditions(found)["Progressing"]["reason"] == "NewReplicaSetAvailable"
    before = {pod["metadata"]["name"] for pod in api.list("pods", namespace)}
    assert len(before) == 4
    api.delete("pods", namespace, min(before), grace_seconds=None)
    wait_until(lambda: min(before) not in _names(player, namespace), 5, "replaced")
    wait_until(lambda: len(_names(player, namespace)) == 4, 5, "four again")

    change = [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "pose:2"}]
    least = [4]
    stop = threading.Event()

    def count() -> None:
        while not stop.wait(0.005):
            least.append(len(player.ready_pods(namespace, NAME)))

    counting = threading.Thread(target=count)
    counting.start()
    api.patch("deployments", namespace, NAME, change, kind="json")
    wait_status(
        api,
        namespace,
        lambda status: (
            status["observedGeneration"] == 2 and status.get("updatedReplicas") == 4 == status["replicas"]
        ),
        "rolled",
    )
    stop.set()
    counting.join()
    assert min(least) == 4
    assert not before & {pod["metadata"]["name"] for pod in api.list("pods", namespace)}
    writes = player.writes
    time.sleep(0.5)  # settled: it writes nothing
    assert player.writes == writes


def _names(player: Player, namespace: str) -> set[str]:
    return {pod["metadata"]["name"] for pod in player.ready_pods(namespace, NAME)}


@pytest.mark.parametrize(
    ("tag", "word"),
    [
        ("missing", "ImagePullBackOff"),
        ("crash", "CrashLoopBackOff"),
        ("config-error", "CreateContainerConfigError"),
        ("creating", "ContainerCreating"),
        ("unschedulable", "Unschedulable"),
        ("never-ready", "ProgressDeadlineExceeded"),
        ("quota", "FailedCreate"),
    ],
)
def test_player_plays_each_failure_and_recovery(
    api: Api, namespace: str, start_player: Callable[..., Player], tag: str, word: str
) -> None:
    player = start_player(progress_deadline_seconds=1.0)
    api.create(deployment(namespace, image=f"example.test/pose:{tag}"))
    wait_until(
        lambda: word in json.dumps([api.list("pods", namespace), api.list("deployments", namespace)]),
        10,
        word,
    )
    assert not player.ready_pods(namespace, NAME)
    player.behave(f"*:{tag}", Behaviour.READY)
    wait_status(api, namespace, lambda status: status.get("readyReplicas") == 2, "recovered")


def test_pods_are_really_admitted(api: Api, namespace: str, player: Player) -> None:
    lax = deployment(namespace)
    lax["spec"]["template"]["spec"]["securityContext"] = {}
    api.create(lax)
    found = wait_status(
        api,
        namespace,
        lambda status: "ReplicaFailure" in conditions({"status": status}),
        "refused",
    )
    assert 'violates PodSecurity "restricted' in conditions(found)["ReplicaFailure"]["message"]


def test_the_player_collects_garbage_on_request(api: Api, namespace: str, player: Player) -> None:
    owner = api.create(posecluster("demo", namespace))
    child = deployment(namespace)
    reference = {"apiVersion": owner["apiVersion"], "kind": "PoseCluster", "name": "demo"}
    child["metadata"]["ownerReferences"] = [reference | {"uid": owner["metadata"]["uid"], "controller": True}]
    api.create(child)
    wait_status(api, namespace, lambda status: status.get("readyReplicas") == 2, "ready")
    assert player.collect_garbage() == 0
    api.kubectl("delete", "pose", "demo", "-n", namespace, "--cascade=foreground", "--wait=false")
    assert player.collect_garbage() >= 4
    for resource in ("poseclusters", "deployments", "replicasets", "pods"):
        assert api.list(resource, namespace) == []


def test_a_later_player_goes_on_with_what_is_there(
    api: Api, namespace: str, start_player: Callable[..., Player]
) -> None:
    with Player(api, namespace=namespace):
        api.create(deployment(namespace))
        wait_status(api, namespace, lambda status: status.get("readyReplicas") == 2, "ready")
    before = {pod["metadata"]["name"] for pod in api.list("pods", namespace)}
    player = start_player()
    wait_until(lambda: before == _names(player, namespace), 5, "known")
    api.delete("pods", namespace, min(before))
    wait_until(lambda: min(before) not in _names(player, namespace), 5, "seen")
    wait_until(lambda: len(_names(player, namespace)) == 2, 5, "two again")
    assert max(before) in _names(player, namespace)


def test_many_deployments_are_cheap(api: Api, namespace: str, start_player: Callable[..., Player]) -> None:
    player = start_player(pods=False)
    for number in range(50):
        one = deployment(namespace)
        one["metadata"]["name"] = f"demo-{number}"
        api.create(one)
    wait_until(
        lambda: all(
            one.get("status", {}).get("readyReplicas") == 2 for one in api.list("deployments", namespace)
        ),
        15,
        "all ready",
    )
    assert player.writes <= 3 * 50


def test_the_operator_makes_a_posecluster_ready(
    api: Api, namespace: str, player: Player, proxy: FaultProxy, operator: OperatorProcess
) -> None:
    begin = time.monotonic()
    api.create(posecluster("demo", namespace, replicas=2))
    api.wait_ready(namespace, "demo", 20)
    assert {call.caller for call in proxy.writes(since=begin)} == {
        operator.account and operator.account.subject
    }
    assert operator.metrics("leader") == 1
    operator.terminate()
    assert operator.wait() == 0


def test_a_test_api_server_survives_an_outage(own_api: Callable[[], Api], tmp_path: Path) -> None:
    api = own_api()
    name = api.make_namespace()
    server: Any = api.server
    server.stop()
    with pytest.raises(httpx.TransportError):
        api.get("namespaces", None, name)
    server.start()
    assert api.get("namespaces", None, name)["metadata"]["name"] == name
    with pytest.raises(ApiError) as caught:
        api.kubectl("get", "nothing")
    assert "nothing" in caught.value.message
