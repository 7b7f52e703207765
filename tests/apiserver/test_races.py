"""What happens between two calls of one pass: unmanaged objects, and policies of the cluster."""

import pytest

from harness.kubernetes.api import Api
from harness.kubernetes.facts import wait_rolled_out
from harness.kubernetes.operator import OperatorProcess
from harness.kubernetes.player import Player
from harness.kubernetes.proxy import FaultProxy, Rule
from harness.kubernetes.waiting import Json, posecluster


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
