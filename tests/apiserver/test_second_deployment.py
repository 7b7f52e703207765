"""A second Deployment is two rows in the table of children: the operator makes, watches and repairs it."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import gateway_child
from harness.kubernetes.api import Api
from harness.kubernetes.facts import wait_rolled_out
from harness.kubernetes.operator import OperatorProcess
from harness.kubernetes.player import Player
from harness.kubernetes.pod_status import Behaviour
from harness.kubernetes.proxy import FaultProxy
from harness.kubernetes.waiting import posecluster
from harness.server import ROOT

NAME, GATEWAY = "demo", "demo-pose-gateway"
SECONDS = 15.0


@pytest.fixture
def operator(start_operator: Callable[..., OperatorProcess], tmp_path: Path) -> OperatorProcess:
    """An operator whose table has the Service and the Deployment of a gateway."""
    (tmp_path / "sitecustomize.py").write_text(gateway_child.SITECUSTOMIZE)
    path = os.pathsep.join(map(str, (tmp_path, ROOT / "operator", ROOT / "tests")))
    return start_operator(env={"PYTHONPATH": path})


def test_a_second_deployment_is_made_watched_repaired_and_kept_apart_from_the_first(
    api: Api, namespace: str, player: Player, operator: OperatorProcess, proxy: FaultProxy
) -> None:
    player.behave("*/gateway:*", Behaviour.IMAGE_MISSING)
    cluster = api.create(posecluster(NAME, namespace, replicas=1))
    # the rollout and its diagnosis are those of the inference pods: the gateway's cannot start
    settled = wait_rolled_out(api, namespace, NAME)
    status = settled["status"]
    assert status["selector"].split(",")[0] == "app.kubernetes.io/component=inference"
    assert (status["replicas"], status["readyReplicas"], status["desiredReplicas"]) == (1, 1, 1)

    for plural in ("services", "deployments"):
        child = api.get(plural, namespace, GATEWAY)
        assert child["metadata"]["labels"]["app.kubernetes.io/component"] == "gateway"
        assert child["metadata"]["ownerReferences"][0]["uid"] == cluster["metadata"]["uid"]
    order = [call.name for call in proxy.writes() if call.resource in ("services", "deployments")]
    assert order[:5] == [f"{NAME}-pose", f"{NAME}-pose-pods", f"{NAME}-pose", GATEWAY, GATEWAY]

    # watched: without an event it would not be reconciled for minutes
    before = api.get("deployments", namespace, GATEWAY)["metadata"]["uid"]
    api.delete("deployments", namespace, GATEWAY)
    api.wait_until(lambda: api.find("deployments", namespace, GATEWAY), SECONDS, "the gateway again")
    assert api.get("deployments", namespace, GATEWAY)["metadata"]["uid"] != before

    # its pods' spec is the operator's as a whole
    sidecar = {"name": "sidecar", "image": "example.test/other:1"} | {
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    }
    edit = {"spec": {"template": {"spec": {"containers": [sidecar]}}}}
    api.patch("deployments", namespace, GATEWAY, edit, kind="strategic")
    api.wait_until(
        lambda: (
            [
                one["name"]
                for one in api.get("deployments", namespace, GATEWAY)["spec"]["template"]["spec"][
                    "containers"
                ]
            ]
            == ["gateway"]
        ),
        SECONDS,
        "the sidecar removed",
    )
