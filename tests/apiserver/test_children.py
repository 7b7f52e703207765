"""From creation to Ready: exactly the documented children, and few writes."""

from collections.abc import Callable

import pytest

from harness.kubernetes.api import Api
from harness.kubernetes.facts import (
    BUDGET,
    CHILDREN,
    DEPLOYMENT,
    PODS_SERVICE,
    SERVICE,
    assert_quiet,
    children,
    names,
    shown,
    wait_quiet,
    wait_rolled_out,
)
from harness.kubernetes.operator import OperatorProcess
from harness.kubernetes.player import Player
from harness.kubernetes.proxy import FaultProxy
from harness.kubernetes.waiting import Json, conditions, posecluster
from harness.recorder import RecordFigure

MOST_WRITES = 8
NAME = "demo"
LABELS = {
    "app.kubernetes.io/name": "posecluster",
    "app.kubernetes.io/instance": NAME,
    "app.kubernetes.io/component": "inference",
    "app.kubernetes.io/managed-by": "posecluster-operator",
}


def size(api: Api, namespace: str) -> int:
    """The Deployment's spec.replicas."""
    replicas: int = api.get("deployments", namespace, f"{NAME}-pose")["spec"]["replicas"]
    return replicas


def pod_of(player: Player, namespace: str) -> Json:
    """One of the pods' spec."""
    spec: Json = player.ready_pods(namespace, f"{NAME}-pose")[0]["spec"]
    return spec


@pytest.mark.smoke
def test_a_posecluster_gets_its_children_and_nothing_else(
    api: Api, namespace: str, player: Player, operator: OperatorProcess
) -> None:
    others = ["secrets", "configmaps", "networkpolicies", "horizontalpodautoscalers", "roles", "rolebindings"]
    before = {plural: identities_of(api, plural, namespace) for plural in others}
    cluster = api.create(posecluster(NAME, namespace, replicas=2))
    settled = wait_rolled_out(api, namespace, NAME)

    found = children(api, namespace)
    assert set(found) == names(NAME)
    owner = {
        "apiVersion": "posecluster.io/v1alpha1",
        "kind": "PoseCluster",
        "name": NAME,
        "uid": cluster["metadata"]["uid"],
        "controller": True,
    }
    for child in found.values():
        assert child["metadata"]["ownerReferences"] == [owner]
        assert LABELS.items() <= child["metadata"]["labels"].items()
        assert set(child["metadata"]["labels"]) - set(LABELS) == {"app.kubernetes.io/version"}
        assert "finalizers" not in child["metadata"]
        managers = [
            (one["manager"], one["operation"])
            for one in child["metadata"]["managedFields"]
            if "subresource" not in one and one["manager"].startswith("posecluster")
        ]
        assert managers == [("posecluster-operator", "Apply")]
    assert {plural: identities_of(api, plural, namespace) for plural in others} == before

    metadata = settled["metadata"]
    assert settled["spec"] == cluster["spec"], "the spec is the user's"
    assert not metadata.get("annotations")
    assert not metadata.get("finalizers")
    status = settled["status"]
    assert (status["replicas"], status["readyReplicas"], status["desiredReplicas"]) == (2, 2, 2)
    assert status["endpoint"] == f"http://{NAME}-pose.{namespace}.svc"
    chosen = api.list("pods", namespace, labels=status["selector"])
    assert len(chosen) == 2
    assert {kind: one["reason"] for kind, one in conditions(settled).items()} == {
        "Ready": "RolledOut",
        "Available": "PodsReady",
        "Progressing": "RolloutComplete",
        "ScalingActive": "FixedSize",
        "DisruptionSafe": "Protected",
    }
    headless = found["services", f"{NAME}-pose-pods"]["spec"]
    assert headless["clusterIP"] == "None"
    assert found["services", f"{NAME}-pose"]["spec"]["selector"] == headless["selector"]
    assert [port["port"] for port in found["services", f"{NAME}-pose"]["spec"]["ports"]] == [80]


def identities_of(api: Api, plural: str, namespace: str) -> set[str]:
    """Uids of all objects of a kind."""
    return {item["metadata"]["uid"] for item in api.list(plural, namespace)}


def test_settings_of_the_spec_reach_pods_and_service(
    api: Api, namespace: str, player: Player, operator: OperatorProcess
) -> None:
    spec: Json = {
        "model": {"variant": "Heavy", "maxPeople": 4},
        "imagePullPolicy": "IfNotPresent",
        "imagePullSecrets": [{"name": "registry"}],
        "scaling": {"mode": "Fixed", "objective": {"latencyMilliseconds": 400}},
        "workersPerPod": 3,
        "queueLength": 40,
        "limits": {
            "maxBodyBytes": 5_000_000,
            "maxPixels": 9_000_000,
            "maxSidePixels": 4_000,
            "deadlineMilliseconds": 7_500,
            "requestsPerMinutePerClient": 50,
            "burst": 5,
        },
        "cache": {"entries": 0},
        "auth": {"tokenSecretName": "tokens"},
        "drainSeconds": 20,
        "rollout": {"maxUnavailable": 2},
        "service": {"type": "NodePort", "port": 8000, "annotations": {"example.test/lb": "internal"}},
        "resources": {"requests": {"cpu": "250m"}, "limits": {"cpu": 3, "memory": "2Gi"}},
        "nodeSelector": {"example.test/pool": "cpu"},
        "tolerations": [{"key": "example.test/only", "operator": "Exists", "effect": "NoSchedule"}],
        "topologySpreadConstraints": [
            {"maxSkew": 2, "topologyKey": "example.test/zone", "whenUnsatisfiable": "DoNotSchedule"}
        ],
    }
    api.create(posecluster(NAME, namespace, **spec))
    wait_rolled_out(api, namespace, NAME)
    strategy = api.get("deployments", namespace, f"{NAME}-pose")["spec"]["strategy"]
    assert strategy["rollingUpdate"] == {"maxSurge": "25%", "maxUnavailable": 2}
    pod = pod_of(player, namespace)
    container = pod["containers"][0]
    settings = {one["name"].removeprefix("POSECLUSTER_"): one["value"] for one in container["env"]}
    wanted = {
        "MODEL_TASK": "pose", "MODEL_VARIANT": "heavy", "MAX_PEOPLE": "4", "LATENCY_OBJECTIVE_MS": "400",
        "WORKERS": "3", "QUEUE_LENGTH": "40", "MAX_BODY_BYTES": "5000000", "MAX_PIXELS": "9000000",
        "MAX_SIDE_PIXELS": "4000", "DEADLINE_MS": "7500", "RATE_LIMIT_PER_MINUTE": "50",
        "RATE_LIMIT_BURST": "5", "CACHE_ENTRIES": "0", "DRAIN_DELAY_MS": "20000",
        "AUTH_TOKENS_DIR": "/etc/posecluster/tokens",
    }  # fmt: skip
    assert wanted.items() <= settings.items()
    assert container["imagePullPolicy"] == "IfNotPresent"
    assert container["resources"] == {
        "requests": {"cpu": "250m", "memory": "512Mi"},
        "limits": {"cpu": "3", "memory": "2Gi"},
    }
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    assert pod["nodeSelector"] == spec["nodeSelector"]
    assert spec["tolerations"][0] in pod["tolerations"]
    constraint = pod["topologySpreadConstraints"][0]
    assert spec["topologySpreadConstraints"][0].items() <= constraint.items()
    assert constraint["labelSelector"]["matchLabels"]["app.kubernetes.io/instance"] == NAME
    # drain 20, header 5, body 10, deadline 7.5 rounded up, workers 5
    assert pod["terminationGracePeriodSeconds"] == 98

    mount = next(one for one in container["volumeMounts"] if one["mountPath"] == settings["AUTH_TOKENS_DIR"])
    volume = next(one for one in pod["volumes"] if one["name"] == mount["name"])
    assert mount["readOnly"]
    assert volume["secret"] == {"secretName": "tokens", "defaultMode": 0o444}

    service = api.get("services", namespace, f"{NAME}-pose")
    assert service["spec"]["type"] == "NodePort"
    assert service["spec"]["ports"][0]["port"] == 8000
    assert service["metadata"]["annotations"] == {"example.test/lb": "internal"}
    endpoint = api.get("poseclusters", namespace, NAME)["status"]["endpoint"]
    assert endpoint == f"http://{NAME}-pose.{namespace}.svc:8000"


@pytest.mark.acceptance(29)
def test_creation_to_settled_takes_few_writes(
    api: Api,
    namespace: str,
    player: Player,
    proxy: FaultProxy,
    start_operator: Callable[..., OperatorProcess],
    record_figure: RecordFigure,
) -> None:
    operator = start_operator(resync_seconds=1)
    api.create(posecluster(NAME, namespace, replicas=3))
    wait_rolled_out(api, namespace, NAME)
    wait_quiet(operator, proxy)
    written = proxy.writes()
    assert_quiet(operator, proxy)
    record_figure(
        "writes of one PoseCluster, creation to settled", len(written), bar=f"<= {MOST_WRITES}", sample=1
    )
    assert proxy.find(verb="apply", resource="deployments"), "the proxy sees the operator's writes"
    assert len(written) <= MOST_WRITES, shown(written)


@pytest.mark.smoke
def test_kubectl_scale_sets_the_size_and_the_budget_comes_at_two(
    api: Api, namespace: str, player: Player, operator: OperatorProcess
) -> None:
    api.create(posecluster(NAME, namespace))
    wait_rolled_out(api, namespace, NAME)
    assert set(children(api, namespace)) == names(NAME, [SERVICE, PODS_SERVICE, DEPLOYMENT])
    for replicas, kinds in ((2, CHILDREN), (1, [SERVICE, PODS_SERVICE, DEPLOYMENT]), (3, CHILDREN)):
        api.kubectl("scale", "posecluster", NAME, f"--replicas={replicas}", "-n", namespace)
        settled = wait_rolled_out(api, namespace, NAME)
        assert settled["status"]["readyReplicas"] == size(api, namespace) == replicas
        wanted = names(NAME, kinds)
        api.wait_until(lambda wanted=wanted: set(children(api, namespace)) == wanted, 5, f"{wanted}")
    budget = api.get(BUDGET[0], namespace, f"{NAME}-pose")["spec"]
    assert (budget["maxUnavailable"], budget["unhealthyPodEvictionPolicy"]) == (1, "AlwaysAllow")

    api.kubectl("scale", "posecluster", NAME, "--replicas=0", "-n", namespace)
    api.wait_condition(namespace, NAME, "Available", status="False", reason="ScaledToZero")
    assert size(api, namespace) == 0
    api.wait_until(lambda: not player.pods(namespace, f"{NAME}-pose"), 10, "no pods")


def test_auto_keeps_the_size_within_its_bounds(
    api: Api, namespace: str, player: Player, operator: OperatorProcess
) -> None:
    scaling = {"mode": "Auto", "minReplicas": 2, "maxReplicas": 4}
    api.create(posecluster(NAME, namespace, replicas=9, scaling=scaling))
    wait_rolled_out(api, namespace, NAME)
    assert size(api, namespace) == 4
    # while no load is measured the size is held, independent of spec.replicas
    for bounds, wanted in (
        ({"minReplicas": 1, "maxReplicas": 3}, 3),
        ({"minReplicas": 5, "maxReplicas": 6}, 5),
    ):
        api.patch("poseclusters", namespace, NAME, {"spec": {"scaling": bounds}})
        assert wait_rolled_out(api, namespace, NAME)["status"]["desiredReplicas"] == wanted
        assert size(api, namespace) == wanted
    api.kubectl("scale", "posecluster", NAME, "--replicas=1", "-n", namespace)
    wait_rolled_out(api, namespace, NAME)
    assert size(api, namespace) == 5
    found = api.wait_condition(namespace, NAME, "ScalingActive", status="False", reason="NoMetrics")
    assert "held" in found["message"]
