"""Conversion of a spec into the autoscaler's policy, for the operator and the simulation."""

from posecluster_operator.resource.posecluster import PoseCluster
from posecluster_operator.scaling.policy.target import ServiceLevel
from posecluster_operator.scaling.policy.values import Policy
from posecluster_operator.scaling.policy.windows import WINDOWS, Windows


def policy_of(cluster: PoseCluster, windows: Windows = WINDOWS) -> Policy:
    """Return the policy of a PoseCluster; the windows are the same for all PoseClusters."""
    spec, scaling = cluster.spec, cluster.spec.scaling
    return Policy(
        mode=scaling.mode,
        objective=ServiceLevel(
            latency_seconds=scaling.objective.latency_milliseconds / 1000,
            late_share=scaling.objective.late_permille / 1000,
            workers=spec.workers,
            queue_length=spec.queue_places,
        ),
        fixed_replicas=spec.replicas,
        min_replicas=scaling.min_replicas,
        max_replicas=scaling.max_replicas,
        hold_seconds=float(scaling.scale_down.hold_seconds),
        max_hold_seconds=float(scaling.scale_down.max_hold_seconds),
        windows=windows,
    )
