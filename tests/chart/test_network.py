"""PodMonitors and NetworkPolicies select existing pods and ports, of the operator and of its pods."""

from typing import Any

import pytest

from harness.chart import NAMESPACE, Json, of_kind, one_of, pod_templates, render
from harness.poseclusters import posecluster
from posecluster_operator.builders import Inputs, desired_children
from posecluster_operator.resource.posecluster import PodDefaults

WATCHED = pytest.mark.parametrize("watched", [[], ["one", "two"]], ids=["all", "named"])


def inference_template() -> Json:
    """The pods that the operator makes of a PoseCluster."""
    images = PodDefaults(image="example.test/pose:1")
    children = desired_children(Inputs(cluster=posecluster({}), replicas=1, images=images, version="1"))
    return one_of(children, "Deployment")["spec"]["template"]


def matches(selector: Json, labels: dict[str, str]) -> bool:
    return bool(selector["matchLabels"].items() <= labels.items())


def ports_of(template: Json) -> dict[str, int]:
    (container,) = template["spec"]["containers"]
    return {port["name"]: port["containerPort"] for port in container.get("ports", ())}


def operator_template(objects: list[Json]) -> Json:
    return next(one for one in pod_templates(objects) if one["spec"]["containers"][0]["name"] == "operator")


@WATCHED
def test_pod_monitors_find_both_kinds_of_pods_and_their_ports(watched: list[str]) -> None:
    objects = render(
        {"podMonitor": {"enabled": True, "labels": {"release": "p"}}, "operator": {"namespaces": watched}}
    )
    operator, inference = of_kind(objects, "PodMonitor")
    for monitor, template in ((operator, operator_template(objects)), (inference, inference_template())):
        assert matches(monitor["spec"]["selector"], template["metadata"]["labels"])
        (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
        assert endpoint["port"] in ports_of(template)
        assert monitor["metadata"]["labels"]["release"] == "p"
    assert operator["spec"]["podMetricsEndpoints"][0]["honorLabels"] is True
    where = {"matchNames": watched} if watched else {"any": True}
    assert inference["spec"]["namespaceSelector"] == where
    assert not matches(inference["spec"]["selector"], operator_template(objects)["metadata"]["labels"])


def rules(policy: Json, way: str) -> dict[int, list[Any]]:
    """Peers by port; no peers: everybody."""
    return {
        port["port"]: rule.get({"ingress": "from", "egress": "to"}[way], [])
        for rule in policy["spec"].get(way) or ()
        for port in rule["ports"]
    }


@WATCHED
def test_policies_let_through_what_is_needed_and_nothing_else(watched: list[str]) -> None:
    clients = [{"podSelector": {"matchLabels": {"app": "shop"}}}]
    monitoring = [{"namespaceSelector": {"matchLabels": {"a": "b"}}}]
    policy = {"enabled": True, "clients": clients, "monitoring": monitoring, "apiServerPorts": [8443]}
    objects = render({"networkPolicy": policy, "operator": {"namespaces": watched}})
    operator, *inference = of_kind(objects, "NetworkPolicy")
    template, pod = operator_template(objects), inference_template()
    assert [one["metadata"]["namespace"] for one in inference] == (watched or [NAMESPACE])
    for one in (operator, *inference):
        assert one["spec"]["policyTypes"] == ["Ingress", "Egress"]

    assert matches(operator["spec"]["podSelector"], template["metadata"]["labels"])
    asked = rules(operator, "ingress")
    assert asked.keys() == set(ports_of(template).values())
    tester, *others = asked[9091]
    assert others == monitoring
    assert matches(tester["podSelector"], one_of(objects, "Pod")["metadata"]["labels"])
    asks = rules(operator, "egress")
    assert asks.keys() == {8443, 53, 9090}
    assert asks[8443] == []
    assert matches(asks[9090][0]["podSelector"], pod["metadata"]["labels"])

    for one in inference:
        assert matches(one["spec"]["podSelector"], pod["metadata"]["labels"])
        asked = rules(one, "ingress")
        assert asked.keys() == set(ports_of(pod).values())
        assert asked[8080] == clients
        reader, *others = asked[9090]
        assert others == monitoring
        assert matches(reader["podSelector"], template["metadata"]["labels"])
        assert reader["namespaceSelector"] == {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}}
        assert rules(one, "egress") == {}


@pytest.mark.parametrize(
    ("endpoint", "port"),
    [
        ("http://collector.observability:4318", 4318),
        ("https://collector.example/otlp", 443),
        ("http://[fd00::1]:4318", 4318),
        ("http://collector", 80),
    ],
)
def test_policies_let_spans_through_to_the_collector(endpoint: str, port: int) -> None:
    objects = render({"networkPolicy": {"enabled": True}, "inference": {"otlpEndpoint": endpoint}})
    _operator, inference = of_kind(objects, "NetworkPolicy")
    assert rules(inference, "egress").keys() == {port, 53}


def test_network_policies_cover_the_named_namespaces_and_allow_every_client() -> None:
    objects = render({"networkPolicy": {"enabled": True, "namespaces": ["a", "b"], "monitoring": []}})
    operator, *inference = of_kind(objects, "NetworkPolicy")
    assert [one["metadata"]["namespace"] for one in inference] == ["a", "b"]
    assert all("from" not in one["spec"]["ingress"][0] for one in inference)
    assert len(rules(operator, "ingress")[9091]) == 1


def test_metrics_and_explanations_can_be_kept_to_the_operator_s_namespace() -> None:
    objects = render({"networkPolicy": {"enabled": True, "monitoring": []}})
    policy = one_of(objects, "NetworkPolicy", "posecluster-operator")
    (rule,) = policy["spec"]["ingress"]
    assert rule["from"]
    assert all(set(peer) == {"podSelector"} for peer in rule["from"])  # of the policy's own namespace
