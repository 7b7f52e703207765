"""The condition DisruptionSafe: whether the drain or failure of a node interrupts requests. Pure."""

from collections.abc import Sequence

from posecluster_operator.resource.fields import Json
from posecluster_operator.resource.json_access import condition, text
from posecluster_operator.resource.posecluster import PoseCluster
from posecluster_operator.resource.reasons import ConditionType, ConditionValue, DisruptionReason
from posecluster_operator.scaling.order import Order
from posecluster_operator.scaling.pods import node_of
from posecluster_operator.scaling.silence import Silent, describe, silent_message


def disruption_condition(
    desired: int, *, order: Order | None, silent: Silent, delays_drains: bool
) -> ConditionValue:
    """Return the condition. `order` is None if the pass applied no size."""
    if silent:
        return False, DisruptionReason.NODE_SILENT, silent_message(silent)
    if order is not None and order.gave_way:
        return (
            False,
            DisruptionReason.NO_REPLACEMENT,
            f"Replacements for pods on {describe(_by_node(order.leaving))}, which is cordoned, did not "
            "become ready within 5 minutes on other nodes. A drain is no longer delayed, and interrupts "
            "requests if no other pod is ready: add a node, or free capacity on one, before the drain.",
        )
    if order is not None and order.extra:
        return (
            True,
            DisruptionReason.MOVING_PODS,
            f"Replacements are being started for pods on {describe(_by_node(order.leaving))}, which is "
            "cordoned.",
        )
    if desired == 1 and not delays_drains:
        return False, DisruptionReason.SINGLE_REPLICA, DisruptionReason.SINGLE_REPLICA.message
    return True, DisruptionReason.PROTECTED, DisruptionReason.PROTECTED.message


def disruption_as_before(cluster: PoseCluster) -> ConditionValue | None:
    """Return the condition in the current status with its fixed message, or None if it is invalid.

    Other messages name nodes, which are unknown while the pods cannot be read.
    """
    before = condition(cluster.status, ConditionType.DISRUPTION_SAFE)
    found = [one for one in DisruptionReason if one == text(before, "reason")]
    if not found or text(before, "status") != ("True" if found[0].is_safe else "False"):
        return None
    return found[0].is_safe, found[0], found[0].message


def _by_node(pods: Sequence[Json]) -> Silent:
    names: dict[str, list[str]] = {}
    for pod in pods:
        names.setdefault(node_of(pod), []).append(pod["metadata"]["name"])
    return {node: tuple(sorted(names[node])) for node in sorted(names)}
