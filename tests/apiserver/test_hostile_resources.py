"""Rows K-3, K-8, K-13: taken names, a flapping user, and clusters that refuse, hang or rewrite."""

import itertools
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.kubernetes.admission import Webhook, denied
from harness.kubernetes.api import Api
from harness.kubernetes.facts import (
    CHILD_RESOURCES,
    assert_quiet,
    children,
    names,
    shown,
    wait_quiet,
    wait_rolled_out,
)
from harness.kubernetes.operator import OperatorProcess
from harness.kubernetes.player import Player
from harness.kubernetes.proxy import Call, FaultProxy
from harness.kubernetes.waiting import Json, posecluster
from harness.recorder import RecordFigure

NAME, CHILD, PODS = "demo", "demo-pose", "demo-pose-pods"
FLAPS, FLAPS_A_SECOND = 100, 20
CALLS_A_FLAP = 10  # a whole pass: five reads, a list, an apply or two, the status
HEAL_SECONDS = 15.0


@pytest.fixture
def operator(start_operator: Callable[..., OperatorProcess]) -> OperatorProcess:
    """With a resync every second, because unmanaged objects are not watched."""
    return start_operator(resync_seconds=1)


def unmanaged(plural: str, name: str, namespace: str, *, labels: Json) -> Json:
    """An object of somebody else's."""
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    selector = {"matchLabels": {"app": "theirs"}}
    if plural == "services":
        spec: Json = {"selector": {"app": "theirs"}, "ports": [{"port": 5432}]}
        return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}
    if plural == "poddisruptionbudgets":
        spec = {"minAvailable": 1, "selector": selector}
        return {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": metadata, "spec": spec}
    template = {
        "metadata": {"labels": {"app": "theirs"}},
        "spec": {"containers": [{"name": "db", "image": "example.test/db:1"}]},
    }
    spec = {"replicas": 0, "selector": selector, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


FORGED = {"app.kubernetes.io/managed-by": "posecluster-operator", "app.kubernetes.io/instance": NAME}


@pytest.mark.hostile("K-3")
@pytest.mark.parametrize(
    ("plural", "name", "labels"),
    [*((plural, name, {}) for plural, name in sorted(names(NAME))), ("deployments", CHILD, FORGED)],
    ids=["deployment", "budget", "service", "headless service", "deployment with our labels"],
)
def test_an_object_with_a_taken_name_is_reported_and_never_touched(
    api: Api,
    namespace: str,
    player: Player,
    operator: OperatorProcess,
    proxy: FaultProxy,
    plural: str,
    name: str,
    labels: Json,
) -> None:
    theirs = unmanaged(plural, name, namespace, labels=labels)
    api.create(theirs)
    if plural == "deployments":  # its controller has seen it
        api.wait_until(
            lambda: api.get(plural, namespace, name).get("status", {}).get("conditions"), 10, "seen"
        )
    before = api.get(plural, namespace, name)
    api.create(posecluster(NAME, namespace, replicas=2))
    found = api.wait_condition(namespace, NAME, "Progressing", status="False", reason="NameTaken")
    assert f"{theirs['kind']} {name}" in found["message"]
    wait_quiet(operator, proxy)
    assert_quiet(operator, proxy, passes=2)
    assert shown(proxy.find(verb="write", resource=CHILD_RESOURCES)) == []
    assert set(children(api, namespace)) == {(plural, name)}
    assert api.get(plural, namespace, name) == before
    status = api.get("poseclusters", namespace, NAME)["status"]
    assert (status["replicas"], status["readyReplicas"]) == (0, 0)

    api.delete(plural, namespace, name)
    wait_rolled_out(api, namespace, NAME, HEAL_SECONDS)
    assert set(children(api, namespace)) == names(NAME)


@pytest.mark.hostile("K-8")
def test_a_flapping_spec_ends_at_the_last_one_at_bounded_cost(
    api: Api,
    namespace: str,
    player: Player,
    operator: OperatorProcess,
    proxy: FaultProxy,
    record_figure: RecordFigure,
) -> None:
    api.create(posecluster(NAME, namespace))
    wait_rolled_out(api, namespace, NAME)
    wait_quiet(operator, proxy)
    begin = time.monotonic()
    sizes = itertools.cycle([3, 1, 2])
    for turn in range(FLAPS):
        image = f"example.test/pose:{turn % 2 + 1}"
        api.patch("poseclusters", namespace, NAME, {"spec": {"image": image, "replicas": next(sizes)}})
        time.sleep(max(0.0, begin + (turn + 1) / FLAPS_A_SECOND - time.monotonic()))
    flapped = time.monotonic()
    last = {"image": "example.test/pose:9", "replicas": 2}
    api.patch("poseclusters", namespace, NAME, {"spec": last})
    wait_rolled_out(api, namespace, NAME, 10)
    settled = time.monotonic() - flapped
    wait_quiet(operator, proxy)
    assert_quiet(operator, proxy, passes=2)
    deployment = api.get("deployments", namespace, CHILD)["spec"]
    assert (deployment["template"]["spec"]["containers"][0]["image"], deployment["replicas"]) == tuple(
        last.values()
    )
    calls = [
        one for one in proxy.find(since=begin) if one.time <= flapped and one.resource not in {"leases", ""}
    ]
    cost = len([one for one in calls if one.verb != "watch"]) / FLAPS
    bar = f"<= {CALLS_A_FLAP}"
    record_figure("calls a change, 20 changes a second", cost, bar=bar, sample=FLAPS)
    record_figure("last change to Ready", settled, bar="<= 10 s", unit="s")
    assert flapped - begin < 2 * FLAPS / FLAPS_A_SECOND, "it flapped slower than meant"
    assert cost <= CALLS_A_FLAP


@pytest.mark.hostile("K-13")
def test_a_quota_that_refuses_the_deployment(
    api: Api, namespace: str, player: Player, operator: OperatorProcess, proxy: FaultProxy
) -> None:
    hard = {"count/deployments.apps": "0"}
    metadata = {"name": "none", "namespace": namespace}
    api.create({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": {"hard": hard}})
    # its controller is not here; without a status the API server refuses all, and says something else
    api.patch_status(
        "resourcequotas", namespace, "none", {"hard": hard, "used": {"count/deployments.apps": "0"}}
    )
    api.create(posecluster(NAME, namespace))
    found = api.wait_condition(namespace, NAME, "Progressing", status="False", reason="ApplyRejected")
    assert f"Deployment {CHILD}" in found["message"]
    assert "exceeded quota: none" in found["message"]
    assert set(children(api, namespace)) == {("services", CHILD), ("services", PODS)}, "the others are there"
    assert_backs_off(api, proxy)
    api.delete("resourcequotas", namespace, "none")
    nudge(api, namespace)
    wait_rolled_out(api, namespace, NAME, HEAL_SECONDS)


def assert_backs_off(api: Api, proxy: FaultProxy) -> None:
    """From now on applies of the Deployment get rare, and nothing else is written meanwhile."""
    since = time.monotonic()

    def applies() -> list[Call]:
        return proxy.find(verb="apply", resource="deployments", since=since)

    api.wait_until(lambda: len(applies()) >= 3, 30, "three more tries")
    gaps = [later.time - earlier.time for earlier, later in itertools.pairwise(applies())]
    assert gaps[-1] >= 0.9, gaps
    written = proxy.writes(since=applies()[0].time)
    assert {call.resource for call in written} <= {"deployments", "events"}, shown(written)


def nudge(api: Api, namespace: str) -> None:
    """Any event of the PoseCluster's ends the wait of a back-off."""
    api.patch("poseclusters", namespace, NAME, {"metadata": {"annotations": {"example.test/nudge": "x"}}})


@pytest.mark.hostile("K-13", "K-5")
def test_a_limit_range_that_refuses_the_pods(
    api: Api, namespace: str, player: Player, operator: OperatorProcess
) -> None:
    limits = [{"type": "Container", "max": {"memory": "256Mi"}}]
    metadata = {"name": "small", "namespace": namespace}
    api.create({"apiVersion": "v1", "kind": "LimitRange", "metadata": metadata, "spec": {"limits": limits}})
    api.create(posecluster(NAME, namespace))
    found = api.wait_condition(namespace, NAME, "Progressing", status="False", reason="FailedCreate")
    assert "maximum memory usage per Container is 256Mi" in found["message"]
    small = {"requests": {"memory": "128Mi"}, "limits": {"memory": "256Mi"}}
    api.patch("poseclusters", namespace, NAME, {"spec": {"resources": small}})
    wait_rolled_out(api, namespace, NAME, HEAL_SECONDS)


@pytest.mark.hostile("K-13")
def test_a_policy_that_denies_the_deployment(
    api: Api, namespace: str, player: Player, operator: OperatorProcess, proxy: FaultProxy
) -> None:
    sample = unmanaged("deployments", "any-pose", namespace, labels={})
    message = "no pose estimation in this namespace"
    with denied(api, sample, expression="!object.metadata.name.endsWith('-pose')", message=message):
        api.create(posecluster(NAME, namespace))
        found = api.wait_condition(namespace, NAME, "Progressing", status="False", reason="ApplyRejected")
        assert message in found["message"]
        assert_backs_off(api, proxy)
    nudge(api, namespace)
    wait_rolled_out(api, namespace, NAME, HEAL_SECONDS)


@pytest.fixture
def webhook(tmp_path: Path, namespace: str) -> Webhook:
    """Runs until the test is over."""
    with Webhook(tmp_path / "webhook") as hook:
        yield hook


@pytest.mark.hostile("K-13")
def test_a_webhook_that_denies_then_hangs_then_admits(
    api: Api, namespace: str, player: Player, operator: OperatorProcess, proxy: FaultProxy, webhook: Webhook
) -> None:
    sample = unmanaged("deployments", "sample", namespace, labels={})
    with webhook.registered(api, sample, timeout_seconds=1):
        webhook.behave("deny")
        api.create(posecluster(NAME, namespace))
        found = api.wait_condition(namespace, NAME, "Progressing", status="False", reason="ApplyRejected")
        assert "example.test has no more GPUs" in found["message"]
        webhook.behave("hang")
        nudge(api, namespace)

        def told() -> bool:
            text = api.wait_condition(namespace, NAME, "Progressing", status="False")["message"]
            return "hook.example.test" in text and "GPUs" not in text

        api.wait_until(told, 20, "the hanging webhook in the condition")
        found = api.wait_condition(namespace, NAME, "Progressing", status="False", reason="ApplyRejected")
        assert "127.0.0.1" not in found["message"]
        assert_backs_off(api, proxy)
        webhook.behave("allow")
        nudge(api, namespace)
        wait_rolled_out(api, namespace, NAME, HEAL_SECONDS)


@pytest.mark.hostile("K-13")
def test_a_webhook_that_hangs_longer_than_we_wait(
    api: Api,
    namespace: str,
    player: Player,
    start_operator: Callable[..., OperatorProcess],
    webhook: Webhook,
) -> None:
    start_operator(request_timeout_seconds=1)
    sample = unmanaged("deployments", "sample", namespace, labels={})
    with webhook.registered(api, sample, timeout_seconds=30):
        webhook.behave("hang")
        api.create(posecluster(NAME, namespace))
        found = api.wait_condition(namespace, NAME, "Progressing", status="False", reason="ApplyRejected")
        assert "in time" in found["message"]
        assert set(children(api, namespace)) == {("services", CHILD), ("services", PODS)}
        webhook.behave("allow")
        nudge(api, namespace)
        wait_rolled_out(api, namespace, NAME, HEAL_SECONDS)


@pytest.mark.hostile("K-13")
def test_a_webhook_that_rewrites_is_not_fought(
    api: Api, namespace: str, player: Player, operator: OperatorProcess, proxy: FaultProxy, webhook: Webhook
) -> None:
    webhook.patch = [
        {"op": "add", "path": "/metadata/labels/rewritten", "value": "true"},
        {"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "mirror.test/pose:1"},
        {"op": "replace", "path": "/spec/replicas", "value": 1},
    ]
    sample = unmanaged("deployments", "sample", namespace, labels={"app": "x"})
    with webhook.registered(api, sample, mutating=True):
        webhook.behave("patch")
        api.create(posecluster(NAME, namespace, replicas=2))
        api.wait_until(lambda: player.ready_pods(namespace, CHILD), 20, "a pod of the rewritten Deployment")
        wait_quiet(operator, proxy)
        assert_quiet(operator, proxy)
        status = api.get("poseclusters", namespace, NAME)["status"]
        assert (status["desiredReplicas"], status["readyReplicas"]) == (2, 1), "what is, not what is wished"
        found = api.wait_condition(namespace, NAME, "Progressing")
        assert found["reason"] != "RolloutComplete"
        webhook.behave("allow")
        api.patch("poseclusters", namespace, NAME, {"spec": {"replicas": 3}})
        wait_rolled_out(api, namespace, NAME, HEAL_SECONDS)
