"""A size that another writer sets is noticed, never fought over, and taken back once the writer is silent."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from harness.kubernetes.api import Api
from harness.kubernetes.loaded_pods import LoadedPods
from harness.kubernetes.operator import OperatorProcess
from harness.kubernetes.player import Player
from harness.kubernetes.proxy import FaultProxy
from harness.kubernetes.resources import BY_PLURAL
from harness.kubernetes.sizes import auto, deployment_size, size_writes, start_measured, wait_ticks
from harness.kubernetes.waiting import conditions
from harness.recorder import RecordFigure

MOST = 6
SCALING = auto(1, MOST, hold=2)
TICKS = 10
HUGE = 400.0  # requests a second: more than MOST pods can answer
LABEL = "app.kubernetes.io/instance"
PAUSED = "posecluster.io/paused"

Actor = Callable[[Api, str, str, int], None]  # namespace, Deployment, size


def kubectl_scale(api: Api, namespace: str, child: str, size: int) -> None:
    """A person."""
    api.kubectl("scale", "deployment", child, f"--replicas={size}", "-n", namespace)


def autoscale(api: Api, namespace: str, child: str, size: int) -> None:
    """A HorizontalPodAutoscaler's controller: an update of the scale subresource."""
    path = BY_PLURAL["deployments"].path(namespace, child, "scale")
    scale = api.send("GET", path)
    scale["spec"]["replicas"] = size
    del scale["metadata"]["resourceVersion"]  # else a change of the status meanwhile is a conflict
    api.send("PUT", path, body=scale, params={"fieldManager": "kube-controller-manager"})


def edit(api: Api, namespace: str, child: str, size: int) -> None:
    """A script with a merge patch."""
    api.patch("deployments", namespace, child, {"spec": {"replicas": size}})


def apply(api: Api, namespace: str, child: str, size: int) -> None:
    """A delivery tool, which applies its field by force."""
    manifest = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": child, "namespace": namespace},
        "spec": {"replicas": size},
    }
    api.apply(manifest, manager="delivery", force=True)


ACTORS: dict[str, Actor] = {"person": kubectl_scale, "hpa": autoscale, "script": edit, "delivery": apply}


@pytest.fixture
def operator(start_operator: Callable[..., OperatorProcess]) -> OperatorProcess:
    """With a resync every second, so that a pass that fights would not be waited for in vain."""
    return start_operator(resync_seconds=1)


def take(api: Api, namespace: str, name: str, actor: Actor, size: int) -> None:
    """Set the size and wait until that is noticed."""
    actor(api, namespace, f"{name}-pose", size)
    api.wait_condition(
        namespace, name, "ScalingActive", status="False", reason="ReplicasTakenOver", seconds=10
    )


def wait_followed(api: Api, namespace: str, name: str) -> None:
    """Wait until the size follows the huge load again."""
    api.wait_until(lambda: deployment_size(api, namespace, name) == MOST, 15, f"{name} follows the load")
    api.wait_condition(namespace, name, "ScalingActive", status="True")


def test_a_size_set_by_others_is_never_fought_over(
    api: Api,
    namespace: str,
    operator: OperatorProcess,
    pods: LoadedPods,
    proxy: FaultProxy,
    record_figure: RecordFigure,
) -> None:
    start_measured(api, namespace, pods, [*ACTORS, "free"], SCALING)
    for name, actor in ACTORS.items():
        take(api, namespace, name, actor, 3)
    sizes = dict.fromkeys(ACTORS, 3)
    since = time.monotonic()
    for step in range(TICKS // 2):
        for name in (*ACTORS, "free"):
            pods.of(name).per_second = HUGE if step % 2 == 0 else 0.0
        sizes["hpa"] = 2 + step % 3
        autoscale(api, namespace, "hpa-pose", sizes["hpa"])
        wait_ticks(operator, 2)
    assert size_writes(proxy, "free", since=since), "the load would move a size"
    for name, size in sizes.items():
        assert size_writes(proxy, name, since=since) == []
        assert deployment_size(api, namespace, name) == size
    record_figure(
        "ReplicasTakenOver: sizes fought over", 0, bar="0", sample=f"{len(ACTORS)} actors, {TICKS} ticks"
    )
    # what is shown is theirs, and no deed of ours
    api.wait_until(lambda: scraped_pods(api, namespace, "person") == 3, 15, "the load is shown all the same")
    found = api.wait_ready(namespace, "person")["status"]
    assert (found["desiredReplicas"], found["readyReplicas"]) == (3, 3)
    assert "lastScaling" not in found
    assert "hand it back" in conditions({"status": found})["ScalingActive"]["message"]

    # the rest of the Deployment is still ours
    edited = {"metadata": {"labels": {LABEL: "other"}}, "spec": {"progressDeadlineSeconds": 7}}
    for name in ACTORS:
        api.patch("deployments", namespace, f"{name}-pose", edited)
    for name in ACTORS:
        api.wait_until(lambda name=name: is_repaired(api, namespace, name), 10, f"{name} repaired")
        assert deployment_size(api, namespace, name) == sizes[name]
        assert size_writes(proxy, name, since=since) == []


def scraped_pods(api: Api, namespace: str, name: str) -> int:
    """How many pods the load in the status is of; 0 without any."""
    pods: int = api.get("poseclusters", namespace, name)["status"].get("load", {}).get("scrapedPods", 0)
    return pods


def is_repaired(api: Api, namespace: str, name: str) -> bool:
    """Whether an edit of the Deployment was put right."""
    child = api.get("deployments", namespace, f"{name}-pose")
    return child["metadata"]["labels"][LABEL] == name and child["spec"]["progressDeadlineSeconds"] != 7


def test_a_size_is_handed_back_by_a_change_of_the_spec_or_a_pause(
    api: Api, namespace: str, operator: OperatorProcess, pods: LoadedPods, proxy: FaultProxy
) -> None:
    start_measured(api, namespace, pods, ["changed", "paused", "fixed"], SCALING)
    for name in ("changed", "paused", "fixed"):
        take(api, namespace, name, kubectl_scale, 3)
        pods.of(name).per_second = HUGE
    wait_ticks(operator, 2)
    for name in ("changed", "paused", "fixed"):
        # an annotation is not a change of the spec
        api.patch("poseclusters", namespace, name, {"metadata": {"annotations": {"example.test/a": "b"}}})
    wait_ticks(operator, 2)
    assert [deployment_size(api, namespace, name) for name in ("changed", "paused", "fixed")] == [3, 3, 3]

    api.patch("poseclusters", namespace, "changed", {"spec": {"queueLength": 7}})
    wait_followed(api, namespace, "changed")
    api.patch("poseclusters", namespace, "paused", {"metadata": {"annotations": {PAUSED: "true"}}})
    api.wait_condition(namespace, "paused", "ScalingActive", status="False", reason="Paused")
    assert deployment_size(api, namespace, "paused") == 3
    api.patch("poseclusters", namespace, "paused", {"metadata": {"annotations": {PAUSED: None}}})
    wait_followed(api, namespace, "paused")
    api.patch("poseclusters", namespace, "fixed", {"spec": {"replicas": 2, "scaling": {"mode": "Fixed"}}})
    api.wait_condition(namespace, "fixed", "ScalingActive", status="False", reason="FixedSize")
    api.wait_until(lambda: deployment_size(api, namespace, "fixed") == 2, 10, "the size of the spec")

    # and it can be taken again
    take(api, namespace, "changed", autoscale, 2)
    since = time.monotonic()
    wait_ticks(operator, 3)
    assert size_writes(proxy, "changed", since=since) == []
    assert deployment_size(api, namespace, "changed") == 2


def test_a_new_leader_knows_who_owns_the_size(
    api: Api,
    namespace: str,
    player: Player,
    proxy: FaultProxy,
    pods: LoadedPods,
    start_operator: Callable[..., OperatorProcess],
) -> None:
    operator = start_operator(resync_seconds=1)
    start_measured(api, namespace, pods, ["kept", "changed"], SCALING)
    for name in ("kept", "changed"):
        take(api, namespace, name, autoscale, 3)
        pods.of(name).per_second = HUGE
    operator.kill()
    # the user's change counts, although no operator was running
    api.patch("poseclusters", namespace, "changed", {"spec": {"queueLength": 7}})
    since = time.monotonic()
    operator = start_operator(resync_seconds=1)
    wait_followed(api, namespace, "changed")
    wait_ticks(operator, 5)
    assert size_writes(proxy, "kept", since=since) == []
    assert deployment_size(api, namespace, "kept") == 3
    api.wait_condition(namespace, "kept", "ScalingActive", status="False", reason="ReplicasTakenOver")


def silence(api: Api, namespace: str, name: str, minutes: float) -> None:
    """Make the last write of the size so many minutes older, in the API server's own notes."""
    child = api.get("deployments", namespace, f"{name}-pose")
    managed = child["metadata"]["managedFields"]
    time = datetime.now(UTC) - timedelta(minutes=minutes)
    for entry in managed:
        if "f:replicas" in entry["fieldsV1"].get("f:spec", {}):
            entry["time"] = time.strftime("%Y-%m-%dT%H:%M:%SZ")
    # the API server ignores a change of nothing but the times
    metadata = {"managedFields": managed, "annotations": {"example.test/silent": str(minutes)}}
    api.patch("deployments", namespace, f"{name}-pose", {"metadata": metadata})


def test_a_size_is_taken_back_once_from_a_writer_who_is_silent(
    api: Api,
    namespace: str,
    operator: OperatorProcess,
    pods: LoadedPods,
    proxy: FaultProxy,
    start_operator: Callable[..., OperatorProcess],
) -> None:
    start_measured(api, namespace, pods, ["once", "again"], SCALING)
    for name, actor in {"once": kubectl_scale, "again": autoscale}.items():
        take(api, namespace, name, actor, 3)
        pods.of(name).per_second = HUGE
        silence(api, namespace, name, 9.0)
    since = time.monotonic()
    wait_ticks(operator, 3)
    for name in ("once", "again"):
        assert size_writes(proxy, name, since=since) == [], "not silent for long enough"
        silence(api, namespace, name, 11.0)
    for name in ("once", "again"):
        wait_followed(api, namespace, name)

    # an HPA answers: from now on the size is theirs, and another operator knows it
    take(api, namespace, "again", autoscale, 2)
    silence(api, namespace, "again", 60.0)
    since = time.monotonic()
    wait_ticks(operator, 3)
    operator.kill()
    operator = start_operator(resync_seconds=1)
    wait_followed(api, namespace, "once")
    wait_ticks(operator, 3)
    assert size_writes(proxy, "again", since=since) == []
    assert deployment_size(api, namespace, "again") == 2
    api.patch("poseclusters", namespace, "again", {"spec": {"queueLength": 7}})
    wait_followed(api, namespace, "again")
