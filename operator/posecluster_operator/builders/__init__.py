"""From a PoseCluster to the objects that it wants, as dictionaries for server-side apply; pure."""

from typing import Any

from posecluster_operator.builders.deployment import deployment
from posecluster_operator.builders.pdb import SMALLEST_SIZE, disruption_budget
from posecluster_operator.builders.service import client_service, pods_service
from posecluster_operator.models import PodDefaults, PoseCluster

__all__ = ["desired_children"]


def desired_children(
    cluster: PoseCluster,
    *,
    replicas: int,
    images: PodDefaults,
    version: str,
    taken_over: bool = False,
    taken_back: bool = False,
) -> tuple[dict[str, Any], ...]:
    """Return all children in the order in which to apply them; raises InvalidSpec (see `deployment`).

    `taken_over`: somebody else sets the size, so the Deployment is applied without `replicas`.
    `taken_back`: in this generation the operator has taken the size back from somebody, which it does once.

    Services come first: their names resolve and load balancers begin while the pods start.
    """
    children = (
        client_service(cluster, version=version),
        pods_service(cluster, version=version),
        deployment(
            cluster,
            replicas=None if taken_over else replicas,
            images=images,
            version=version,
            taken_back=taken_back,
        ),
    )
    if replicas < SMALLEST_SIZE:
        return children
    return (*children, disruption_budget(cluster, version=version))
