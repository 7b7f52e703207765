"""deploy/image-policy.yaml: bounds for users who may write PoseClusters, and what is allowed without it."""

from collections.abc import Iterator

import pytest

from harness.kubernetes.api import Api, ApiError
from harness.kubernetes.resources import BY_PLURAL
from harness.kubernetes.waiting import Json, posecluster
from harness.server import ROOT

POLICY = ROOT / "deploy" / "image-policy.yaml"
AUTO = {"mode": "Auto", "maxReplicas": 21}
REFUSED: dict[str, tuple[Json, str]] = {
    "image": ({"image": "example.test/pose:1"}, "spec.image must be from registry.example/: use an image"),
    "service type": ({"service": {"type": "LoadBalancer"}}, "spec.service.type must be one of ClusterIP"),
    "node port": ({"service": {"type": "NodePort"}}, "spec.service.type must be one of ClusterIP"),
    "service annotations": (
        {"service": {"annotations": {"external-dns.alpha.kubernetes.io/hostname": "bank.example"}}},
        "spec.service.annotations must have no keys but example.com/scheme",
    ),
    "replicas": ({"replicas": 21}, "spec.scaling.maxReplicas must be at most 20"),
    "maximum of the autoscaler": ({"scaling": AUTO}, "spec.scaling.maxReplicas must be at most 20"),
    "toleration": (
        {"tolerations": [{"key": "node-role.kubernetes.io/control-plane", "operator": "Exists"}]},
        "spec.tolerations must name one of these keys each: example.com/pose",
    ),
    "toleration of everything": ({"tolerations": [{"operator": "Exists"}]}, "spec.tolerations must name one"),
    "priority": ({"priorityClassName": "high"}, "spec.priorityClassName must be one of low, default"),
}  # fmt: skip
WITHIN: Json = {
    "image": "registry.example/pose:1",
    "service": {"type": "ClusterIP", "annotations": {"example.com/scheme": "internal"}},
    "replicas": 20,
    "tolerations": [{"key": "example.com/pose", "operator": "Exists"}],
    "priorityClassName": "low",
}


def refusal(api: Api, namespace: str, spec: Json) -> str:
    """The API server's message for a PoseCluster with this spec; "" if it would be created."""
    try:
        cluster = posecluster("new", namespace, **({"image": None} | spec))
        cluster["spec"] = {key: value for key, value in cluster["spec"].items() if value is not None}
        api.create(cluster, dry_run=True)
    except ApiError as error:
        return error.message
    return ""


def scale(api: Api, namespace: str, replicas: int) -> int:
    """Try the scale subresource; return the HTTP status."""
    path = BY_PLURAL["poseclusters"].path(namespace, "old", "scale")
    return api.request(
        "PATCH",
        path,
        body={"spec": {"replicas": replicas}},
        params={"dryRun": "All"},
        headers={"Content-Type": "application/merge-patch+json"},
    ).status_code


@pytest.fixture
def policy(api: Api, namespace: str) -> Iterator[None]:
    """A PoseCluster from before the policy that exceeds its bounds; the policy, in force."""
    api.create(posecluster("old", namespace, image="registry.example/old:1", service={"type": "NodePort"}))
    # the control: all of it is allowed without the policy
    assert [what for what, (spec, _) in REFUSED.items() if refusal(api, namespace, spec)] == []
    assert scale(api, namespace, 21) == 200
    api.kubectl("apply", "-f", str(POLICY))
    try:
        # the API server reads its policies from a watch
        api.wait_until(lambda: refusal(api, namespace, {"replicas": 21}), 20, "refused")
        yield
    finally:
        api.kubectl("delete", "-f", str(POLICY))
    api.wait_until(lambda: not refusal(api, namespace, {"replicas": 21}), 20, "allowed again")


def test_the_policy_for_writers_bounds_what_they_may_ask_for(api: Api, namespace: str, policy: None) -> None:
    for what, (spec, text) in REFUSED.items():
        assert text in refusal(api, namespace, spec), what
    assert refusal(api, namespace, {}) == ""
    assert refusal(api, namespace, WITHIN) == ""
    assert scale(api, namespace, 21) == 422
    assert scale(api, namespace, 20) == 200


def test_a_posecluster_from_before_the_policy_stays_until_its_spec_changes(
    api: Api, namespace: str, policy: None
) -> None:
    api.patch("poseclusters", namespace, "old", {"metadata": {"labels": {"a": "b"}}})
    api.patch_status("poseclusters", namespace, "old", {"replicas": 1})
    with pytest.raises(ApiError, match=r"spec\.service\.type must be one of ClusterIP"):
        api.patch("poseclusters", namespace, "old", {"spec": {"replicas": 2}})
    api.patch("poseclusters", namespace, "old", {"spec": {"replicas": 2, "service": {"type": "ClusterIP"}}})
