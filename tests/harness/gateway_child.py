"""A second Deployment with its Service, and a ConfigMap: rows that a test adds to the table of children.

`register()` must run before the operator's modules are imported, because some of them read the table then:
in a process of the test's own, or as `sitecustomize` of an operator (`SITECUSTOMIZE`).
"""

from typing import Any

from posecluster_operator.builders import table
from posecluster_operator.builders.kinds import DEPLOYMENTS, SERVICES, Resource

COMPONENT = "gateway"
CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")
SITECUSTOMIZE = "from harness.gateway_child import register\nregister()\n"


def deployment(_inputs: table.Inputs, selector: dict[str, str]) -> dict[str, Any]:
    """Two pods that the Pod Security level `restricted` admits."""
    container = {
        "name": COMPONENT,
        "image": "example.test/gateway:1",
        "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    security = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    pod = {"automountServiceAccountToken": False, "containers": [container], "securityContext": security}
    template = {"metadata": {"labels": selector}, "spec": pod}
    return {"spec": {"replicas": 2, "selector": {"matchLabels": selector}, "template": template}}


def service(_inputs: table.Inputs, selector: dict[str, str]) -> dict[str, Any]:
    ports = [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": "http"}]
    return {"spec": {"selector": selector, "ports": ports}}


def routes(inputs: table.Inputs, _selector: dict[str, str]) -> dict[str, Any] | None:
    """A kind that no other child has, and only with more than one pod."""
    return {"data": {"to": f"{inputs.cluster.name}-pose"}} if inputs.replicas > 1 else None


SERVICE = table.ChildRow(
    resource=SERVICES, suffix="-pose-gateway", component=COMPONENT, owned=("spec", "ports"), build=service
)
DEPLOYMENT = table.ChildRow(
    resource=DEPLOYMENTS,
    suffix="-pose-gateway",
    component=COMPONENT,
    owned=("spec", "template", "spec"),
    build=deployment,
)
ROUTES = table.ChildRow(
    resource=CONFIG_MAPS,
    suffix="-pose-routes",
    component=COMPONENT,
    owned=("data",),
    build=routes,
    is_optional=True,
)


def register(*rows: table.ChildRow) -> None:
    """Add these rows to the table; by default the Service and the Deployment."""
    table.CHILDREN += rows or (SERVICE, DEPLOYMENT)
