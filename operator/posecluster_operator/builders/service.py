"""The two Services: one for clients, and a headless one that resolves to each ready pod."""

from typing import Any

from posecluster_operator.builders.environment import CLIENT_PORT
from posecluster_operator.resource.posecluster import Service

CLIENT_PORT_NAME = "http"


def client_service(spec: Service, selector: dict[str, str]) -> dict[str, Any]:
    """Return the Service that clients use; it does not expose the admin port, which requires no token."""
    optional = {
        "externalTrafficPolicy": spec.external_traffic_policy,
        "trafficDistribution": spec.traffic_distribution,
        "loadBalancerClass": spec.load_balancer_class,
    }
    return {
        "metadata": {"annotations": dict(spec.annotations)} if spec.annotations else {},
        "spec": {
            "type": spec.type.value,
            "selector": selector,
            # set explicitly, so that a manual `true` is reverted
            "publishNotReadyAddresses": False,
            "ports": [_port(spec.port)],
            **{name: str(value) for name, value in optional.items() if value},
        },
    }


def pods_service(selector: dict[str, str]) -> dict[str, Any]:
    """Return the headless Service. Its port is that of the pods, because it is not translated."""
    return {
        "spec": {
            "type": "ClusterIP",
            "clusterIP": "None",
            "selector": selector,
            # set explicitly, so that a manual `true` is reverted
            "publishNotReadyAddresses": False,
            "ports": [_port(CLIENT_PORT)],
        },
    }


def _port(number: int) -> dict[str, Any]:
    return {"name": CLIENT_PORT_NAME, "port": number, "protocol": "TCP", "targetPort": CLIENT_PORT_NAME}
