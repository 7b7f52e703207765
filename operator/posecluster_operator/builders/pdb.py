"""The PodDisruptionBudget."""

from typing import Any

from posecluster_operator.builders import labels
from posecluster_operator.models import PoseCluster

SMALLEST_SIZE = 2


def disruption_budget(cluster: PoseCluster, *, version: str) -> dict[str, Any]:
    """Return the budget for `SMALLEST_SIZE` pods or more; for one pod it would block every drain.

    AlwaysAllow: pods that do not answer anyway must not keep a node from being drained.
    """
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": labels.metadata(cluster, labels.child_name(cluster.name), version),
        "spec": {
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": labels.selector(cluster.name)},
        },
    }
