"""The clients' Service may change its type, in any order and with every field that belongs to a type."""

import itertools

import pytest

from harness.kubernetes.api import Api, ApiError
from harness.kubernetes.facts import wait_rolled_out
from harness.kubernetes.operator import OperatorProcess
from harness.kubernetes.player import Player
from harness.kubernetes.waiting import Json, conditions, posecluster

NAME = "demo"
CHILD = f"{NAME}-pose"
SERVICES: dict[str, Json] = {
    "inside": {"type": "ClusterIP"},
    "inside, near": {"type": "ClusterIP", "trafficDistribution": "PreferClose"},
    "nodes": {"type": "NodePort"},
    "nodes, local": {"type": "NodePort", "externalTrafficPolicy": "Local"},
    "balancer": {"type": "LoadBalancer"},
    "balancer, local": {"type": "LoadBalancer", "externalTrafficPolicy": "Local"},
    "balancer, one": {"type": "LoadBalancer", "loadBalancerClass": "example.com/one"},
    "balancer, two": {
        "type": "LoadBalancer",
        "loadBalancerClass": "example.com/two",
        "externalTrafficPolicy": "Cluster",
        "trafficDistribution": "PreferClose",
    },
}
# fields that only some types have, whoever sets them
OF_A_TYPE = {
    "externalTrafficPolicy", "loadBalancerClass", "healthCheckNodePort", "allocateLoadBalancerNodePorts"
}  # fmt: skip


def other_class(one: str, other: str) -> bool:
    """Whether the API server refuses the step in between, as a change of a load balancer's class."""
    return SERVICES[one]["type"] == SERVICES[other]["type"] == "LoadBalancer" and SERVICES[one].get(
        "loadBalancerClass"
    ) != SERVICES[other].get("loadBalancerClass")


def set_service(api: Api, namespace: str, service: Json) -> None:
    """Exactly these fields."""
    every: Json = dict.fromkeys(field for one in SERVICES.values() for field in one)
    api.patch("poseclusters", namespace, NAME, {"spec": {"service": every | service}})


def wait_service(api: Api, namespace: str, service: Json) -> None:
    """Wait until the Service is as the spec says, and has nothing of what it was before."""
    absent = {"trafficDistribution", "loadBalancerClass"} - service.keys()
    if service["type"] == "ClusterIP":
        absent |= OF_A_TYPE
    wanted = dict(service)
    if service["type"] != "ClusterIP":
        wanted.setdefault("externalTrafficPolicy", "Cluster")

    def done() -> bool:
        problem = conditions(api.get("poseclusters", namespace, NAME))["Progressing"]
        assert problem["reason"] != "ApplyRejected", problem["message"]
        spec = api.get("services", namespace, CHILD)["spec"]
        has_node_port = "nodePort" in spec["ports"][0]
        return (
            wanted.items() <= spec.items()
            and not spec.keys() & absent
            and has_node_port == (service["type"] != "ClusterIP")
        )

    api.wait_until(done, 10, f"a Service with {service}")


def test_every_change_of_type_is_applied(
    api: Api, namespace: str, player: Player, operator: OperatorProcess
) -> None:
    api.create(posecluster(NAME, namespace, service=SERVICES["inside"]))
    wait_rolled_out(api, namespace, NAME)
    uid = api.get("services", namespace, CHILD)["metadata"]["uid"]
    untried = {pair for pair in itertools.permutations(SERVICES, 2) if not other_class(*pair)}
    assert len(untried) == 46
    now = "inside"
    while untried:
        ways = sorted(other for one, other in untried if one == now)
        following = ways[0] if ways else "inside" if now != "inside" else min(untried)[0]
        set_service(api, namespace, SERVICES[following])
        wait_service(api, namespace, SERVICES[following])
        untried.discard((now, following))
        now = following
    assert api.get("services", namespace, CHILD)["metadata"]["uid"] == uid, "it keeps its address"


@pytest.mark.parametrize(
    ("one", "other"), [(one, other) for one in SERVICES for other in SERVICES if other_class(one, other)]
)
def test_a_balancers_class_needs_another_type_in_between(
    api: Api, namespace: str, one: str, other: str
) -> None:
    api.create(posecluster(NAME, namespace, service=SERVICES[one]))
    with pytest.raises(ApiError, match=r"set service\.type to ClusterIP without a class first"):
        set_service(api, namespace, SERVICES[other])
    set_service(api, namespace, SERVICES["inside"])
    set_service(api, namespace, SERVICES[other])


def test_a_class_changed_while_the_operator_was_away_is_applied(
    api: Api, namespace: str, player: Player, operator: OperatorProcess
) -> None:
    api.create(posecluster(NAME, namespace, service=SERVICES["balancer, one"]))
    wait_rolled_out(api, namespace, NAME)
    for name in ("balancer, two", "balancer", "balancer, one"):
        pause(api, namespace, "true")
        set_service(api, namespace, SERVICES["inside"])
        set_service(api, namespace, SERVICES[name])
        pause(api, namespace, None)
        wait_service(api, namespace, SERVICES[name])


def pause(api: Api, namespace: str, value: str | None) -> None:
    annotations = {"posecluster.io/paused": value}
    api.patch("poseclusters", namespace, NAME, {"metadata": {"annotations": annotations}})
    if value:
        api.wait_condition(namespace, NAME, "Progressing", reason="Paused")


def test_a_class_that_a_webhook_chose_stays(
    api: Api, namespace: str, player: Player, operator: OperatorProcess
) -> None:
    """Some clusters give each new load balancer a class of theirs."""
    api.create(posecluster(NAME, namespace))
    wait_rolled_out(api, namespace, NAME)
    theirs = {"type": "LoadBalancer", "loadBalancerClass": "example.com/theirs"}
    pause(api, namespace, "true")
    set_service(api, namespace, SERVICES["balancer"])
    api.patch("services", namespace, CHILD, {"spec": theirs})
    pause(api, namespace, None)
    api.wait_condition(namespace, NAME, "Progressing", reason="RolloutComplete")
    set_service(api, namespace, SERVICES["balancer"] | {"port": 81})
    api.wait_until(
        lambda: api.get("services", namespace, CHILD)["spec"]["ports"][0]["port"] == 81, 10, "port 81"
    )
    assert theirs.items() <= api.get("services", namespace, CHILD)["spec"].items()
