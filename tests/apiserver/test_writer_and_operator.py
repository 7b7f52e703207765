"""Check 22, the operator's part: a writer of PoseClusters gains nothing beyond the writer's own rights.

test_writer_gains_nothing.py has what the schema refuses. Here each try is a separate PoseCluster in one
namespace, created with the writer's token, and the operator reconciles those that are stored.
"""

import json
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from harness.kubernetes.api import Api
from harness.kubernetes.operator import OperatorProcess
from harness.kubernetes.player import Player
from harness.kubernetes.proxy import FaultProxy
from harness.kubernetes.resources import BY_PLURAL
from harness.kubernetes.waiting import Json, conditions, posecluster
from harness.kubernetes.writer_tries import READY, REFUSED, REQUIRED, TRIES, Try
from harness.recorder import RecordFigure

WRITER = {
    "apiGroups": ["posecluster.io"],
    "resources": ["poseclusters"],
    "verbs": ["get", "list", "watch", "create", "update", "patch", "delete"],
}
# all that could be worth having; Leases and Events are the operator's own
SNAPSHOT = (
    "services", "deployments", "replicasets", "pods", "secrets", "configmaps", "serviceaccounts", "roles",
    "rolebindings", "poddisruptionbudgets", "networkpolicies", "resourcequotas", "limitranges",
    "horizontalpodautoscalers", "namespaces", "nodes", "clusterroles", "clusterrolebindings",
    "priorityclasses", "customresourcedefinitions",
)  # fmt: skip
POD_FIELDS = {
    "affinity", "automountServiceAccountToken", "containers", "dnsPolicy", "enableServiceLinks",
    "hostAliases", "imagePullSecrets", "nodeSelector", "preemptionPolicy", "priority", "priorityClassName",
    "restartPolicy", "schedulerName", "securityContext", "terminationGracePeriodSeconds", "tolerations",
    "topologySpreadConstraints", "volumes",
}  # fmt: skip
SERVICE_FIELDS = {
    "clusterIP", "clusterIPs", "internalTrafficPolicy", "ipFamilies", "ipFamilyPolicy", "ports", "selector",
    "sessionAffinity", "type", "externalTrafficPolicy", "trafficDistribution", "loadBalancerClass",
    "allocateLoadBalancerNodePorts", "healthCheckNodePort",
}  # fmt: skip
# what the operator of the test allows
EVICTABLE = "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes"
ALLOWED = {"allowed_pod_labels": "example.com/team", "allowed_pod_annotations": "example.com/*"}
TOKEN = "the-bank's-own-token"


@pytest.fixture
def writer(api: Api, namespace: str) -> Iterator[httpx.Client]:
    """Somebody with rights on PoseClusters of this namespace only."""
    token = api.account(namespace, "writer", [WRITER]).token
    context = ssl.create_default_context(cafile=str(api.server.ca_file))
    with httpx.Client(
        base_url=api.server.url, verify=context, headers={"Authorization": f"Bearer {token}"}, trust_env=False
    ) as client:
        yield client


def snapshot(api: Api) -> dict[tuple[str, str, str], str]:
    """Version of every object, by plural, namespace and name."""
    return {
        (plural, one["metadata"].get("namespace", ""), one["metadata"]["name"]): one["metadata"][
            "resourceVersion"
        ]
        for plural in SNAPSHOT
        for one in api.list(plural)
    }


def named(value: Any, name: str) -> Any:
    """The value with the try's name in the place of {}."""
    return json.loads(json.dumps(value).replace("{}-pose", f"{name}-pose").replace('"{}"', f'"{name}"'))


def prepare(api: Api, namespace: str) -> dict[str, str]:
    """A Secret, a class, and what the tries want to be there; the tries' names."""
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "bank", "namespace": namespace}}
    api.create(secret | {"stringData": {"token": TOKEN}})
    names = {what: f"try-{index}" for index, what in enumerate(TRIES)}
    for what, one in TRIES.items():
        if one.before:
            before = named(one.before, names[what])
            before["metadata"]["namespace"] = namespace
            api.create(before)
    return names


def attempt(writer: httpx.Client, namespace: str, name: str, one: Try) -> int:
    """Create the PoseCluster without strict validation; return the HTTP status."""
    body = posecluster(name, namespace, **one.spec)
    body["metadata"] |= one.metadata
    body["status"] = {"readyReplicas": 9, "endpoint": "http://evil.test"}
    path = BY_PLURAL["poseclusters"].path(body["metadata"]["namespace"])
    return writer.post(path, json=body, params={"fieldValidation": "Ignore"}).status_code


def check_child(body: Json, cluster: Json) -> None:
    """A child has only what is documented, whatever the PoseCluster asks for."""
    name, metadata = cluster["metadata"]["name"], body["metadata"]
    assert metadata["ownerReferences"][0]["uid"] == cluster["metadata"]["uid"]
    assert metadata["labels"]["app.kubernetes.io/name"] == "posecluster"
    assert metadata["labels"].keys() <= {
        f"app.kubernetes.io/{key}" for key in ("name", "instance", "component", "managed-by", "version")
    }
    ours = {"app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/component"}
    annotations = set(metadata.get("annotations", {})) - {"deployment.kubernetes.io/revision"}
    if body["kind"] == "Service":
        assert body["spec"].keys() <= SERVICE_FIELDS
        assert body["spec"]["selector"].keys() == ours
        assert annotations <= set(cluster["spec"]["service"].get("annotations", {}))
        return
    assert annotations == set()
    assert body["spec"]["selector"]["matchLabels"].keys() == ours
    if body["kind"] == "Deployment":
        template = body["spec"]["template"]
        labels, notes = template["metadata"]["labels"], template["metadata"]["annotations"]
        assert labels["app.kubernetes.io/instance"] == name
        assert labels.keys() - ours - {"app.kubernetes.io/managed-by"} <= {"example.com/team"}
        assert set(notes) <= {"posecluster.io/template-hash", "example.com/x", EVICTABLE}
        assert notes[EVICTABLE] == "tmp"
        assert template["metadata"]["annotations"]["posecluster.io/template-hash"] != "0000000000"
        check_pod(template["spec"])
        check_affinity(template["spec"].get("affinity", {}), body["spec"]["selector"])


def check_affinity(affinity: Json, ours: Json) -> None:
    """It names no other namespace, and pods without our labels are kept from no node."""
    assert "namespace" not in json.dumps(affinity)
    for term in affinity.get("podAntiAffinity", {}).get(REQUIRED, []):
        assert term["labelSelector"] == ours


def check_pod(pod: Json) -> None:
    assert pod.keys() <= POD_FIELDS
    assert pod["automountServiceAccountToken"] is False
    assert {next(iter(volume.keys() - {"name"})) for volume in pod["volumes"]} <= {"emptyDir", "secret"}
    (container,) = pod["containers"]
    assert not container.keys() & {"command", "args", "envFrom", "lifecycle"}
    assert all(one["name"].startswith("POSECLUSTER_") for one in container["env"])
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.acceptance(22)
def test_specs_of_a_writer_stay_within_the_writers_rights(
    api: Api,
    namespace: str,
    writer: httpx.Client,
    player: Player,
    proxy: FaultProxy,
    start_operator: Callable[..., OperatorProcess],
    record_figure: RecordFigure,
) -> None:
    names = prepare(api, namespace)
    operator = start_operator(namespaces=(), **ALLOWED)  # also where the writer may do nothing
    before = snapshot(api)
    for what, one in TRIES.items():
        assert (attempt(writer, namespace, names[what], one) == 201) == (one.outcome != REFUSED), what
    for what, one in TRIES.items():
        if one.outcome != REFUSED:
            api.wait_condition(namespace, names[what], "Progressing", reason=one.outcome)
    api.patch("poseclusters", namespace, names["a finalizer"], {"metadata": {"finalizers": None}})
    for path in ("status", "scale"):
        patch = writer.patch(
            BY_PLURAL["poseclusters"].path(namespace, names["a restart"], path),
            json={"spec": {"replicas": 5}, "status": {"readyReplicas": 9}},
            headers={"Content-Type": "application/merge-patch+json"},
        )
        assert patch.status_code == 403
    after = snapshot(api)
    assert {key: after.get(key) for key in before} == before, "an object of others was touched"
    made = {key for key in after if key not in before and key[1] == namespace}
    assert {key for key in after if key not in before and key[1] != namespace} == set()
    clusters = {item["metadata"]["name"]: item for item in api.list("poseclusters", namespace)}
    checked = 0
    for plural, _where, name in sorted(made):
        assert plural in {"services", "deployments", "poddisruptionbudgets", "pods", "replicasets"}, name
        cluster = clusters[name.partition("-pose")[0]]
        body = {"kind": BY_PLURAL[plural].name} | api.get(plural, namespace, name)
        if plural not in ("pods", "replicasets"):
            check_child(body, cluster)
            checked += 1
        assert conditions(cluster)["Progressing"]["reason"] in (READY, "FailedCreate")
    assert checked >= 3 * sum(one.outcome == READY for one in TRIES.values())
    assert all("evil" not in item["status"]["endpoint"] for item in clusters.values())
    assert {call.namespace for call in proxy.writes()} == {namespace}
    assert not proxy.find(resource="secrets*|configmaps|serviceaccounts*|*/exec|*/proxy")
    said = operator.logs() + json.dumps(api.list("events", namespace)) + json.dumps(list(clusters.values()))
    assert TOKEN not in said
    twins = sum(one.twin for one in TRIES.values())
    record_figure(
        "tries that reached the operator and gained",
        0,
        bar="0",
        sample=f"{len(TRIES) - twins} tries, {twins} twins",
    )
    assert len(TRIES) - twins >= 30
    assert twins >= 5
