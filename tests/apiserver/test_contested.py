"""Another client that keeps changing a child: the operator backs off, names it, and recovers."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.background import repeating
from harness.kubernetes.admission import Webhook
from harness.kubernetes.api import Api
from harness.kubernetes.changed_operator import planted
from harness.kubernetes.facts import assert_quiet, wait_rolled_out
from harness.kubernetes.operator import OperatorProcess
from harness.kubernetes.player import Player
from harness.kubernetes.proxy import FaultProxy
from harness.kubernetes.resources import BY_PLURAL
from harness.kubernetes.waiting import Json, conditions, posecluster

NAME, CHILD = "demo", "demo-pose"
SECONDS = 20.0
MANAGER, MERGE = {"fieldManager": "policy-engine"}, {"Content-Type": "application/merge-patch+json"}
TOLERATIONS = [{"key": "example.test/gpu", "operator": "Exists"}]
# plural, merge patch (None: delete), the field that is named
WRITES: dict[str, tuple[str, Json | None, str]] = {
    "a toleration": (
        "deployments",
        {"spec": {"template": {"spec": {"tolerations": TOLERATIONS}}}},
        "spec.template.spec.tolerations",
    ),
    "a port": (
        "services",
        {"spec": {"ports": [{"name": "http", "port": 81, "targetPort": "http"}]}},
        "spec.ports",
    ),
    "a budget": ("poddisruptionbudgets", {"spec": {"maxUnavailable": 0}}, "spec.maxUnavailable"),
    "a deletion": ("poddisruptionbudgets", None, ""),
}
OTHER_LEASE = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "Role",
    "rules": [
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "update"]}
    ],
}
# the operator as it was, without a back-off
NO_BACK_OFF = """
from posecluster_operator.reconcile import repairs
repairs.Repairs.must_wait = lambda self, now: False
"""


@contextmanager
def writing(api: Api, namespace: str, plural: str, patch: Json | None) -> Iterator[list[float]]:
    """Change or delete the child as soon as it is as the operator wants it, until the end of the block."""
    done, path = list[float](), BY_PLURAL[plural].path(namespace, CHILD)
    settled = api.get(plural, namespace, CHILD)["spec"]

    def write() -> None:
        body = api.find(plural, namespace, CHILD)
        if body is None or (patch is not None and body["spec"] != settled):
            return
        done.append(time.monotonic())
        if patch is None:
            api.delete(plural, namespace, CHILD)
        else:
            api.request("PATCH", path, body=patch, params=MANAGER, headers=MERGE)

    with repeating(write, every_seconds=0.1):
        yield done


def progressing(api: Api, namespace: str) -> Json:
    return conditions(api.get("poseclusters", namespace, NAME))["Progressing"]


def repairs(operator: OperatorProcess) -> float:
    return operator.metrics("repairs_total", namespace=operator.account.namespace, name=NAME)


@pytest.fixture
def settled(api: Api, namespace: str, player: Player) -> Callable[[], Json]:
    """Create a PoseCluster of two pods, so that it has a budget, and wait for its rollout."""

    def settle() -> Json:
        api.create(posecluster(NAME, namespace, replicas=2))
        return wait_rolled_out(api, namespace, NAME)

    return settle


@pytest.mark.parametrize("write", WRITES)
def test_a_client_that_keeps_changing_a_child_is_named_and_answered_with_a_back_off(
    api: Api, namespace: str, settled: Callable[[], Json], fast_operator: OperatorProcess, write: str
) -> None:
    plural, patch, field = WRITES[write]
    settled()
    with writing(api, namespace, plural, patch) as writes:
        found = api.wait_condition(namespace, NAME, "Progressing", status="False", reason="Contested")
        assert BY_PLURAL[plural].name + f" {CHILD}: another client keeps" in found["message"]
        if patch is not None:
            assert "policy-engine" in found["message"]
            assert field in found["message"]
        assert 5 <= repairs(fast_operator) <= 6
        time.sleep(0.5)
        before = len(writes)
        time.sleep(6)
        assert len(writes) - before <= 2, "repairs back off"
    item = api.get("poseclusters", namespace, NAME)
    stands = conditions(item)
    assert (stands["Ready"]["status"], stands["Stalled"]["status"]) == ("False", "True")
    assert stands["Ready"]["reason"] == stands["Stalled"]["reason"] == "Contested"
    warnings = [one for one in api.list("events", namespace) if one["reason"] == "Contested"]
    assert [one["type"] for one in warnings] == ["Warning"]


def test_a_spec_change_is_applied_during_the_back_off_and_the_end_of_the_conflict_clears_it(
    api: Api, namespace: str, settled: Callable[[], Json], fast_operator: OperatorProcess
) -> None:
    settled()
    plural, patch, _ = WRITES["a toleration"]
    with writing(api, namespace, plural, patch):
        api.wait_condition(namespace, NAME, "Progressing", status="False", reason="Contested")
        for change, read in (
            (
                {"image": "example.test/pose:2"},
                lambda spec: spec["template"]["spec"]["containers"][0]["image"],
            ),
            ({"replicas": 3}, lambda spec: spec["replicas"]),
        ):
            api.patch("poseclusters", namespace, NAME, {"spec": change})
            (wanted,) = change.values()
            api.wait_until(
                lambda read=read, wanted=wanted: (
                    read(api.get("deployments", namespace, CHILD)["spec"]) == wanted
                ),
                2.0,
                f"{change} applied at once",
            )
    wait_rolled_out(api, namespace, NAME, 60)
    stands = conditions(api.get("poseclusters", namespace, NAME))
    assert stands["Ready"]["status"] == "True"
    assert "Stalled" not in stands
    assert repairs(fast_operator) < 12


@pytest.mark.control
def test_control_without_the_back_off_the_deployment_has_many_generations(
    api: Api,
    namespace: str,
    settled: Callable[[], Json],
    start_operator: Callable[..., OperatorProcess],
    tmp_path: Path,
) -> None:
    operator = start_operator(fast=True, env=planted(tmp_path / "planted", NO_BACK_OFF))
    settled()
    plural, patch, _ = WRITES["a toleration"]
    with writing(api, namespace, plural, patch) as writes:
        api.wait_until(lambda: repairs(operator) > 10, 60, "a fight")
    assert len(writes) > 10
    assert api.get("deployments", namespace, CHILD)["metadata"]["generation"] > 20


def test_a_restarted_operator_goes_on_with_the_back_off(
    api: Api, namespace: str, settled: Callable[[], Json], start_operator: Callable[..., OperatorProcess]
) -> None:
    first = start_operator()
    settled()
    plural, patch, _ = WRITES["a toleration"]
    with writing(api, namespace, plural, patch) as writes:
        api.wait_condition(namespace, NAME, "Progressing", status="False", reason="Contested")
        first.terminate()
        first.wait()
        api.wait_until(lambda: len(writes) >= 6, SECONDS, "changed by the other client")
        start_operator()
        since = len(writes)
        time.sleep(4)
        assert len(writes) - since == 0
        assert progressing(api, namespace)["reason"] == "Contested"


def test_some_manual_changes_are_restored_without_a_back_off(
    api: Api, namespace: str, settled: Callable[[], Json], start_operator: Callable[..., OperatorProcess]
) -> None:
    operator = start_operator()
    settled()
    plural, patch, _ = WRITES["a budget"]
    wanted = api.get(plural, namespace, CHILD)["spec"]
    for _ in range(4):
        api.patch(plural, namespace, CHILD, patch)
        api.wait_until(lambda: api.get(plural, namespace, CHILD)["spec"] == wanted, SECONDS, "restored")
    # one pass may restore two changes
    api.wait_until(lambda: 2 <= repairs(operator) <= 4, SECONDS, "the repairs counted")
    assert progressing(api, namespace)["reason"] == "RolloutComplete"


def test_two_operators_with_different_settings_end_their_fight_and_name_each_other(
    api: Api,
    namespace: str,
    player: Player,
    start_operator: Callable[..., OperatorProcess],
    proxy: FaultProxy,
) -> None:
    """The second release was rendered with `helm template`, and has a Lease of its own."""
    # without the chart's policy, which allows one Lease to each account
    account = api.operator_account(namespaces=(namespace,), lease_namespace=namespace)
    start_operator(fast=True, inference_image="example.test/pose:1", account=account)
    api.create(posecluster(NAME, namespace, image=None, replicas=2))
    wait_rolled_out(api, namespace, NAME)
    account.grant(OTHER_LEASE | {"metadata": {"name": "other-lease", "namespace": namespace}})
    start_operator(fast=True, inference_image="example.test/pose:2", lease_name="other", account=account)
    found = api.wait_condition(namespace, NAME, "Progressing", status="False", reason="Contested")
    assert "posecluster-operator (another operator" in found["message"]
    before, since = api.get("deployments", namespace, CHILD)["metadata"]["generation"], time.monotonic()
    time.sleep(10)
    assert api.get("deployments", namespace, CHILD)["metadata"]["generation"] - before <= 12
    written = [call for call in proxy.writes(since=since) if call.resource != "leases"]
    assert len(written) <= 40, "nor do they fight over the status"


def test_a_webhook_that_rewrites_our_own_requests_is_reported_and_not_fought(
    api: Api,
    namespace: str,
    settled: Callable[[], Json],
    start_operator: Callable[..., OperatorProcess],
    proxy: FaultProxy,
    tmp_path: Path,
) -> None:
    sample = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "sample", "namespace": namespace},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "x"}}},
    }
    operator = start_operator(resync_seconds=1)
    with Webhook(tmp_path / "webhook") as webhook:
        webhook.patch = [{"op": "replace", "path": "/spec/maxUnavailable", "value": 3}]
        with webhook.registered(api, sample, mutating=True):
            webhook.behave("patch")
            settled()
            api.wait_until(
                lambda: "spec.maxUnavailable" in progressing(api, namespace)["message"], SECONDS, "named"
            )
            assert_quiet(operator, proxy)
            assert repairs(operator) == 0
            events = [one["reason"] for one in api.list("events", namespace)]
            assert events.count("Overridden") == 1
