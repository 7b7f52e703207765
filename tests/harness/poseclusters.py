"""PoseClusters for tests of the operator's pure core."""

from collections.abc import Mapping
from typing import Any

from posecluster_operator.resource.parsing import parse
from posecluster_operator.resource.posecluster import PoseCluster

UID = "11111111-2222-3333-4444-555555555555"


def posecluster(
    spec: Mapping[str, Any] | None = None,
    *,
    generation: int = 1,
    paused: bool = False,
    status: Any = None,
) -> PoseCluster:
    """Return PoseCluster `default/demo` as the API server would give it."""
    metadata: dict[str, Any] = {
        "name": "demo",
        "namespace": "default",
        "uid": UID,
        "generation": generation,
        "resourceVersion": "1",
    }
    if paused:
        metadata["annotations"] = {"posecluster.io/paused": "true"}
    return parse({"metadata": metadata, "spec": spec or {}, "status": status})
