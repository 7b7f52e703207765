"""The two Services: one for clients, one headless that names each ready pod."""

from typing import Any

from posecluster_operator.builders import labels
from posecluster_operator.builders.environment import CLIENT_PORT
from posecluster_operator.models import PoseCluster

CLIENT_PORT_NAME = "http"


def client_service(cluster: PoseCluster, *, version: str) -> dict[str, Any]:
    """Return the Service that clients use; the admin port is not behind it, since it asks for no token."""
    spec = cluster.spec.service
    metadata = labels.metadata(cluster, labels.child_name(cluster.name), version)
    if spec.annotations:
        metadata["annotations"] = dict(spec.annotations)
    optional = {
        "externalTrafficPolicy": spec.external_traffic_policy,
        "trafficDistribution": spec.traffic_distribution,
        "loadBalancerClass": spec.load_balancer_class,
    }
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {
            "type": spec.type.value,
            "selector": labels.selector(cluster.name),
            # set explicitly, so that a manual `true` is reverted
            "publishNotReadyAddresses": False,
            "ports": [_port(spec.port)],
            **{name: str(value) for name, value in optional.items() if value},
        },
    }


def pods_service(cluster: PoseCluster, *, version: str) -> dict[str, Any]:
    """Return the headless Service; its port is the pods' own, since nothing translates it."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": labels.metadata(cluster, labels.pods_service_name(cluster.name), version),
        "spec": {
            "type": "ClusterIP",
            "clusterIP": "None",
            "selector": labels.selector(cluster.name),
            # set explicitly, so that a manual `true` is reverted
            "publishNotReadyAddresses": False,
            "ports": [_port(CLIENT_PORT)],
        },
    }


def _port(number: int) -> dict[str, Any]:
    return {"name": CLIENT_PORT_NAME, "port": number, "protocol": "TCP", "targetPort": CLIENT_PORT_NAME}
