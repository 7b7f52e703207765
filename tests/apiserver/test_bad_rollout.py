"""Check 17: a rollout that cannot succeed costs nothing, is reported with the pod's message, and recovers."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from harness.kubernetes.admission import denied
from harness.kubernetes.api import Api
from harness.kubernetes.facts import (
    assert_quiet,
    play_distribution,
    replica_set_sizes,
    wait_quiet,
    wait_rolled_out,
)
from harness.kubernetes.operator import OperatorProcess
from harness.kubernetes.player import Player
from harness.kubernetes.pod_status import Behaviour, last_step, pod_status
from harness.kubernetes.proxy import FaultProxy
from harness.kubernetes.waiting import Json, conditions, posecluster
from harness.recorder import RecordFigure

NAME, CHILD = "demo", "demo-pose"
REPLICAS = 3
GOOD = "example.test/pose:1"
MOST_SECONDS = 60.0
LEAST_LOOKS = 20  # at the pods, in each test

# Behaviour (the image's tag) -> reason of the condition, and words of the pod's own in its message
CASES = {
    Behaviour.IMAGE_MISSING: (
        "ImagePullBackOff",
        ["ErrImagePull", "example.test/pose:missing", "no such host"],
    ),
    Behaviour.CRASH: ("CrashLoopBackOff", ["exit code 2", "POSECLUSTER_WORKERS must be 0 to 64, not -1"]),
    Behaviour.NEVER_READY: ("ProgressDeadlineExceeded", ["did not become ready"]),
    Behaviour.CREATING: ("ProgressDeadlineExceeded", ["ContainerCreating"]),
    Behaviour.QUOTA: ("FailedCreate", ["exceeded quota: pods", "limited: pods=3"]),
    Behaviour.UNSCHEDULABLE: ("Unschedulable", ["Insufficient cpu"]),
    Behaviour.CONFIG_ERROR: (
        "CreateContainerError",
        ["CreateContainerConfigError", 'secret "tokens" not found'],
    ),
}


@dataclass(slots=True)
class Serving:
    """The pods that were ready when the rollout began; each look asserts that they still are."""

    player: Player
    namespace: str
    uids: set[str]
    looks: int = 0

    def look(self) -> None:
        ready = {pod["metadata"]["uid"] for pod in self.player.ready_pods(self.namespace, CHILD)}
        self.looks += 1
        assert self.uids <= ready, f"{len(self.uids - ready)} of {len(self.uids)} pods are not ready any more"


@pytest.fixture
def operator(start_operator: Callable[..., OperatorProcess]) -> OperatorProcess:
    """With a resync every second, so that few seconds hold several passes."""
    return start_operator(resync_seconds=1)


@pytest.fixture
def serving(api: Api, namespace: str, player: Player, operator: OperatorProcess) -> Serving:
    """A PoseCluster of three ready pods."""
    api.create(posecluster(NAME, namespace, image=GOOD, replicas=REPLICAS))
    wait_rolled_out(api, namespace, NAME)
    uids = {pod["metadata"]["uid"] for pod in player.ready_pods(namespace, CHILD)}
    assert len(uids) == REPLICAS
    return Serving(player, namespace, uids)


def wait_stuck(api: Api, serving: Serving, reason: str) -> Json:
    """Wait for Progressing=False with this reason, looking at the pods all the time; the condition."""

    def stuck() -> Json | None:
        serving.look()
        item = api.get("poseclusters", serving.namespace, NAME)
        found = conditions(item)["Progressing"]
        assert conditions(item)["Available"]["status"] == "True"
        is_current = found["observedGeneration"] == item["metadata"]["generation"]
        return found if is_current and found["status"] == "False" and found["reason"] == reason else None

    try:
        return api.wait_until(stuck, MOST_SECONDS, f"stuck with {reason}") or {}
    except AssertionError as error:
        raise AssertionError(
            f"{error}; {api.get('poseclusters', serving.namespace, NAME)['status']}"
        ) from None


def wait_given_up(api: Api, namespace: str) -> None:
    """Wait until Kubernetes itself has given the rollout up.

    That comes after its cause is reported, when the progress deadline passes, and moves `Reconciling` to
    `Stalled`. So it is the last status write of a rollout that cannot succeed.
    """
    api.wait_condition(namespace, NAME, "Stalled", status="True", seconds=MOST_SECONDS)


def set_image(api: Api, namespace: str, image: str) -> None:
    api.patch("poseclusters", namespace, NAME, {"spec": {"image": image}})


def heal(api: Api, serving: Serving, record_figure: RecordFigure, name: str) -> None:
    """Revert the image: Ready in time, with the same pods all along."""
    begin = time.monotonic()
    set_image(api, serving.namespace, GOOD)
    wait_rolled_out(api, serving.namespace, NAME, MOST_SECONDS)
    took = time.monotonic() - begin
    record_figure(f"{name}: reverting to Ready", took, bar=f"<= {MOST_SECONDS:.0f} s", unit="s")
    serving.look()


def never_below(proxy: FaultProxy, since: float) -> None:
    """What the status said meanwhile: Available, and never fewer ready pods."""
    patches = [one.document()["status"] for one in proxy.find(resource="poseclusters/status", since=since)]
    assert patches
    assert all(patch.get("readyReplicas", REPLICAS) >= REPLICAS for patch in patches)
    available = [
        one["status"]
        for patch in patches
        for one in patch.get("conditions", [])
        if one["type"] == "Available"
    ]
    assert set(available) == {"True"}


def flap(api: Api, player: Player, namespace: str, behaviour: Behaviour) -> int:
    """Let the failing pods say in turns what kubelets say in turns; how often that was written."""
    player.pause()
    written = 0
    for turn in range(6):
        for pod in player.pods(namespace, CHILD):
            if pod["spec"]["containers"][0]["image"] == GOOD:
                continue
            step = 1 + turn % 2 if last_step(behaviour) == 2 else last_step(behaviour)
            now = f"2026-01-01T00:00:{turn:02}Z"
            status = pod_status(pod, behaviour, step=step, now=now, address="127.0.0.9")
            for entry in status.get("containerStatuses", []):
                entry["restartCount"] = turn
                if "back-off 10s" in (waiting := entry["state"].get("waiting", {})).get("message", ""):
                    waiting["message"] = waiting["message"].replace("10s", f"{10 * 2**turn}s")
            api.patch_status("pods", namespace, pod["metadata"]["name"], status)
            written += 1
    return written


@pytest.mark.acceptance(17)
@pytest.mark.hostile("K-4")
@pytest.mark.parametrize("behaviour", CASES)
def test_a_rollout_that_cannot_succeed_costs_nothing_and_says_why(
    api: Api,
    namespace: str,
    player: Player,
    proxy: FaultProxy,
    operator: OperatorProcess,
    serving: Serving,
    record_figure: RecordFigure,
    behaviour: Behaviour,
) -> None:
    reason, words = CASES[behaviour]
    begin = time.monotonic()
    set_image(api, namespace, f"example.test/pose:{behaviour}")
    found = wait_stuck(api, serving, reason)
    took = time.monotonic() - begin
    bar = f"<= {MOST_SECONDS:.0f} s, progress deadline 3 s instead of 45 s"
    record_figure(f"{behaviour}: spec to Progressing=False", took, bar=bar, unit="s", sample=serving.looks)
    assert [word for word in words if word not in found["message"]] == [], found["message"]
    assert CHILD + "-" not in found["message"], "a pod's random name"

    wait_given_up(api, namespace)
    wait_quiet(operator, proxy)
    said = api.get("poseclusters", namespace, NAME)
    assert flap(api, player, namespace, behaviour) > 0 or behaviour is Behaviour.QUOTA
    assert_quiet(operator, proxy, passes=2)
    assert api.get("poseclusters", namespace, NAME) == said
    player.resume()
    stuck = {"namespace": namespace, "name": NAME, "condition": "Progressing"}
    assert operator.metrics("unmet_conditions", **stuck, reason=reason) == 1  # what alerts go by

    heal(api, serving, record_figure, behaviour)
    api.wait_until(lambda: operator.metrics("unmet_conditions", **stuck) == 0, 5, "the alert's end")
    never_below(proxy, begin)
    api.wait_until(lambda: serving.look() or serving.looks >= LEAST_LOOKS, 10, "looks at the pods")


@pytest.mark.acceptance(17)
def test_admission_that_refuses_the_pods_is_quoted(
    api: Api,
    namespace: str,
    player: Player,
    proxy: FaultProxy,
    operator: OperatorProcess,
    serving: Serving,
    record_figure: RecordFigure,
) -> None:
    pod = player.ready_pods(namespace, CHILD)[0]
    spec = {
        **pod["spec"],
        "containers": [{**pod["spec"]["containers"][0], "image": "example.test/pose:denied"}],
    }
    sample = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "x", "namespace": namespace},
        "spec": spec,
    }
    begin = time.monotonic()
    with denied(
        api,
        sample,
        expression="!object.spec.containers.exists(one, one.image.endsWith(':denied'))",
        message="image is not on the list of example.test",
    ):
        set_image(api, namespace, "example.test/pose:denied")
        found = wait_stuck(api, serving, "FailedCreate")
        assert "image is not on the list of example.test" in found["message"]
        wait_given_up(api, namespace)
        wait_quiet(operator, proxy)
        assert_quiet(operator, proxy, passes=2)
        heal(api, serving, record_figure, "denied by a policy")
    never_below(proxy, begin)


@pytest.mark.acceptance(17)
def test_a_first_rollout_that_fails_is_not_available_and_heals(
    api: Api, namespace: str, player: Player, operator: OperatorProcess
) -> None:
    api.create(posecluster(NAME, namespace, image="example.test/pose:missing"))
    api.wait_condition(namespace, NAME, "Progressing", status="False", reason="ImagePullBackOff")
    found = api.wait_condition(namespace, NAME, "Available", status="False", reason="NoReadyPods")

    def told() -> bool:
        events = [one for one in api.list("events", namespace) if one["regarding"]["name"] == NAME]
        return any((one["reason"], one["type"]) == ("ImagePullBackOff", "Warning") for one in events)

    api.wait_until(told, 5, "an Event")
    set_image(api, namespace, GOOD)
    wait_rolled_out(api, namespace, NAME)
    assert found["message"]
    api.wait_condition(namespace, NAME, "Available", status="True", seconds=5)


@pytest.mark.acceptance(17)
@pytest.mark.control
def test_a_deployment_that_gives_its_pods_up_would_be_seen(api: Api, namespace: str, player: Player) -> None:
    labels = {"app": "control"}
    container = {"name": "one", "image": GOOD, "securityContext": {
        "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"},
    }}  # fmt: skip
    manifest = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": CHILD, "namespace": namespace},
        "spec": {
            "replicas": REPLICAS,
            "strategy": {"rollingUpdate": {"maxUnavailable": "100%", "maxSurge": 0}},
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }
    api.create(manifest)
    api.wait_until(lambda: len(player.ready_pods(namespace, CHILD)) == REPLICAS, 20, "three ready pods")
    uids = {pod["metadata"]["uid"] for pod in player.ready_pods(namespace, CHILD)}
    serving = Serving(player, namespace, uids)
    patch = [
        {
            "op": "replace",
            "path": "/spec/template/spec/containers/0/image",
            "value": "example.test/pose:missing",
        }
    ]
    api.patch("deployments", namespace, CHILD, patch, kind="json")

    def forever() -> bool:
        serving.look()
        return False

    with pytest.raises(AssertionError, match="pods are not ready any more"):
        api.wait_until(forever, 20, "a look that fails")


@pytest.mark.parametrize("behaviour", [Behaviour.IMAGE_MISSING, Behaviour.QUOTA, Behaviour.UNSCHEDULABLE])
def test_a_scale_up_during_a_stuck_rollout_goes_to_pods_that_serve(
    api: Api,
    namespace: str,
    proxy: FaultProxy,
    operator: OperatorProcess,
    serving: Serving,
    behaviour: Behaviour,
) -> None:
    """The pods that a quota or full nodes hold up are ordered once, not in every pass."""
    set_image(api, namespace, f"example.test/pose:{behaviour}")
    wait_stuck(api, serving, CASES[behaviour][0])
    api.patch("poseclusters", namespace, NAME, {"spec": {"replicas": 6}})
    api.wait_until(
        lambda: api.get("deployments", namespace, CHILD)["spec"]["replicas"] == 6, 20, "size applied"
    )
    play_distribution(api, namespace, CHILD, serving=4, broken=4)
    moved = {"serving": 6, "broken": 2}
    api.wait_until(lambda: replica_set_sizes(api, namespace, CHILD) == moved, 20, "pods moved")
    wait_given_up(api, namespace)
    wait_quiet(operator, proxy)
    assert_quiet(operator, proxy)
    assert replica_set_sizes(api, namespace, CHILD) == moved
    reasons = [one["reason"] for one in api.list("events", namespace)]
    assert reasons.count("StuckRolloutResized") == 1
    serving.look()
