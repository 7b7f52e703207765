"""Waiting for facts, and small functions that read and make objects."""

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

Json = dict[str, Any]
Found = TypeVar("Found")
IMAGE = "example.test/pose:1"
_PAUSE_SECONDS = 0.05


def wait_until(fact: Callable[[], Found], seconds: float, what: str) -> Found:
    """The first truthy value of `fact()`; AssertionError "not WHAT" when the time is over."""
    end = time.monotonic() + seconds
    while not (found := fact()):
        assert time.monotonic() < end, f"not {what} after {seconds} s"
        time.sleep(_PAUSE_SECONDS)
    return found


def conditions(item: Mapping[str, Any]) -> dict[str, Json]:
    """Conditions of an object by type."""
    return {one["type"]: one for one in (item.get("status") or {}).get("conditions") or ()}


def is_settled(item: Mapping[str, Any]) -> bool:
    """Whether a PoseCluster is Ready, its rollout complete, judged at its generation."""
    status, generation = item.get("status", {}), item["metadata"]["generation"]
    found = conditions(item)
    desired = status.get("desiredReplicas")
    return (
        status.get("observedGeneration") == generation
        and all(one.get("observedGeneration") == generation for one in found.values())
        and found.get("Available", {}).get("status") == "True"
        and found.get("Progressing", {}).get("reason") == "RolloutComplete"
        and desired == status.get("readyReplicas") == status.get("replicas")
        and desired is not None
    )


def posecluster(
    name: str, namespace: str, *, annotations: Mapping[str, str] | None = None, **spec: Any
) -> Json:
    """A manifest: one pod, Fixed, of an image that a Player makes ready, unless `spec` says otherwise."""
    metadata: Json = {"name": name, "namespace": namespace}
    if annotations:
        metadata["annotations"] = dict(annotations)
    return {
        "apiVersion": "posecluster.io/v1alpha1",
        "kind": "PoseCluster",
        "metadata": metadata,
        "spec": {"image": IMAGE, "replicas": 1, "scaling": {"mode": "Fixed"}} | spec,
    }
