"""Check 22, what reaches the operator: nothing is done for a writer of PoseClusters beyond his rights.

What the schema refuses is in test_writer_gains_nothing.py. Here each try is a PoseCluster of its own in
one namespace, made with the writer's own token, and the operator acts on those that are stored.
"""

import json
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from harness.kubernetes.api import Api
from harness.kubernetes.operator import OperatorProcess
from harness.kubernetes.player import Player
from harness.kubernetes.proxy import FaultProxy
from harness.kubernetes.resources import BY_KIND, BY_PLURAL
from harness.kubernetes.waiting import Json, conditions, posecluster
from harness.recorder import RecordFigure

READY, REFUSED, NAME_TAKEN = "RolloutComplete", "refused", "NameTaken"
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
    "automountServiceAccountToken", "containers", "dnsPolicy", "enableServiceLinks", "hostAliases",
    "imagePullSecrets", "nodeSelector", "preemptionPolicy", "priority", "priorityClassName", "restartPolicy",
    "schedulerName", "securityContext", "terminationGracePeriodSeconds", "tolerations",
    "topologySpreadConstraints", "volumes",
}  # fmt: skip
SERVICE_FIELDS = {
    "clusterIP", "clusterIPs", "internalTrafficPolicy", "ipFamilies", "ipFamilyPolicy", "ports", "selector",
    "sessionAffinity", "type",
}  # fmt: skip
TOKEN = "the-bank's-own-token"


@dataclass(frozen=True, slots=True)
class Try:
    """What is asked for, what is there before, and what comes of it: a reason of Progressing, or refused."""

    spec: Json = field(default_factory=dict)
    metadata: Json = field(default_factory=dict)
    outcome: str = READY
    before: Json | None = None
    twin: bool = False


def stranger(kind: str, name: str, **metadata: Any) -> Json:
    """Somebody's object; `name` is completed with the try's."""
    made = {"Service": {"ports": [{"port": 1}]}, "PodDisruptionBudget": {"selector": {}, "maxUnavailable": 1}}
    pod = {
        "metadata": {"labels": {"a": "b"}},
        "spec": {"containers": [{"name": "a", "image": "example.test/a"}]},
    }
    made["Deployment"] = {"replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": pod}
    where = BY_KIND[kind].api_version
    return {"apiVersion": where, "kind": kind, "metadata": {"name": name, **metadata}, "spec": made[kind]}


def owned(kind: str, **more: Any) -> list[Json]:
    api_version = "apps/v1" if kind == "ReplicaSet" else "posecluster.io/v1alpha1"
    return [
        {"apiVersion": api_version, "kind": kind, "name": "other", "uid": "0-0", "controller": True} | more
    ]


OURS = {"app.kubernetes.io/managed-by": "posecluster-operator", "app.kubernetes.io/instance": "{}"}
SPREAD = {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule"}
TRIES: dict[str, Try] = {
    # names that others hold
    "a Service's name": Try(outcome=NAME_TAKEN, before=stranger("Service", "{}-pose")),
    "the headless Service's name": Try(outcome=NAME_TAKEN, before=stranger("Service", "{}-pose-pods")),
    "a Deployment's name": Try(outcome=NAME_TAKEN, before=stranger("Deployment", "{}-pose")),
    "a budget's name": Try(
        {"replicas": 2}, outcome=NAME_TAKEN, before=stranger("PodDisruptionBudget", "{}-pose")
    ),
    "a budget's name, to have it deleted": Try(
        outcome=NAME_TAKEN, before=stranger("PodDisruptionBudget", "{}-pose", labels=OURS)
    ),
    "an object with our labels": Try(outcome=NAME_TAKEN, before=stranger("Service", "{}-pose", labels=OURS)),
    "another controller's object": Try(
        outcome=NAME_TAKEN, before=stranger("Deployment", "{}-pose", ownerReferences=owned("ReplicaSet"))
    ),
    "another PoseCluster's object": Try(
        outcome=NAME_TAKEN, before=stranger("Service", "{}-pose", ownerReferences=owned("PoseCluster"))
    ),
    "an object that a kind of our name owns": Try(
        outcome=NAME_TAKEN,
        before=stranger(
            "Deployment",
            "{}-pose",
            ownerReferences=owned("PoseCluster", apiVersion="example.test/v1", name="{}"),
        ),
    ),
    # metadata that children must not get
    "labels of others": Try(metadata={"labels": {"app": "bank", "app.kubernetes.io/name": "bank"}}),
    "the version label": Try(metadata={"labels": {"app.kubernetes.io/version": "9.9.9"}}),
    "an unconfined profile": Try(
        metadata={"annotations": {"container.apparmor.security.beta.kubernetes.io/inference": "unconfined"}}
    ),
    "the template's hash": Try(metadata={"annotations": {"posecluster.io/template-hash": "0000000000"}}),
    "a restart": Try(metadata={"annotations": {"kubectl.kubernetes.io/restartedAt": "2030-01-01T00:00:00Z"}}),
    "annotations of 250 KiB": Try(metadata={"annotations": {"big": "x" * 250_000}}),
    "an owner of one's own choice": Try(
        metadata={"ownerReferences": [{"apiVersion": "v1", "kind": "Secret", "name": "bank", "uid": "1-1"}]}
    ),
    "a finalizer": Try(metadata={"finalizers": ["example.test/for-ever"]}),
    # fields that the API server drops when it is told not to be strict
    "a ServiceAccount": Try({"serviceAccountName": "admin", "automountServiceAccountToken": True}),
    "the node": Try({"hostNetwork": True, "hostPID": True, "nodeName": "master", "hostUsers": True}),
    "the node's files": Try({"volumes": [{"name": "a", "hostPath": {"path": "/"}}]}),
    "privileges": Try({"securityContext": {"privileged": True, "runAsUser": 0}}),
    "more containers": Try({"initContainers": [{"name": "a", "image": "example.test/a"}], "containers": []}),
    "a template": Try({"template": {"spec": {"hostNetwork": True}}, "env": [{"name": "LD_PRELOAD"}]}),
    "addresses of others": Try({"service": {"externalIPs": ["10.0.0.1"], "externalName": "bank.test"}}),
    "a child's selector": Try({"service": {"selector": {"app": "bank"}}, "selector": {"app": "bank"}}),
    # what is not there, or not his
    "a class that is not there": Try({"priorityClassName": "no-such-class"}, outcome="FailedCreate"),
    "another namespace": Try(metadata={"namespace": "kube-system"}, outcome=REFUSED),
    "annotations beyond the limit": Try(metadata={"annotations": {"big": "x" * 270_000}}, outcome=REFUSED),
    "a status of one's own": Try(metadata={"labels": {"forge": "status"}}),
    "a writer's name in managedFields": Try(
        metadata={"managedFields": [{"manager": "posecluster-operator", "operation": "Apply"}]}
    ),
    # allowed, and all that comes of it is what is documented
    "a Secret of the namespace": Try({"auth": {"tokenSecretName": "bank"}}, twin=True),
    "its pull secret": Try({"imagePullSecrets": [{"name": "bank"}]}, twin=True),
    "any node": Try({"nodeSelector": {"a": "b"}, "tolerations": [{"operator": "Exists"}]}, twin=True),
    "a cloud's annotations": Try(
        {"service": {"annotations": {f"example.com/a-{n}": "x" * 4_000 for n in range(32)}}}, twin=True
    ),
    "counting others' pods": Try(
        {"topologySpreadConstraints": [SPREAD | {"labelSelector": {"matchLabels": {"app": "bank"}}}]},
        twin=True,
    ),
    "a port of the nodes": Try({"service": {"type": "NodePort"}}, twin=True),
    "the largest numbers": Try(
        {
            "queueLength": 100_000,
            "drainSeconds": 3_600,
            "workersPerPod": 64,
            "resources": {"limits": {"cpu": "1024"}},
        },
        twin=True,
    ),
}


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
    """Create the PoseCluster as he would who hopes that nobody looks; the status."""
    body = posecluster(name, namespace, **one.spec)
    body["metadata"] |= one.metadata
    body["status"] = {"readyReplicas": 9, "endpoint": "http://evil.test"}
    path = BY_PLURAL["poseclusters"].path(body["metadata"]["namespace"])
    return writer.post(path, json=body, params={"fieldValidation": "Ignore"}).status_code


def check_child(body: Json, cluster: Json) -> None:
    """Only what is documented is in a child, whatever the PoseCluster asks for."""
    name, metadata = cluster["metadata"]["name"], body["metadata"]
    assert metadata["ownerReferences"][0]["uid"] == cluster["metadata"]["uid"]
    assert metadata["labels"]["app.kubernetes.io/name"] == "posecluster"
    assert metadata["labels"].keys() <= {
        f"app.kubernetes.io/{key}" for key in ("name", "instance", "component", "managed-by", "version")
    }
    ours = {"app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/component"}
    annotations = set(metadata.get("annotations", {})) - {"deployment.kubernetes.io/revision"}
    if body["kind"] == "Service":
        assert body["spec"].keys() <= SERVICE_FIELDS | {"externalTrafficPolicy"}
        assert body["spec"]["selector"].keys() == ours
        assert annotations <= set(cluster["spec"]["service"].get("annotations", {}))
        return
    assert annotations == set()
    assert body["spec"]["selector"]["matchLabels"].keys() == ours
    if body["kind"] == "Deployment":
        template = body["spec"]["template"]
        assert template["metadata"]["labels"]["app.kubernetes.io/instance"] == name
        assert set(template["metadata"]["annotations"]) == {"posecluster.io/template-hash"}
        assert template["metadata"]["annotations"]["posecluster.io/template-hash"] != "0000000000"
        check_pod(template["spec"])


def check_pod(pod: Json) -> None:
    assert pod.keys() <= POD_FIELDS
    assert pod["automountServiceAccountToken"] is False
    assert {next(iter(volume.keys() - {"name"})) for volume in pod["volumes"]} <= {"emptyDir", "secret"}
    (container,) = pod["containers"]
    assert not container.keys() & {"command", "args", "envFrom", "lifecycle"}
    assert all(one["name"].startswith("POSECLUSTER_") for one in container["env"])
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.acceptance(22)
def test_what_a_writer_asks_for_stays_within_his_rights(
    api: Api,
    namespace: str,
    writer: httpx.Client,
    player: Player,
    proxy: FaultProxy,
    start_operator: Callable[..., OperatorProcess],
    record_figure: RecordFigure,
) -> None:
    names = prepare(api, namespace)
    operator = start_operator(namespaces=())  # also where the writer may do nothing
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
