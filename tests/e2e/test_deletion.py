"""Check 27 and uninstalling on a real cluster: deletion needs no operator, and nothing is left."""

import time
from collections.abc import Callable

import pytest

from harness.e2e.cluster import CRD, others
from harness.e2e.pose import Place, Pose
from harness.e2e.release import NAME, NAMESPACE, OPERATOR, Release
from harness.kubernetes.api import Api
from harness.kubernetes.facts import children
from harness.kubernetes.resources import BY_PLURAL
from harness.kubernetes.waiting import Json, wait_until
from harness.recorder import RecordFigure

pytestmark = pytest.mark.serial

GONE_SECONDS = 60.0
WAYS = ("singly", "with the namespace", "after the chart")
# state -> spec, and the reasons that Progressing may have in it
STATES: dict[str, tuple[Json, set[str]]] = {
    # a Secret that is missing: seen early, late, or too late
    "creating": (
        {"auth": {"tokenSecretName": "missing"}},
        {"RollingOut", "CreateContainerError", "ProgressDeadlineExceeded"},
    ),
    "failing": ({"image": "registry.invalid/posecluster-inference:none"}, {"ImagePullBackOff"}),
    "paused": ({}, {"Paused"}),
    "without": ({}, {"RolloutComplete"}),  # ready, and then the operator goes
}
LEFT_BY_HELM = {("customresourcedefinitions", CRD), ("leases", OPERATOR), ("pods", f"{OPERATOR}-test")}


def populate(place: Place) -> dict[str, Pose]:
    """A PoseCluster in each state; they are not waited for."""
    spec = {"replicas": 1, "drainSeconds": 1}
    return {state: place.pose(state, wait=False, **(spec | STATES[state][0])) for state in STATES}


def wait_states(poses: dict[str, Pose]) -> None:
    """Wait until each is in its state; `paused` is ready first."""
    for state in ("paused", "without"):
        poses[state].wait_rolled_out(GONE_SECONDS)
    poses["paused"].annotate(paused="true")
    for state, pose in poses.items():
        wait_until(
            lambda of=pose, wanted=STATES[state][1]: of.condition("Progressing").get("reason") in wanted,  # type: ignore[misc]
            GONE_SECONDS,
            f"{pose.namespace}: {state}",
        )


def owned(api: Api, namespace: str) -> dict[tuple[str, str], Json]:
    """Children, ReplicaSets and pods of a namespace but the load generator's."""
    found = dict(children(api, namespace))
    for plural in ("replicasets", "pods"):
        found |= {(plural, one["metadata"]["name"]): one for one in api.list(plural, namespace)}
    return found


def wait_gone(api: Api, namespace: str) -> float:
    """Wait until nothing that the operator or its Deployments made is there; the seconds."""
    begin = time.monotonic()
    wait_until(lambda: not owned(api, namespace), GONE_SECONDS, f"{namespace} empty")
    return time.monotonic() - begin


@pytest.mark.acceptance(27)
@pytest.mark.timeout(240)
def test_deletion_completes_without_the_operator(
    release: Release, api: Api, make_place: Callable[[], Place], record_figure: RecordFigure
) -> None:
    places = {way: make_place() for way in WAYS}
    poses = {way: populate(place) for way, place in places.items()}
    for made in poses.values():
        wait_states(made)
    for place in places.values():
        for (plural, _), item in owned(api, place.namespace).items():
            controllers = [
                one for one in item["metadata"].get("ownerReferences", ()) if one.get("controller")
            ]
            assert len(controllers) == 1, f"{plural} {item['metadata']['name']} has no owner"
    release.scale(0)

    took = {}
    for way in WAYS:
        namespace = places[way].namespace
        if way == "after the chart":
            release.uninstall()
        if way == "with the namespace":
            api.delete("namespaces", None, namespace)
        else:
            api.kubectl("delete", "poseclusters", "--namespace", namespace, *STATES, "--timeout=60s")
        took[way] = wait_gone(api, namespace)
    gone = places["with the namespace"].namespace
    wait_until(lambda: api.find("namespaces", None, gone) is None, GONE_SECONDS, "the namespace gone")
    for way, seconds in took.items():
        record_figure(
            f"{way}: gone after", seconds, bar=f"<= {GONE_SECONDS:.0f} s", unit="s", sample=len(STATES)
        )


@pytest.mark.acceptance(27)
def test_uninstall_leaves_only_what_is_documented(release: Release, api: Api, place: Place) -> None:
    """PoseClusters go on serving, and of the chart only what the notes name is left."""
    pose = place.pose(replicas=1)
    notes = release.helm("get", "notes", NAME)
    release.helm("test", NAME)
    release.uninstall()
    assert left_of(api) == LEFT_BY_HELM
    assert CRD in notes
    assert f"kubectl delete lease -n {NAMESPACE} {OPERATOR}" in notes
    assert f"kubectl delete pod -n {NAMESPACE} {OPERATOR}-test" in notes
    with place.agent.traffic(pose.url, most=50) as traffic:
        traffic.wait_total(50)
    assert traffic.failures == []

    # as the notes say, for those who want nothing left
    assert not (said := others(api)), said
    api.kubectl("delete", "crd", CRD, "--timeout=60s")
    api.kubectl("delete", "lease", OPERATOR, "--namespace", NAMESPACE)
    api.kubectl("delete", "pod", f"{OPERATOR}-test", "--namespace", NAMESPACE)
    assert left_of(api) == set()

    def gone() -> bool:
        return {name for _, name in owned(api, place.namespace)} <= {"agent"}

    wait_until(gone, GONE_SECONDS, "its pods gone")


def left_of(api: Api) -> set[tuple[str, str]]:
    """Objects of the release in the cluster, by labels or name; Events are ignored."""
    found = set()
    for kind in BY_PLURAL.values():
        if kind.plural in {"poseclusters", "events", "namespaces", "nodes"}:
            continue  # a cluster of kind has its name, posecluster, in those of its nodes
        for one in api.list(kind.plural, NAMESPACE if kind.namespaced else None):
            instance = one["metadata"].get("labels", {}).get("app.kubernetes.io/instance")
            if instance == NAME or "posecluster" in one["metadata"]["name"]:
                found.add((kind.plural, one["metadata"]["name"]))
    return found
