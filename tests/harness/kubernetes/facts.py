"""Facts about the cluster that tests of the operator check: children, rollouts, passes, quiet."""

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from harness.kubernetes.waiting import Json, conditions, wait_until

if TYPE_CHECKING:
    from harness.kubernetes.api import Api
    from harness.kubernetes.calls import Call
    from harness.kubernetes.operator import OperatorProcess
    from harness.kubernetes.proxy import FaultProxy

SERVICE = ("services", "{}-pose")
PODS_SERVICE = ("services", "{}-pose-pods")
DEPLOYMENT = ("deployments", "{}-pose")
BUDGET = ("poddisruptionbudgets", "{}-pose")
CHILDREN = (SERVICE, PODS_SERVICE, DEPLOYMENT, BUDGET)
CHILD_RESOURCES = "deployments|services|poddisruptionbudgets"
_PLURALS = tuple(dict.fromkeys(plural for plural, _ in CHILDREN))

Ident = tuple[str, str]  # plural, name


def children(api: "Api", namespace: str) -> dict[Ident, Json]:
    """Every object of a child's kind in a namespace, by plural and name."""
    return {
        (plural, item["metadata"]["name"]): item
        for plural in _PLURALS
        for item in api.list(plural, namespace)
    }


def names(cluster: str, kinds: Iterable[tuple[str, str]] = CHILDREN) -> set[Ident]:
    """Plural and name of these children of a PoseCluster."""
    return {(plural, pattern.format(cluster)) for plural, pattern in kinds}


def identities(items: dict[Ident, Json]) -> dict[Ident, tuple[str, str]]:
    """Uid and version of each: equal before and after if nothing was written."""
    return {key: (one["metadata"]["uid"], one["metadata"]["resourceVersion"]) for key, one in items.items()}


def intent(item: Json) -> Json:
    """What an operator could have set of an object: all but its status and the server's own fields."""
    metadata = {key: item["metadata"].get(key) for key in ("name", "labels", "ownerReferences", "finalizers")}
    notes = item["metadata"].get("annotations") or {}
    metadata["annotations"] = {
        key: text for key, text in notes.items() if not key.startswith("deployment.kubernetes.io/")
    }
    return {"metadata": metadata, "spec": item.get("spec")}


def is_rolled_out(item: Json) -> bool:
    """Whether every pod that is wanted is ready and of the present spec."""
    found, generation = conditions(item).get("Progressing", {}), item["metadata"]["generation"]
    complete = found.get("reason") == "RolloutComplete" and found.get("observedGeneration") == generation
    return complete and item["status"]["observedGeneration"] == generation


def wait_rolled_out(api: "Api", namespace: str, name: str, seconds: float = 30.0) -> Json:
    """Wait until every pod that is wanted is ready and of the present spec; the PoseCluster."""

    def done() -> Json | None:
        item = api.get("poseclusters", namespace, name)
        return item if is_rolled_out(item) else None

    try:
        return wait_until(done, seconds, f"{name} rolled out") or {}
    except AssertionError as error:
        status = api.get("poseclusters", namespace, name).get("status")
        raise AssertionError(f"{error}; its status: {status}") from None


def wait_passes(operator: "OperatorProcess", count: int, seconds: float = 20.0) -> None:
    """Wait until so many more passes have ended, however they ended."""
    name = "posecluster_operator_reconcile_total"
    goal = operator.metrics(name) + count
    wait_until(lambda: operator.metrics(name) >= goal, seconds, f"{count} more passes")


def wait_quiet(operator: "OperatorProcess", proxy: "FaultProxy", seconds: float = 20.0) -> None:
    """Wait until two passes write nothing."""
    end = time.monotonic() + seconds
    while True:
        since = time.monotonic()
        wait_passes(operator, 2)
        written = proxy.writes(since=since)
        if not written:
            return
        assert time.monotonic() < end, f"still writing after {seconds} s: {shown(written)}"


def assert_quiet(operator: "OperatorProcess", proxy: "FaultProxy", *, passes: int = 3) -> None:
    """Look at so many passes (at least one a resync): none may write."""
    since = time.monotonic()
    wait_passes(operator, passes, 5.0 * passes)
    written = shown(proxy.writes(since=since))
    assert not written, written


def shown(calls: Iterable["Call"]) -> list[str]:
    """Calls for people."""
    return [f"{call.verb} {call.resource} {call.name} {call.status}" for call in calls]


def templates(calls: Iterable["Call"]) -> list[str]:
    """Hashes of the pod templates in applies of a Deployment, without consecutive repeats."""
    found: list[str] = []
    for call in calls:
        annotations = call.document()["spec"]["template"]["metadata"]["annotations"]
        if not found or found[-1] != annotations["posecluster.io/template-hash"]:
            found.append(annotations["posecluster.io/template-hash"])
    return found


def play_distribution(api: "Api", namespace: str, deployment: str, *, serving: int, broken: int) -> None:
    """Write what kube-controller-manager writes when it distributes a size over two ReplicaSets.

    The player's own ReplicaSets have neither sizes nor revisions.
    """
    body = api.get("deployments", namespace, deployment)
    prefix, size, image = "deployment.kubernetes.io/", body["spec"]["replicas"], _image(body)
    for item in api.list("replicasets", namespace):
        name, is_new = item["metadata"]["name"], _image(item) == image
        pods = broken if is_new else serving
        notes = {
            "revision": 2 if is_new else 1,
            "desired-replicas": size,
            "max-replicas": size + -(-size // 4),
        }
        annotations = {prefix + key: str(value) for key, value in notes.items()}
        patch = {"metadata": {"annotations": annotations}, "spec": {"replicas": pods}}
        api.patch("replicasets", namespace, name, patch)
        ready = 0 if is_new else serving
        api.patch_status(
            "replicasets",
            namespace,
            name,
            {"replicas": pods, "readyReplicas": ready, "availableReplicas": ready},
        )
    revision = {"metadata": {"annotations": {f"{prefix}revision": "2"}}}
    api.patch("deployments", namespace, deployment, revision)


def replica_set_sizes(api: "Api", namespace: str, deployment: str) -> dict[str, int]:
    """The sizes of the ReplicaSets of the present template, `broken`, and of an earlier one, `serving`."""
    image = _image(api.get("deployments", namespace, deployment))
    return {
        "broken" if _image(item) == image else "serving": item["spec"]["replicas"]
        for item in api.list("replicasets", namespace)
    }


def _image(body: Json) -> str:
    return str(body["spec"]["template"]["spec"]["containers"][0]["image"])
