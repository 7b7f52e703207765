"""The PodDisruptionBudget."""

from typing import Any

SMALLEST_SIZE = 2


def disruption_budget(selector: dict[str, str]) -> dict[str, Any]:
    """Return the budget for `SMALLEST_SIZE` pods or more; for one pod it would block every drain.

    AlwaysAllow: pods that do not respond anyway must not keep a node from being drained.
    """
    return {
        "spec": {
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": selector},
        },
    }
