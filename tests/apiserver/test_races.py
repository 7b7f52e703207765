"""What happens between two calls of one pass: unmanaged objects, and policies of the cluster."""

from pathlib import Path

import pytest

from harness.kubernetes.api import Api
from harness.kubernetes.facts import wait_rolled_out
from harness.kubernetes.operator import OperatorProcess
from harness.kubernetes.player import Player
from harness.kubernetes.proxy import FaultProxy, Rule
from harness.kubernetes.waiting import Json, posecluster

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.hostile("K-3")
def test_an_unmanaged_child_created_between_read_and_apply_is_not_taken_over(
    api: Api, namespace: str, player: Player, operator: OperatorProcess, proxy: FaultProxy
) -> None:
    theirs: Json = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "demo-pose", "namespace": namespace},
        "spec": {"selector": {"app": "theirs"}, "ports": [{"name": "http", "port": 80, "targetPort": 5432}]},
    }
    proxy.add(
        Rule(
            verb="apply",
            resource="services",
            name="demo-pose",
            nth=1,
            on_match=lambda _call: api.create(theirs),
            delay_seconds=1.0,
        )
    )
    api.create(posecluster("demo", namespace))
    api.wait_condition(namespace, "demo", "Progressing", reason="NameTaken")
    kept = api.get("services", namespace, "demo-pose")
    assert kept["spec"]["selector"] == {"app": "theirs"}
    assert "ownerReferences" not in kept["metadata"]
    api.delete("services", namespace, "demo-pose")
    api.patch("poseclusters", namespace, "demo", {"metadata": {"annotations": {"example.test/look": "1"}}})
    wait_rolled_out(api, namespace, "demo")


def test_the_image_policy_of_deploy_bounds_images(api: Api, namespace: str) -> None:
    policy = ROOT / "deploy" / "image-policy.yaml"
    ours, theirs = (
        posecluster("demo", namespace, image=f"{registry}/pose:1")
        for registry in ("registry.example", "example.test")
    )
    api.create(theirs, dry_run=True)
    api.kubectl("apply", "-f", str(policy))
    try:

        def refused() -> bool:
            path = f"/apis/posecluster.io/v1alpha1/namespaces/{namespace}/poseclusters"
            answer = api.request("POST", path, body=theirs, params={"dryRun": "All"})
            return answer.status_code == 422 and "must be from registry.example/" in answer.text

        api.wait_until(refused, 20, "refused")  # the API server reads its policies from a watch
        api.create(ours, dry_run=True)
    finally:
        api.kubectl("delete", "-f", str(policy))
    api.wait_until(lambda: not refused(), 20, "allowed again")
