"""Rollouts: one for each change of the pods, none for a new operator."""

from collections.abc import Callable

import pytest

from harness.kubernetes.api import Api
from harness.kubernetes.facts import (
    CHILD_RESOURCES,
    CHILDREN,
    assert_quiet,
    children,
    identities,
    templates,
    wait_passes,
    wait_quiet,
    wait_rolled_out,
)
from harness.kubernetes.operator import OperatorProcess
from harness.kubernetes.player import Player
from harness.kubernetes.proxy import FaultProxy
from harness.kubernetes.waiting import Json, posecluster

OLD, NEW = "example.test/pose:1", "example.test/pose:2"
NAME = "demo"


def pod_of(player: Player, namespace: str) -> Json:
    """One of the pods' spec."""
    spec: Json = player.ready_pods(namespace, f"{NAME}-pose")[0]["spec"]
    return spec


@pytest.mark.smoke
def test_a_change_of_image_or_variant_is_one_rollout(
    api: Api, namespace: str, player: Player, proxy: FaultProxy, operator: OperatorProcess
) -> None:
    api.create(posecluster(NAME, namespace, replicas=3))
    wait_rolled_out(api, namespace, NAME)
    for rollout, change in enumerate(
        (
            {"image": NEW},
            {"model": {"variant": "Lite"}},
            {"image": OLD, "model": {"variant": "Heavy"}, "queueLength": 3},
        ),
        start=2,
    ):
        api.patch("poseclusters", namespace, NAME, {"spec": change})
        wait_rolled_out(api, namespace, NAME)
        assert len(templates(proxy.find(verb="apply", resource="deployments"))) == rollout
    pod = pod_of(player, namespace)
    assert pod["containers"][0]["image"] == OLD
    assert {"name": "POSECLUSTER_MODEL_VARIANT", "value": "heavy"} in pod["containers"][0]["env"]
    sizes = [
        call.document()["status"]["readyReplicas"]
        for call in proxy.find(verb="patch", resource="poseclusters/status")
        if "readyReplicas" in call.document()["status"]
    ]
    assert min(sizes[sizes.index(3) :]) >= 3, "fewer were ready in a rollout"


@pytest.mark.parametrize("end", ["terminate", "kill"])
def test_a_restart_of_the_operator_replaces_nothing(
    api: Api,
    namespace: str,
    player: Player,
    proxy: FaultProxy,
    start_operator: Callable[..., OperatorProcess],
    end: str,
) -> None:
    operator = start_operator(resync_seconds=1)
    api.create(posecluster(NAME, namespace, replicas=2))
    wait_rolled_out(api, namespace, NAME)
    wait_quiet(operator, proxy)
    before = world(api, namespace)
    getattr(operator, end)()
    operator.wait()

    successor = start_operator(resync_seconds=1)
    wait_passes(successor, 2)
    assert world(api, namespace) == before
    assert_quiet(successor, proxy)
    applied = proxy.find(verb="apply", resource=CHILD_RESOURCES)
    assert len(applied) > len(CHILDREN), "the successor applied every child once more, which changed nothing"


def world(api: Api, namespace: str) -> Json:
    """Uid and version of the PoseCluster, its children and pods."""
    found: Json = {"children": identities(children(api, namespace))}
    for plural in ("poseclusters", "replicasets", "pods"):
        found[plural] = {
            (item["metadata"]["uid"], item["metadata"]["resourceVersion"])
            for item in api.list(plural, namespace)
        }
    return found


def test_without_any_image_the_condition_says_what_to_set(
    api: Api, namespace: str, player: Player, start_operator: Callable[..., OperatorProcess]
) -> None:
    operator = start_operator()
    manifest = posecluster(NAME, namespace)
    del manifest["spec"]["image"]
    api.create(manifest)
    found = api.wait_condition(namespace, NAME, "Progressing", status="False", reason="InvalidSpec")
    assert "spec.image" in found["message"]
    assert children(api, namespace) == {}
    operator.terminate()
    operator.wait()
    start_operator(inference_image=NEW)
    wait_rolled_out(api, namespace, NAME)
    assert pod_of(player, namespace)["containers"][0]["image"] == NEW
