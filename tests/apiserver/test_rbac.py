"""Check 21: the operator's rights are exactly those that it uses under its policy, and none is dangerous."""

import asyncio
import re
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from harness import chart
from harness.kubernetes.accounts import Account
from harness.kubernetes.api import Api
from harness.kubernetes.calls import Call
from harness.kubernetes.changed_operator import planted
from harness.kubernetes.facts import play_distribution, replica_set_sizes, wait_rolled_out
from harness.kubernetes.loaded_pods import LoadedPods
from harness.kubernetes.operator import OperatorProcess
from harness.kubernetes.operator_policy import operator_policy
from harness.kubernetes.player import Player
from harness.kubernetes.proxy import FaultProxy
from harness.kubernetes.rights import NAME
from harness.kubernetes.rights import rules as rules_of
from harness.kubernetes.sizes import auto
from harness.kubernetes.waiting import Json, posecluster
from harness.recorder import RecordFigure
from posecluster_operator.kube.client import connect
from posecluster_operator.kube.permissions import LEASE, WATCHED, Rule
from posecluster_operator.kube.preflight import describe, missing_permissions

RULES = (*WATCHED, *LEASE)
DANGEROUS_RESOURCES = {
    "*", "secrets", "pods/exec", "pods/attach", "pods/portforward", "pods/ephemeralcontainers", "pods/proxy",
    "nodes", "nodes/proxy", "services/proxy", "serviceaccounts", "serviceaccounts/token", "roles",
    "rolebindings", "clusterroles", "clusterrolebindings", "mutatingwebhookconfigurations",
    "validatingwebhookconfigurations", "customresourcedefinitions", "certificatesigningrequests/approval",
    "tokenreviews", "configmaps",
}  # fmt: skip
DANGEROUS_VERBS = {"*", "escalate", "bind", "impersonate", "approve", "sign", "deletecollection"}
CLUSTER_SCOPED = {"ClusterRole", "ClusterRoleBinding"}
# a repeated Event is written once a minute; the test has not that long
SOON = "from posecluster_operator.kube import events\nevents._SERIES_SECONDS = 0.5\n"
REVOKED_SECONDS = 30.0

Right = tuple[str, str]  # resource, verb


def rights(rules: Sequence[Rule] = RULES) -> set[Right]:
    return {(rule.resource, verb) for rule in rules for verb in rule.verbs}


def used(call: Call) -> set[Right]:
    """What the API server asked RBAC for a call."""
    if call.verb != "apply":
        return {(call.resource, call.verb)}
    return {(call.resource, "patch")} | ({(call.resource, "create")} if call.status == 201 else set())


def story(api: Api, namespace: str, pods: LoadedPods) -> None:
    """Create, follow the load down, change images, pause, meet a bad rollout twice, delete."""
    name = "demo"
    pods.of(name)

    def change(**patch: object) -> None:
        api.patch("poseclusters", namespace, name, patch)

    api.create(posecluster(name, namespace, replicas=2))
    wait_rolled_out(api, namespace, name)
    change(spec={"scaling": auto(1, 2, hold=1)})
    api.wait_until(
        lambda: api.find("poddisruptionbudgets", namespace, f"{name}-pose") is None,
        45,  # the load is watched for 20 s before a size falls
        "no budget for one pod",
    )
    for turn in range(2):
        change(spec={"image": "example.test/pose:missing"})
        api.wait_condition(namespace, name, "Progressing", reason="ImagePullBackOff")
        if turn == 0:
            play_distribution(api, namespace, f"{name}-pose", serving=1, broken=2)
            api.wait_until(
                lambda: replica_set_sizes(api, namespace, f"{name}-pose")["broken"] == 1, 20, "broken shrinks"
            )
        change(spec={"image": "example.test/pose:2"})
        wait_rolled_out(api, namespace, name)
    api.wait_until(
        lambda: any(one.get("series") for one in api.list("events", namespace)), 20, "repeated Event"
    )
    change(metadata={"annotations": {"posecluster.io/paused": "true"}})
    api.wait_condition(namespace, name, "Progressing", reason="Paused")
    api.delete("poseclusters", namespace, name)


@pytest.mark.acceptance(21)
@pytest.mark.parametrize("cluster_wide", [False, True], ids=["namespaced", "cluster-wide"])
def test_every_right_is_used_and_none_is_missing(
    cluster_wide: bool,
    api: Api,
    namespace: str,
    pods: LoadedPods,
    proxy: FaultProxy,
    start_operator: Callable[..., OperatorProcess],
    stack: ExitStack,
    record_figure: RecordFigure,
    tmp_path: Path,
) -> None:
    namespaces = () if cluster_wide else (namespace,)
    rendered = chart.rights(namespace=namespace, watched=namespaces)
    account = api.operator_account(namespaces=namespaces, lease_namespace=namespace, manifests=rendered)
    if cluster_wide:
        stack.callback(account.revoke)
    stack.enter_context(operator_policy(api, namespace))
    operator = start_operator(account=account, namespaces=namespaces, env=planted(tmp_path / "soon", SOON))
    story(api, namespace, pods)
    calls = [call for call in list(proxy.calls) if call.resource]
    assert {call.caller for call in calls} == {f"system:serviceaccount:{namespace}:{NAME}"}
    assert [str(call) for call in calls if call.status in (401, 403)] == []
    answered = [call for call in calls if call.status]  # 404 and 409 are answers to who may ask
    seen = set[Right]().union(*map(used, answered))
    assert sorted(rights() - seen) == []
    # every authenticated user may review their own rights and list the kinds
    assert sorted(seen - rights()) == [("selfsubjectaccessreviews", "create")]
    assert operator.probe("/livez") == 200
    record_figure(
        "rights unused or missing" + (", cluster-wide" if cluster_wide else ""),
        0,
        bar="0",
        sample=f"{len(rights())} rights, {len(answered)} calls",
    )


@pytest.mark.acceptance(21)
@pytest.mark.parametrize("watched", [(), ("one",), ("one", "two")])
def test_no_right_is_dangerous(watched: tuple[str, ...]) -> None:
    objects = chart.rights(namespace="home", watched=watched)
    roles = [one for one in objects if one["kind"].endswith("Role")]
    bindings = [one for one in objects if "subjects" in one]
    rules = [rule for role in roles for rule in role["rules"]]
    assert rules
    assert not {resource for rule in rules for resource in rule["resources"]} & DANGEROUS_RESOURCES
    assert not {verb for rule in rules for verb in rule["verbs"]} & DANGEROUS_VERBS
    assert not any("*" in rule["apiGroups"] or "nonResourceURLs" in rule for rule in rules)
    assert {one["kind"] for one in (*roles, *bindings)} & CLUSTER_SCOPED == (
        set() if watched else CLUSTER_SCOPED
    )
    subjects = [subject for binding in bindings for subject in binding["subjects"]]
    assert subjects == [{"kind": "ServiceAccount", "name": NAME, "namespace": "home"}] * len(bindings)
    places = {one["metadata"].get("namespace") for one in bindings}
    assert places == {"home", *(watched or (None,))}


def lease(rule: Rule) -> str:
    """Return what the message adds for a permission on the Lease."""
    return " (set by POSECLUSTER_OPERATOR_LEASE_NAMESPACE)" if rule in LEASE else ""


def take(api: Api, namespace: str, rule: Rule, verbs: Sequence[str]) -> None:
    """Leave the operator's account in its namespace all rights but these verbs of one rule."""
    for name, rules in ((NAME, WATCHED), (f"{NAME}-lease", LEASE)):
        role = api.get("roles", namespace, name)
        left = [
            replace(one, verbs=tuple(verb for verb in one.verbs if one != rule or verb not in verbs))
            for one in rules
        ]
        role["rules"] = rules_of([one for one in left if one.verbs])
        api.replace("roles", namespace, name, role)


@pytest.fixture
def account(api: Api, namespace: str) -> Account:
    """The operator's account, only for `namespace`."""
    return api.operator_account(namespaces=(namespace,), lease_namespace=namespace)


@pytest.mark.acceptance(21)
@pytest.mark.control
def test_a_start_without_a_rule_waits_with_one_line(
    api: Api, namespace: str, account: Account, start_operator: Callable[..., OperatorProcess]
) -> None:
    for rule in RULES:
        take(api, namespace, rule, rule.verbs)
        operator = start_operator(account=account, wait=False, proxied=False)
        operator.wait_log("Waiting for permissions, grant them as in", 20.0)
        (line,) = [line for line in operator.logs().splitlines() if " INFO " not in line]
        verbs = ", ".join(rule.verbs)
        assert f'missing="{verbs} {rule.full_name} in namespace {namespace}{lease(rule)}"' in line
        assert (operator.probe("/readyz"), operator.probe("/livez")) == (503, 200)
        operator.close()


async def missing(namespace: str) -> str:
    """What the start-up check says now; "" if nothing is missing."""
    kube = await connect(request_seconds=10, connect_seconds=5, on_call=lambda verb, code: None)
    try:
        return describe(
            await missing_permissions(
                kube, namespaces=(namespace,), lease_namespace=namespace, lease_name=NAME
            )
        )
    finally:
        await kube.close()


@pytest.mark.acceptance(21)
@pytest.mark.control
def test_only_the_missing_right_is_named(
    api: Api, namespace: str, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(account.kubeconfig()))
    for rule in RULES:
        for verb in rule.verbs:
            take(api, namespace, rule, [verb])
            named = f"{verb} {rule.full_name} in namespace {namespace}{lease(rule)}"
            # the API server has its roles from a watch
            api.wait_until(lambda named=named: asyncio.run(missing(namespace)) == named, 5, named)
    take(api, namespace, WATCHED[0], [])
    api.wait_until(lambda: asyncio.run(missing(namespace)) == "", 5, "whole again")


@pytest.mark.acceptance(21)
@pytest.mark.parametrize(
    ("resource", "verb", "words"),
    [
        ("deployments", "patch", r"apply deployments\S* \S*demo-pose"),
        ("pods", "list", "list pods"),
        ("services", "get", r"get services \S*demo-pose"),
    ],
)
def test_a_right_that_is_revoked_shows_and_heals(
    resource: str,
    verb: str,
    words: str,
    api: Api,
    namespace: str,
    account: Account,
    player: Player,
    start_operator: Callable[..., OperatorProcess],
    record_figure: RecordFigure,
) -> None:
    operator = start_operator(account=account)
    api.create(posecluster("demo", namespace))
    wait_rolled_out(api, namespace, "demo")
    (rule,) = [one for one in WATCHED if one.resource == resource]
    take(api, namespace, rule, [verb])
    begin = time.monotonic()

    def shown() -> Json | None:
        # another spec each time: the API server has its roles from a watch, and may still allow one
        api.patch("poseclusters", namespace, "demo", {"spec": {"drainSeconds": int(time.monotonic()) % 60}})
        condition = api.wait_condition(namespace, "demo", "Progressing", seconds=5)
        return condition if condition["reason"] == "Forbidden" else None

    condition = api.wait_until(shown, REVOKED_SECONDS, "Forbidden in the status")
    took = time.monotonic() - begin
    assert re.search(f"The operator lacks the permission to {words}", condition["message"])
    assert condition["status"] == "False"
    take(api, namespace, rule, [])
    begin = time.monotonic()
    wait_rolled_out(api, namespace, "demo", REVOKED_SECONDS)
    healed = time.monotonic() - begin
    assert operator.running()
    record_figure(
        f"{verb} {resource} revoked: shown after", took, bar=f"<= {REVOKED_SECONDS:.0f} s", unit="s"
    )
    record_figure("  healed after", healed, bar=f"<= {REVOKED_SECONDS:.0f} s", unit="s")


def test_a_budget_that_may_not_be_deleted_shows_and_heals(
    api: Api,
    namespace: str,
    account: Account,
    player: Player,
    start_operator: Callable[..., OperatorProcess],
) -> None:
    operator = start_operator(account=account)
    api.create(posecluster("demo", namespace, replicas=2))
    wait_rolled_out(api, namespace, "demo")
    (rule,) = [one for one in WATCHED if one.resource == "poddisruptionbudgets"]
    take(api, namespace, rule, ["delete"])
    time.sleep(1.0)  # the API server reads its roles from a watch, and does not report when it has read them
    api.patch("poseclusters", namespace, "demo", {"spec": {"replicas": 1}})
    condition = api.wait_condition(
        namespace, "demo", "Progressing", reason="Forbidden", seconds=REVOKED_SECONDS
    )
    assert re.search(
        r"The operator lacks the permission to delete poddisruptionbudgets", condition["message"]
    )
    status = api.get("poseclusters", namespace, "demo")["status"]
    assert (status["observedGeneration"], status["desiredReplicas"]) == (2, 1)
    take(api, namespace, rule, [])
    wait_rolled_out(api, namespace, "demo", REVOKED_SECONDS)
    api.wait_until(lambda: api.find("poddisruptionbudgets", namespace, "demo-pose") is None, 15, "gone")
    assert operator.running()
