"""Check 27: deletion needs only the garbage collector, and a recreated PoseCluster gets new children."""

import itertools
import time
from collections.abc import Callable

import pytest

from harness.kubernetes.api import Api
from harness.kubernetes.facts import (
    CHILD_RESOURCES,
    CHILDREN,
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
from harness.kubernetes.proxy import Call, FaultProxy, Rule
from harness.kubernetes.waiting import Json, conditions, posecluster
from harness.recorder import RecordFigure

NAME, CHILD = "demo", "demo-pose"
MOST_SECONDS = 60.0
EVERYTHING = ("poseclusters", "deployments", "replicasets", "pods", "services", "poddisruptionbudgets")
STATES = ("ready", "creating", "failing", "paused", "without operator")


@pytest.fixture
def operator(start_operator: Callable[..., OperatorProcess]) -> OperatorProcess:
    """With a resync every second, so that few seconds hold several passes."""
    return start_operator(resync_seconds=1)


def left_over(api: Api, namespace: str) -> list[str]:
    """Whatever of a PoseCluster's is still there."""
    return [
        f"{plural} {item['metadata']['name']}"
        for plural in EVERYTHING
        for item in api.list(plural, namespace)
    ]


def assert_owned(api: Api, namespace: str, uid: str) -> None:
    """Every child has this controller; every pod and ReplicaSet a living one."""
    for ident, child in children(api, namespace).items():
        owners = child["metadata"].get("ownerReferences", [])
        assert [(one["uid"], one.get("controller")) for one in owners] == [(uid, True)], ident


def bring(api: Api, namespace: str, operator: OperatorProcess, state: str) -> Json:
    """A PoseCluster in that state."""
    image = {"creating": "example.test/pose:creating", "failing": "example.test/pose:missing"}.get(state)
    spec = {"replicas": 2} | ({"image": image} if image else {})
    made = api.create(posecluster(NAME, namespace, **spec))
    if state == "creating":
        api.wait_until(lambda: len(children(api, namespace)) == len(CHILDREN), 15, "children")
        return made
    if state == "failing":
        api.wait_condition(namespace, NAME, "Progressing", status="False")
        return made
    wait_rolled_out(api, namespace, NAME)
    if state == "paused":
        api.patch(
            "poseclusters", namespace, NAME, {"metadata": {"annotations": {"posecluster.io/paused": "true"}}}
        )
        api.wait_condition(namespace, NAME, "Progressing", reason="Paused")
    elif state == "without operator":
        operator.kill()
    return made


@pytest.mark.acceptance(27)
@pytest.mark.parametrize("state", STATES)
def test_deletion_leaves_nothing(
    api: Api,
    namespace: str,
    player: Player,
    proxy: FaultProxy,
    operator: OperatorProcess,
    record_figure: RecordFigure,
    state: str,
) -> None:
    made = bring(api, namespace, operator, state)
    assert set(children(api, namespace)) == names(NAME)
    assert_owned(api, namespace, made["metadata"]["uid"])
    begin = time.monotonic()
    api.delete("poseclusters", namespace, NAME)
    assert api.find("poseclusters", namespace, NAME) is None, "no finalizer"
    api.wait_until(lambda: player.collect_garbage() == 0, MOST_SECONDS, "all collected")
    took = time.monotonic() - begin
    record_figure(f"{state}: deleted to gone", took, bar=f"<= {MOST_SECONDS:.0f} s", unit="s")
    if operator.running():
        api.wait_until(lambda: operator.metrics("work_queue_depth") == 0, 10, "an idle operator")
        wait_settled_calls(api, namespace, proxy)
    assert left_over(api, namespace) == []
    ours = [call for call in proxy.writes(since=begin) if call.resource != "events" and call.name != "after"]
    written = [call for call in ours if call.status < 300]
    assert shown(written) == []


def wait_settled_calls(api: Api, namespace: str, proxy: FaultProxy) -> None:
    """Wait until a new PoseCluster's key has gone through the queue: all earlier events have, too."""
    seen = time.monotonic()
    api.create(posecluster("after", namespace, annotations={"posecluster.io/paused": "true"}))
    try:
        api.wait_until(
            lambda: proxy.find(resource="poseclusters/status", name="after", since=seen),
            15,
            "a pass after it",
        )
    finally:
        api.delete("poseclusters", namespace, "after")


@pytest.mark.acceptance(27)
@pytest.mark.hostile("K-9")
def test_a_recreated_posecluster_waits_for_the_old_children_and_gets_new_ones(
    api: Api, namespace: str, player: Player, proxy: FaultProxy, operator: OperatorProcess
) -> None:
    old = api.create(posecluster(NAME, namespace, replicas=2))
    wait_rolled_out(api, namespace, NAME)
    wait_quiet(operator, proxy)
    stale, since = identities(children(api, namespace)), time.monotonic()
    api.delete("poseclusters", namespace, NAME)
    new = api.create(posecluster(NAME, namespace, replicas=3, image="example.test/pose:2"))
    assert new["metadata"]["uid"] != old["metadata"]["uid"]

    found = api.wait_condition(namespace, NAME, "Progressing", status="True", reason="RollingOut")
    assert "Waiting until" in found["message"]
    wait_passes(operator, 3)
    assert shown(proxy.find(verb="write", resource=CHILD_RESOURCES, since=since)) == []
    assert identities(children(api, namespace)) == stale, "collected late, and not touched meanwhile"
    status = api.get("poseclusters", namespace, NAME)
    assert conditions(status)["Available"]["status"] == "False", "pods of another are not ours"
    assert status["status"]["readyReplicas"] == 0

    assert player.collect_garbage() > 0
    wait_rolled_out(api, namespace, NAME)
    assert set(children(api, namespace)) == names(NAME)
    assert_owned(api, namespace, new["metadata"]["uid"])
    assert not set(stale.values()) & set(identities(children(api, namespace)).values())


@pytest.mark.acceptance(27)
@pytest.mark.hostile("K-9")
@pytest.mark.parametrize("child", ["services", "deployments"])
def test_recreated_in_the_middle_of_creation_the_new_one_wins(
    api: Api,
    namespace: str,
    start_player: Callable[..., Player],
    proxy: FaultProxy,
    operator: OperatorProcess,
    child: str,
) -> None:
    player = start_player()
    again: list[Json] = []

    def recreate(_: Call) -> None:
        """While the operator's apply is under way."""
        api.delete("poseclusters", namespace, NAME)
        again.append(api.create(posecluster(NAME, namespace, image="example.test/pose:2")))

    proxy.add(Rule(verb="apply", resource=child, nth=1, on_match=recreate))
    first = api.create(posecluster(NAME, namespace, replicas=2))
    api.wait_until(lambda: again, 15, "a first apply")

    def rolled_out() -> bool:
        player.collect_garbage()  # what was applied for the first one
        found = conditions(api.get("poseclusters", namespace, NAME)).get("Progressing", {})
        return found.get("reason") == "RolloutComplete" and len(children(api, namespace)) == 3

    api.wait_until(rolled_out, 30, "the second one rolled out")
    uid = again[0]["metadata"]["uid"]
    assert uid != first["metadata"]["uid"]
    assert_owned(api, namespace, uid)
    image = api.get("deployments", namespace, CHILD)["spec"]["template"]["spec"]["containers"][0]["image"]
    assert image == "example.test/pose:2"


@pytest.mark.acceptance(27)
@pytest.mark.hostile("K-10")
def test_in_a_terminating_namespace_calls_are_bounded_and_end(
    api: Api,
    player: Player,
    proxy: FaultProxy,
    namespace: str,
    start_operator: Callable[..., OperatorProcess],
    record_figure: RecordFigure,
) -> None:
    operator = start_operator(resync_seconds=60)
    api.create(posecluster(NAME, namespace, replicas=2))
    wait_rolled_out(api, namespace, NAME)
    metadata = {"name": "held", "namespace": namespace, "finalizers": ["example.test/hold"]}
    api.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
    api.delete("namespaces", None, namespace)
    assert api.get("namespaces", None, namespace)["status"]["phase"] == "Terminating"

    # the namespace controller starts with any object, and ends with the held one
    since = time.monotonic()
    for plural, name in sorted(names(NAME)):
        api.delete(plural, namespace, name)
    refused: list[Call] = []

    def backs_off() -> bool:
        refused[:] = [one for one in proxy.find(verb="apply", resource="services", since=since) if one.status]
        return len(refused) >= 4

    api.wait_until(backs_off, 30, "four refused applies")
    gaps = [later.time - earlier.time for earlier, later in itertools.pairwise(refused)]
    seconds = time.monotonic() - since
    calls = [
        one for one in proxy.calls if one.time >= since and one.resource != "leases" and one.verb != "watch"
    ]
    rate = len(calls) / seconds
    record_figure(
        "calls a second in a terminating namespace, first four tries", rate, bar="<= 15", sample=len(calls)
    )
    assert all(one.status == 403 for one in refused), shown(refused)
    assert gaps[-1] >= 2 * gaps[0] or gaps[-1] >= 1.5, gaps
    assert rate <= 15, shown(calls)
    found = api.wait_condition(namespace, NAME, "Progressing", status="False", reason="ApplyRejected")
    assert "terminated" in found["message"]
    assert operator.metrics("reconcile_total", result="error") == 0, "the deletion is no error"

    api.delete("poseclusters", namespace, NAME)
    api.wait_until(lambda: operator.metrics("work_queue_depth") == 0, 10, "an idle operator")
    since = time.monotonic()
    operator.wait_until(lambda: gone(proxy, since, NAME), "it is found gone", 30)
    assert shown(one for one in proxy.writes(since=since) if one.status < 300) == []
    api.patch("configmaps", namespace, "held", {"metadata": {"finalizers": None}})


def gone(proxy: FaultProxy, since: float, name: str) -> bool:
    """Whether the operator's last read of a PoseCluster found none."""
    looks = proxy.find(verb="get", resource="poseclusters", name=name)
    return bool(looks) and looks[-1].status == 404
