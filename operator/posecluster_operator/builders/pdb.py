"""The PodDisruptionBudget."""

from typing import Any

SMALLEST_SIZE = 2


def disruption_budget(selector: dict[str, str]) -> dict[str, Any]:
    """Return the budget for `SMALLEST_SIZE` pods or more; for a single pod it would block every drain.

    With AlwaysAllow, unready pods do not prevent a node from being drained.
    """
    return {
        "spec": {
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": selector},
        },
    }
