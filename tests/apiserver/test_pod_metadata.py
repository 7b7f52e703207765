"""Labels and annotations of pods: only keys that the operator allows; otherwise nothing changes."""

from collections.abc import Callable

import pytest

from harness.kubernetes.api import Api
from harness.kubernetes.facts import wait_rolled_out
from harness.kubernetes.operator import OperatorProcess
from harness.kubernetes.player import Player
from harness.kubernetes.waiting import Json, posecluster

NAME = "demo"


def deployment(api: Api, namespace: str) -> Json:
    return api.get("deployments", namespace, f"{NAME}-pose")


def template_metadata(api: Api, namespace: str) -> Json:
    found: Json = deployment(api, namespace)["spec"]["template"]["metadata"]
    return found


@pytest.mark.acceptance(22)
@pytest.mark.parametrize(
    ("field", "setting"),
    [
        ("podLabels", "POSECLUSTER_OPERATOR_ALLOWED_POD_LABELS"),
        ("podAnnotations", "POSECLUSTER_OPERATOR_ALLOWED_POD_ANNOTATIONS"),
    ],
)
def test_a_key_that_is_not_allowed_changes_nothing_and_is_named(
    api: Api, namespace: str, player: Player, operator: OperatorProcess, field: str, setting: str
) -> None:
    api.create(posecluster(NAME, namespace, replicas=2))
    wait_rolled_out(api, namespace, NAME)
    before = deployment(api, namespace)
    pods = {pod["metadata"]["uid"] for pod in player.ready_pods(namespace, f"{NAME}-pose")}
    api.patch(
        "poseclusters",
        namespace,
        NAME,
        {"spec": {field: {"example.com/bank": "a"}, "image": "example.test/x:2"}},
    )
    problem = api.wait_condition(namespace, NAME, "Progressing", status="False", reason="InvalidSpec")
    assert "example.com/bank" in problem["message"]
    assert setting in problem["message"]
    assert deployment(api, namespace)["metadata"]["generation"] == before["metadata"]["generation"]
    assert {pod["metadata"]["uid"] for pod in player.ready_pods(namespace, f"{NAME}-pose")} == pods
    api.patch("poseclusters", namespace, NAME, {"spec": {field: None}})
    wait_rolled_out(api, namespace, NAME)


def test_an_allowed_key_is_on_the_pods_until_it_is_removed(
    api: Api, namespace: str, player: Player, start_operator: Callable[..., OperatorProcess]
) -> None:
    start_operator(allowed_pod_labels="example.com/team", allowed_pod_annotations="example.com/*")
    spec = {"podLabels": {"example.com/team": "vision"}, "podAnnotations": {"example.com/a": "b"}}
    api.create(posecluster(NAME, namespace, **spec))
    wait_rolled_out(api, namespace, NAME)
    (pod,) = player.ready_pods(namespace, f"{NAME}-pose")
    assert pod["metadata"]["labels"].items() >= spec["podLabels"].items()
    assert pod["metadata"]["annotations"].items() >= spec["podAnnotations"].items()
    assert pod["metadata"]["labels"]["app.kubernetes.io/instance"] == NAME
    assert template_metadata(api, namespace)["labels"]["example.com/team"] == "vision"

    api.patch("poseclusters", namespace, NAME, {"spec": {"podLabels": None, "podAnnotations": None}})
    wait_rolled_out(api, namespace, NAME)
    metadata = template_metadata(api, namespace)
    assert "example.com/team" not in metadata["labels"]
    assert set(metadata["annotations"]) == {
        "posecluster.io/template-hash",
        "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes",
    }
