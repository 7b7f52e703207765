"""`spec.replicas` and the mode: a size without effect is reported, a switch to Fixed does not end pods."""

import json
from collections.abc import Callable
from functools import partial

import pytest

from harness.kubernetes.api import Api, ApiError
from harness.kubernetes.loaded_pods import LoadedPods
from harness.kubernetes.operator import OperatorProcess
from harness.kubernetes.resources import BY_PLURAL
from harness.kubernetes.sizes import auto, deployment_size, start_measured, wait_ticks
from harness.kubernetes.waiting import Json, conditions, posecluster

IGNORED = "has no effect while spec.scaling.mode is Auto"
REFUSED = "must be set together with a switch from mode Auto to Fixed"
FIXED: Json = {"mode": "Fixed"}


@pytest.fixture
def operator(start_operator: Callable[..., OperatorProcess]) -> OperatorProcess:
    """With a resync every second, so that repeated Events would show."""
    return start_operator(resync_seconds=1)


def ignored_events(api: Api, namespace: str, name: str) -> list[Json]:
    return [
        one
        for one in api.list("events", namespace)
        if one["reason"] == "ScaleIgnored" and one["regarding"]["name"] == name
    ]


def is_reported(api: Api, namespace: str, name: str) -> bool:
    return IGNORED in conditions(api.get("poseclusters", namespace, name))["ScalingActive"]["message"]


def has_size(api: Api, namespace: str, name: str, size: int) -> bool:
    return deployment_size(api, namespace, name) == size


def scale_as_hpa(api: Api, namespace: str, name: str, size: int) -> None:
    path = BY_PLURAL["poseclusters"].path(namespace, name, "scale")
    scale = api.send("GET", path)
    scale["spec"]["replicas"] = size
    del scale["metadata"]["resourceVersion"]  # else a change of the status meanwhile is a conflict
    api.send("PUT", path, body=scale, params={"fieldManager": "kube-controller-manager"})


def test_a_scale_of_the_posecluster_in_auto_is_reported_once(
    api: Api,
    namespace: str,
    operator: OperatorProcess,
    pods: LoadedPods,
    start_operator: Callable[..., OperatorProcess],
) -> None:
    names = ["person", "hpa", "manifest"]
    start_measured(api, namespace, pods, names, auto(2, 6), replicas=2)
    api.kubectl("scale", "posecluster", "person", "--replicas=5", "-n", namespace)
    scale_as_hpa(api, namespace, "hpa", 4)
    for name in ("person", "hpa"):
        api.wait_until(partial(is_reported, api, namespace, name), 10, f"{name} reported")
        api.wait_until(partial(ignored_events, api, namespace, name), 10, f"an Event about {name}")
    scale_as_hpa(api, namespace, "hpa", 5)
    api.patch("poseclusters", namespace, "manifest", {"spec": {"queueLength": 7}})
    operator.kill()
    operator = start_operator(resync_seconds=1)
    wait_ticks(operator, 4)
    assert [len(ignored_events(api, namespace, name)) for name in names] == [1, 1, 0]
    assert "count" not in ignored_events(api, namespace, "hpa")[0].get("series", {})
    assert not is_reported(api, namespace, "manifest")
    assert [deployment_size(api, namespace, name) for name in names] == [2, 2, 2]


def refusal(api: Api, namespace: str, name: str, spec: Json) -> str:
    try:
        api.patch("poseclusters", namespace, name, {"spec": spec})
    except ApiError as error:
        return f"{error.status} {error.message}"
    return ""


def test_a_switch_to_fixed_that_would_end_pods_is_refused(
    api: Api, namespace: str, operator: OperatorProcess, pods: LoadedPods
) -> None:
    names = ["same", "fewer", "present"]
    start_measured(api, namespace, pods, names, auto(4, 6))
    for name in names:
        assert REFUSED in refusal(api, namespace, name, {"scaling": FIXED})
    # a whole manifest with the number that it always had
    manifest = posecluster("same", namespace, scaling=auto(4, 6) | FIXED)
    with pytest.raises(ApiError, match=REFUSED):
        api.apply(manifest, manager="delivery", force=True)
    assert deployment_size(api, namespace, "same") == 4

    assert refusal(api, namespace, "fewer", {"replicas": 3, "scaling": FIXED}) == ""
    assert refusal(api, namespace, "present", {"replicas": 4, "scaling": FIXED}) == ""
    for name, size in {"fewer": 3, "present": 4}.items():
        api.wait_condition(namespace, name, "ScalingActive", status="False", reason="FixedSize")
        api.wait_until(partial(has_size, api, namespace, name, size), 10, f"{name} has {size}")
    # in Fixed every size is the user's, and a change back to Auto is free
    assert refusal(api, namespace, "present", {"replicas": 1}) == ""
    assert refusal(api, namespace, "present", {"scaling": {"mode": "Auto"}}) == ""


def test_the_command_of_explain_is_accepted(
    api: Api, namespace: str, operator: OperatorProcess, pods: LoadedPods
) -> None:
    start_measured(api, namespace, pods, ["demo"], auto(4, 6))
    patch = json.dumps({"spec": {"replicas": 4, "scaling": FIXED}})
    api.kubectl("-n", namespace, "patch", "posecluster", "demo", "--type", "merge", "-p", patch)
    api.wait_condition(namespace, "demo", "ScalingActive", status="False", reason="FixedSize")
    assert deployment_size(api, namespace, "demo") == 4


def test_a_switch_that_ends_no_pod_needs_no_replicas(api: Api, namespace: str) -> None:
    api.create(posecluster("new", namespace, scaling=auto(1, 6)))
    api.create(posecluster("enough", namespace, scaling=auto(1, 6), replicas=2))
    api.patch_status("poseclusters", namespace, "enough", {"desiredReplicas": 2})
    for name in ("new", "enough"):
        assert refusal(api, namespace, name, {"scaling": FIXED}) == ""
