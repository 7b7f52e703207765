"""The PodDisruptionBudget."""

from typing import Any


def disruption_budget(
    selector: dict[str, str], *, desired: int, delays_drains: bool, gave_way: bool
) -> dict[str, Any] | None:
    """Return the budget for this desired number of pods, or None if evictions are not limited.

    A budget for a single pod refuses every eviction until a second pod is ready. It exists only if the
    operator `delays_drains`, because it then starts that pod when the node is cordoned. It is removed if the
    operator `gave_way`, because replacements did not become ready in time. With AlwaysAllow, unready pods do
    not prevent a node from being drained.
    """
    if gave_way or not desired or (desired == 1 and not delays_drains):
        return None
    limit = {"minAvailable": 1} if desired == 1 else {"maxUnavailable": 1}
    return {
        "spec": {
            **limit,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": selector},
        },
    }
