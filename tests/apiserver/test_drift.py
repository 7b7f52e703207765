"""Check 26: deleted or edited children are restored, others' fields are kept, and pause stops all changes."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from harness.kubernetes.api import Api
from harness.kubernetes.facts import (
    CHILD_RESOURCES,
    CHILDREN,
    assert_quiet,
    children,
    identities,
    intent,
    names,
    shown,
    templates,
    wait_passes,
    wait_quiet,
    wait_rolled_out,
)
from harness.kubernetes.operator import OperatorProcess
from harness.kubernetes.player import Player
from harness.kubernetes.proxy import FaultProxy
from harness.kubernetes.waiting import Json, conditions, posecluster
from harness.recorder import RecordFigure

NAME, CHILD, PODS = "demo", "demo-pose", "demo-pose-pods"
MOST_SECONDS = 30.0
FEW = 4  # edits without a back-off
PAUSED = "posecluster.io/paused"
CHILD_IDENTS = sorted(names(NAME))

# what a person's edit leaves: plural, name, strategic merge patch
EDITS: dict[str, tuple[str, str, Any]] = {
    "size": ("deployments", CHILD, {"spec": {"replicas": 5}}),
    "image": ("deployments", CHILD, {"spec": {"template": {"spec": {"containers": [
        {"name": "inference", "image": "example.test/other:1"}]}}}}),
    "environment": ("deployments", CHILD, {"spec": {"template": {"spec": {"containers": [
        {"name": "inference", "env": [{"name": "POSECLUSTER_WORKERS", "value": "64"}]}]}}}}),
    "security": ("deployments", CHILD, {"spec": {"template": {"spec": {
        "securityContext": {"runAsUser": 10}}}}}),
    "rollout pause": ("deployments", CHILD, {"spec": {"paused": True}}),
    "strategy": ("deployments", CHILD, {"spec": {"strategy": {"rollingUpdate": {"maxUnavailable": 2}}}}),
    "template hash": ("deployments", CHILD, {"spec": {"template": {"metadata": {"annotations": {
        "posecluster.io/template-hash": "0"}}}}}),
    "port": ("services", CHILD, {"spec": {"ports": [
        {"$patch": "replace"}, {"name": "http", "port": 81, "targetPort": 9090}]}}),
    "selector": ("services", CHILD, {"spec": {"selector": {"app.kubernetes.io/instance": "other"}}}),
    "headless selector": ("services", PODS, {"spec": {"selector": {"app.kubernetes.io/name": "other"}}}),
    "budget": ("poddisruptionbudgets", CHILD, {"spec": {"maxUnavailable": 0}}),
    "budget of another kind": ("poddisruptionbudgets", CHILD, {"spec": {
        "maxUnavailable": None, "minAvailable": 2}}),
    "probe of another kind": ("deployments", CHILD, {"spec": {"template": {"spec": {"containers": [
        {"name": "inference", "readinessProbe": {"httpGet": None, "exec": {"command": ["true"]}}}]}}}}),
    "labels": ("services", CHILD, {"metadata": {"labels": {"app.kubernetes.io/instance": "other"}}}),
    "watched label": ("deployments", CHILD, {"metadata": {"labels": {
        "app.kubernetes.io/managed-by": None}}}),
}  # fmt: skip


@pytest.fixture
def operator(start_operator: Callable[..., OperatorProcess]) -> OperatorProcess:
    """With a resync every second, so that few seconds hold several passes."""
    return start_operator(resync_seconds=1)


@pytest.fixture
def cluster(api: Api, namespace: str, player: Player, operator: OperatorProcess, proxy: FaultProxy) -> Json:
    """A settled PoseCluster of two pods, so that there is a budget."""
    made = api.create(posecluster(NAME, namespace, replicas=2))
    wait_rolled_out(api, namespace, NAME)
    wait_quiet(operator, proxy)
    return made


def forget_repairs(api: Api, namespace: str) -> None:
    """Pause and resume, because a fifth repair of one child within a minute would begin a back-off."""
    api.patch("poseclusters", namespace, NAME, {"metadata": {"annotations": {PAUSED: "true"}}})
    api.wait_condition(namespace, NAME, "Progressing", status="False", reason="Paused")
    api.patch("poseclusters", namespace, NAME, {"metadata": {"annotations": {PAUSED: None}}})
    wait_rolled_out(api, namespace, NAME)


def intents(api: Api, namespace: str) -> Json:
    """What is wanted of every child."""
    return {ident: intent(item) for ident, item in children(api, namespace).items()}


@pytest.mark.acceptance(26)
def test_a_deleted_child_comes_back_as_a_new_one(
    api: Api,
    namespace: str,
    cluster: Json,
    operator: OperatorProcess,
    proxy: FaultProxy,
    record_figure: RecordFigure,
) -> None:
    wanted, slowest = intents(api, namespace), 0.0
    for ident in CHILD_IDENTS:
        before, begin = api.get(ident[0], namespace, ident[1])["metadata"]["uid"], time.monotonic()
        api.delete(ident[0], namespace, ident[1])
        api.wait_until(
            lambda ident=ident: api.find(ident[0], namespace, ident[1]), MOST_SECONDS, f"{ident} again"
        )
        slowest = max(slowest, time.monotonic() - begin)
        assert api.get(ident[0], namespace, ident[1])["metadata"]["uid"] != before
    record_figure(
        "deleted child back, slowest",
        slowest,
        bar=f"<= {MOST_SECONDS:.0f} s",
        unit="s",
        sample=len(CHILD_IDENTS),
    )
    wait_rolled_out(api, namespace, NAME)
    assert without_addresses(intents(api, namespace)) == without_addresses(wanted)
    wait_quiet(operator, proxy)


def without_addresses(wanted: Json) -> Json:
    """A new Service gets a new address."""
    volatile = ("clusterIP", "clusterIPs")
    return {
        ident: item | {"spec": {key: value for key, value in item["spec"].items() if key not in volatile}}
        for ident, item in wanted.items()
    }


@pytest.mark.acceptance(26)
@pytest.mark.hostile("K-7")
def test_an_edited_child_is_restored(
    api: Api,
    namespace: str,
    cluster: Json,
    operator: OperatorProcess,
    proxy: FaultProxy,
    record_figure: RecordFigure,
) -> None:
    wanted, slowest = intents(api, namespace), 0.0
    assert {(plural, name) for plural, name, _ in EDITS.values()} == set(CHILD_IDENTS), "every child"
    for number, (what, (plural, name, patch)) in enumerate(EDITS.items()):
        if number and number % FEW == 0:
            forget_repairs(api, namespace)
        begin = time.monotonic()
        edited = api.patch(plural, namespace, name, patch, kind="strategic")
        assert intent(edited) != wanted[plural, name], f"{what}: no edit"
        api.wait_until(
            lambda plural=plural, name=name: intent(api.get(plural, namespace, name)) == wanted[plural, name],
            MOST_SECONDS,
            f"{what} put right",
        )
        slowest = max(slowest, time.monotonic() - begin)
    record_figure(
        "edit put right, slowest", slowest, bar=f"<= {MOST_SECONDS:.0f} s", unit="s", sample=len(EDITS)
    )
    wait_rolled_out(api, namespace, NAME)
    wait_quiet(operator, proxy)
    assert intents(api, namespace) == wanted
    # what put them right is not in the way of the next change
    api.patch("poseclusters", namespace, NAME, {"spec": {"service": {"port": 8000}}})
    wait_rolled_out(api, namespace, NAME)
    assert [port["port"] for port in api.get("services", namespace, CHILD)["spec"]["ports"]] == [8000]
    for child in children(api, namespace).values():
        managers = [(one["manager"], one["operation"]) for one in child["metadata"]["managedFields"]]
        assert ("posecluster-operator", "Apply") in managers
        assert ("posecluster-operator", "Update") not in managers


@pytest.mark.acceptance(26)
def test_fields_added_by_others_are_left_unchanged(
    api: Api, namespace: str, cluster: Json, operator: OperatorProcess, proxy: FaultProxy
) -> None:
    note = {"metadata": {"annotations": {"example.test/note": "x"}, "labels": {"example.test/team": "pose"}}}
    for plural, name in CHILD_IDENTS:
        api.patch(plural, namespace, name, note, kind="strategic")
    api.patch("services", namespace, CHILD, {"spec": {"sessionAffinity": "ClientIP"}})
    api.kubectl("rollout", "restart", f"deployment/{CHILD}", "-n", namespace)
    wait_quiet(operator, proxy)
    wait_rolled_out(api, namespace, NAME)
    api.patch("poseclusters", namespace, NAME, {"spec": {"queueLength": 7, "service": {"port": 8000}}})
    wait_rolled_out(api, namespace, NAME)
    wait_quiet(operator, proxy)
    for child in children(api, namespace).values():
        assert note["metadata"]["annotations"].items() <= child["metadata"]["annotations"].items()
        assert note["metadata"]["labels"].items() <= child["metadata"]["labels"].items()
    service = api.get("services", namespace, CHILD)["spec"]
    assert (service["sessionAffinity"], service["ports"][0]["port"]) == ("ClientIP", 8000)
    template = api.get("deployments", namespace, CHILD)["spec"]["template"]
    assert "kubectl.kubernetes.io/restartedAt" in template["metadata"]["annotations"]
    assert_quiet(operator, proxy, passes=2)


@pytest.mark.acceptance(26)
def test_while_paused_nothing_changes_and_then_the_last_spec_is_applied(
    api: Api, namespace: str, cluster: Json, player: Player, operator: OperatorProcess, proxy: FaultProxy
) -> None:
    generation = api.get("poseclusters", namespace, NAME)["metadata"]["generation"]
    api.patch("poseclusters", namespace, NAME, {"metadata": {"annotations": {PAUSED: "true"}}})
    for kind in ("Progressing", "ScalingActive"):
        api.wait_condition(namespace, NAME, kind, status="False", reason="Paused")
    since = time.monotonic()
    api.delete("services", namespace, PODS)
    api.patch("deployments", namespace, CHILD, {"metadata": {"labels": {"app.kubernetes.io/instance": "x"}}})
    left = identities(children(api, namespace))
    for image in ("example.test/pose:2", "example.test/pose:3"):
        api.patch("poseclusters", namespace, NAME, {"spec": {"image": image}})
        api.kubectl("scale", "posecluster", NAME, "--replicas=4", "-n", namespace)
        wait_passes(operator, 2)
    assert shown(proxy.find(verb="write", resource=CHILD_RESOURCES, since=since)) == []
    found = api.get("poseclusters", namespace, NAME)
    versions = identities(children(api, namespace))
    # the Deployment's own status may be written by its controller: only uids are compared there
    assert {ident: uid for ident, (uid, _) in versions.items()} == {
        ident: uid for ident, (uid, _) in left.items()
    }
    assert found["status"]["observedGeneration"] == generation < found["metadata"]["generation"]
    assert conditions(found)["Available"]["status"] == "True"
    assert_quiet(operator, proxy, passes=2)

    since = time.monotonic()
    api.patch("poseclusters", namespace, NAME, {"metadata": {"annotations": {PAUSED: None}}})
    wait_rolled_out(api, namespace, NAME)
    deployment = api.get("deployments", namespace, CHILD)["spec"]
    assert deployment["template"]["spec"]["containers"][0]["image"] == "example.test/pose:3"
    assert deployment["replicas"] == 4
    assert len(templates(proxy.find(verb="apply", resource="deployments", since=since))) == 1, "one rollout"
    assert set(children(api, namespace)) == names(NAME, CHILDREN)
