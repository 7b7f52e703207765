"""A size that is raised while a rollout is stuck is reached in ready pods, and the rollout heals as usual."""

import copy
import time

import pytest

from harness.e2e.cluster import SAME_IMAGE
from harness.e2e.pods import is_ready
from harness.e2e.pose import Place, Pose
from harness.e2e.release import Release
from harness.kubernetes.waiting import Json, wait_until
from harness.recorder import RecordFigure

MISSING_IMAGE = "registry.invalid/posecluster-inference:none"
WANTED = 4
READY_SECONDS, HEALED_SECONDS = 60.0, 150.0
LEAST_ASKED = 100
STEADY_LOOKS = 10
DISTRIBUTED = "deployment.kubernetes.io/desired-replicas"


def sizes(place: Place, labels: str) -> dict[str, int]:
    """The ReplicaSets that have pods, and what size they have, once Kubernetes has distributed `WANTED`."""
    found = place.api.list("replicasets", place.namespace, labels=labels)
    active = [one for one in found if one["spec"]["replicas"]]
    if any(one["metadata"]["annotations"][DISTRIBUTED] != str(WANTED) for one in active):
        return {}
    return {one["metadata"]["name"]: one["spec"]["replicas"] for one in active}


def plain_deployment(pose: Pose) -> Json:
    """A Deployment with the strategy of the operator's, whose pods only sleep."""
    made, labels = pose.deployment(), {"app": "control"}
    template = copy.deepcopy(made["spec"]["template"])
    template["metadata"] = {"labels": labels}
    container = template["spec"]["containers"][0]
    names = ("name", "image", "imagePullPolicy", "securityContext")
    kept = {key: container[key] for key in names if key in container}
    template["spec"] = {
        "securityContext": template["spec"]["securityContext"],
        "containers": [kept | {"command": ["python3", "-c", "import time; time.sleep(3600)"]}],
        "terminationGracePeriodSeconds": 0,
    }
    spec = {key: made["spec"][key] for key in ("strategy", "progressDeadlineSeconds")}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "control", "namespace": pose.namespace},
        "spec": spec | {"replicas": 1, "selector": {"matchLabels": labels}, "template": template},
    }


@pytest.mark.timeout(420)
def test_a_scale_up_during_a_stuck_rollout_is_reached_in_ready_pods(
    release: Release, place: Place, record_figure: RecordFigure
) -> None:
    pose = place.pose("stuck", replicas=1)
    with place.agent.traffic(pose.url, new=1, kept=1, every_seconds=0.4) as traffic:
        pose.patch(image=MISSING_IMAGE)
        wait_until(
            lambda: pose.condition("Progressing").get("reason") == "ImagePullBackOff", 60, "rollout stuck"
        )
        begin = time.monotonic()
        pose.patch(replicas=WANTED)
        wait_until(lambda: len(pose.ready_pods()) == WANTED, READY_SECONDS, f"{WANTED} ready pods")
        record_figure(
            "wanted pods ready in a stuck rollout after",
            time.monotonic() - begin,
            bar=f"<= {READY_SECONDS:.0f} s",
            unit="s",
        )
        settled = sizes(place, pose.labels)
        assert sum(settled.values()) == WANTED + 1  # with the surge, of which the broken template keeps one
        versions = {
            one["metadata"]["name"]: one["metadata"]["generation"]
            for one in place.api.list("replicasets", place.namespace, labels=pose.labels)
        }
        for _ in range(STEADY_LOOKS):  # the Deployment controller does not undo the move
            time.sleep(1)
            assert len(pose.ready_pods()) == WANTED
        assert versions == {
            one["metadata"]["name"]: one["metadata"]["generation"]
            for one in place.api.list("replicasets", place.namespace, labels=pose.labels)
        }
        old = {pod["metadata"]["uid"] for pod in pose.pods()}
        pose.patch(image=SAME_IMAGE)
        pose.wait_settled(WANTED, without=old, seconds=HEALED_SECONDS)
        traffic.wait_total(LEAST_ASKED)
    record_figure(
        "failed requests in a stuck rollout", len(traffic.failures), bar="0", sample=traffic.shown()
    )
    assert traffic.failures == []
    events = [one["reason"] for one in place.api.list("events", place.namespace)]
    assert "StuckRolloutResized" in events


def test_kubernetes_gives_a_scale_up_to_a_broken_template(release: Release, place: Place) -> None:
    """The control: without the operator, fewer pods serve than the Deployment wants."""
    pose = place.pose("pattern", replicas=1)
    place.api.create(plain_deployment(pose))
    api, where = place.api, place.namespace

    def ready() -> int:
        return sum(map(is_ready, api.list("pods", where, labels="app=control")))

    def change(spec: Json) -> None:
        api.patch("deployments", where, "control", {"spec": spec})

    wait_until(lambda: ready() == 1, 60, "control ready")
    (container,) = api.get("deployments", where, "control")["spec"]["template"]["spec"]["containers"]
    change({"template": {"spec": {"containers": [container | {"image": MISSING_IMAGE}]}}})
    wait_until(lambda: len(api.list("pods", where, labels="app=control")) == 2, 60, "control stuck")
    change({"replicas": WANTED})
    wait_until(lambda: len(sizes(place, "app=control")) == 2, 30, "size distributed")
    assert sorted(sizes(place, "app=control").values()) == [2, 3]
    time.sleep(5)
    assert ready() < WANTED
