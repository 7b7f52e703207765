"""The two Services: one for clients, one headless that names each ready pod."""

from typing import Any

from posecluster_operator.builders import labels
from posecluster_operator.models import PoseCluster

CLIENT_PORT = 8080
CLIENT_PORT_NAME = "http"


def client_service(cluster: PoseCluster, *, version: str) -> dict[str, Any]:
    """Return the Service that clients use; the admin port is not behind it, since it asks for no token."""
    spec = cluster.spec.service
    metadata = labels.metadata(cluster, labels.child_name(cluster.name), version)
    if spec.annotations:
        metadata["annotations"] = dict(spec.annotations)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {
            "type": spec.type.value,
            "selector": labels.selector(cluster.name),
            "publishNotReadyAddresses": False,  # stated, so that a hand's true does not stay
            "ports": [_port(spec.port)],
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
            "publishNotReadyAddresses": False,  # stated, so that a hand's true does not stay
            "ports": [_port(CLIENT_PORT)],
        },
    }


def _port(number: int) -> dict[str, Any]:
    return {"name": CLIENT_PORT_NAME, "port": number, "protocol": "TCP", "targetPort": CLIENT_PORT_NAME}
