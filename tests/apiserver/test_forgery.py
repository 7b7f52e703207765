"""Row K-7 (and K-6): forged status, edited annotations, finalizers and owners converge or change nothing."""

import time
from collections.abc import Callable

import pytest

from harness.kubernetes.api import Api
from harness.kubernetes.facts import (
    assert_quiet,
    children,
    identities,
    names,
    shown,
    wait_passes,
    wait_quiet,
    wait_rolled_out,
)
from harness.kubernetes.operator import OperatorProcess
from harness.kubernetes.player import Player
from harness.kubernetes.proxy import FaultProxy
from harness.kubernetes.waiting import Json, conditions, posecluster

NAME, CHILD = "demo", "demo-pose"
PAUSED = "posecluster.io/paused"


@pytest.fixture
def operator(start_operator: Callable[..., OperatorProcess]) -> OperatorProcess:
    """With a resync every second, so that few seconds hold several passes."""
    return start_operator(resync_seconds=1)


@pytest.fixture
def cluster(api: Api, namespace: str, player: Player, operator: OperatorProcess, proxy: FaultProxy) -> Json:
    """A settled PoseCluster of two pods."""
    made = api.create(posecluster(NAME, namespace, replicas=2))
    wait_rolled_out(api, namespace, NAME)
    wait_quiet(operator, proxy)
    return made


@pytest.mark.hostile("K-7")
def test_a_forged_status_converges(
    api: Api, namespace: str, cluster: Json, operator: OperatorProcess, proxy: FaultProxy
) -> None:
    true = api.get("poseclusters", namespace, NAME)["status"]
    now = "2020-01-01T00:00:00Z"
    lie = {"status": "False", "reason": "Forged", "message": "x", "lastTransitionTime": now}
    for forged in (
        {
            "replicas": 99,
            "readyReplicas": 0,
            "desiredReplicas": 7,
            "selector": "",
            "endpoint": "http://evil.test",
        },
        {
            "observedGeneration": 999,
            "load": {"queued": 5},
            "lastScaling": {"from": 1, "to": 500, "message": "x"},
        },
        {
            "conditions": [
                {"type": kind, **lie} for kind in ("Available", "Progressing", "Ready", "Stalled", "Evil")
            ]
        },
        {"conditions": []},
        {"conditions": [{**one, "message": "all is lost"} for one in true["conditions"]]},
        dict.fromkeys(true),
    ):
        api.patch_status("poseclusters", namespace, NAME, forged)
        api.wait_until(lambda: truth(api, namespace) == without_times(true), 10, f"{forged} mended")
    wait_quiet(operator, proxy)
    assert set(children(api, namespace)) == names(NAME)
    assert conditions(api.get("poseclusters", namespace, NAME))["Available"]["lastTransitionTime"] > now


def truth(api: Api, namespace: str) -> Json:
    """The status without times: those of conditions that somebody turned over are new."""
    return without_times(api.get("poseclusters", namespace, NAME).get("status", {}))


def without_times(status: Json) -> Json:
    listed = [
        {key: value for key, value in one.items() if key != "lastTransitionTime"}
        for one in status.get("conditions", [])
    ]
    return {**status, "conditions": listed}


@pytest.mark.hostile("K-7", "K-6")
def test_odd_annotations_and_finalizers_of_others_change_nothing(
    api: Api, namespace: str, cluster: Json, operator: OperatorProcess, proxy: FaultProxy
) -> None:
    before, since = identities(children(api, namespace)), time.monotonic()
    notes = {
        PAUSED: "yes",
        "posecluster.io/finalizer": "x",
        "kopf.zalando.org/last-handled-configuration": "{",
    }
    for annotations in (notes, dict.fromkeys(notes), {PAUSED: "TRUE"}, {"example.test/long": "x" * 200_000}):
        metadata = {"annotations": annotations, "finalizers": ["example.test/hold"]}
        api.patch("poseclusters", namespace, NAME, {"metadata": metadata})
        wait_passes(operator, 1)
    wait_quiet(operator, proxy)
    assert shown(proxy.writes(since=since)) == []
    assert identities(children(api, namespace)) == before
    assert api.get("poseclusters", namespace, NAME)["metadata"]["finalizers"] == ["example.test/hold"]
    api.patch("poseclusters", namespace, NAME, {"metadata": {"finalizers": None}})


@pytest.mark.hostile("K-7")
def test_a_child_held_by_a_finalizer_is_waited_for(
    api: Api, namespace: str, cluster: Json, operator: OperatorProcess, proxy: FaultProxy
) -> None:
    held = api.patch("services", namespace, CHILD, {"metadata": {"finalizers": ["example.test/hold"]}})
    wait_quiet(operator, proxy)
    api.delete("services", namespace, CHILD)
    found = api.wait_condition(namespace, NAME, "Progressing", status="True", reason="RollingOut")
    assert f"Service {CHILD}" in found["message"]
    wait_quiet(operator, proxy)
    assert_quiet(operator, proxy, passes=2)
    api.patch("services", namespace, CHILD, {"metadata": {"finalizers": None}})
    wait_rolled_out(api, namespace, NAME)
    assert api.get("services", namespace, CHILD)["metadata"]["uid"] != held["metadata"]["uid"]


@pytest.mark.hostile("K-7")
@pytest.mark.parametrize(
    "edit",
    [
        {"op": "remove", "path": "/metadata/ownerReferences"},
        {"op": "replace", "path": "/metadata/ownerReferences/0/controller", "value": False},
    ],
    ids=lambda edit: edit["op"],
)
def test_a_removed_owner_reference_is_restored(
    api: Api, namespace: str, cluster: Json, operator: OperatorProcess, edit: Json
) -> None:
    before = api.get("deployments", namespace, CHILD)["metadata"]
    api.patch("deployments", namespace, CHILD, [edit], kind="json")

    def is_back() -> bool:
        metadata = api.get("deployments", namespace, CHILD)["metadata"]
        return (
            metadata["uid"] == before["uid"] and metadata.get("ownerReferences") == before["ownerReferences"]
        )

    api.wait_until(is_back, 10, "the owner is back")
    wait_rolled_out(api, namespace, NAME)


@pytest.mark.hostile("K-7")
def test_children_orphaned_by_a_deletion_are_adopted_again(
    api: Api, namespace: str, cluster: Json, operator: OperatorProcess
) -> None:
    before = api.get("deployments", namespace, CHILD)["metadata"]["uid"]
    api.delete("poseclusters", namespace, NAME)
    for plural in ("services", "deployments", "poddisruptionbudgets"):
        for child in api.list(plural, namespace):  # what orphaning leaves; nothing does it here
            api.patch(plural, namespace, child["metadata"]["name"], {"metadata": {"ownerReferences": None}})
    again = api.create(posecluster(NAME, namespace))
    wait_rolled_out(api, namespace, NAME)
    kept = api.get("deployments", namespace, CHILD)["metadata"]
    assert kept["uid"] == before
    assert [owner["uid"] for owner in kept["ownerReferences"]] == [again["metadata"]["uid"]]
