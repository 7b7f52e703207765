"""Check 22, the schema's part: it refuses what would give writers of PoseClusters additional rights."""

import json

import pytest

from harness.kubernetes.api import Api, ApiError
from harness.kubernetes.resources import BY_PLURAL
from harness.recorder import RecordFigure
from harness.spec_cases import Json, body

FOREIGN_SELECTOR = {
    "maxSkew": 1,
    "topologyKey": "kubernetes.io/hostname",
    "whenUnsatisfiable": "ScheduleAnyway",
}
SECRET = {"secret": {"secretName": "admin-token"}}
CONTAINER = {"name": "a", "image": "example.test/a"}
REQUIRED, PREFERRED = (f"{when}DuringSchedulingIgnoredDuringExecution" for when in ("required", "preferred"))
TERM = {"topologyKey": "kubernetes.io/hostname"}
NODE_NAME = {"key": "metadata.name", "operator": "In", "values": ["master"]}
TRIES: dict[str, Json] = {
    "another ServiceAccount": {"serviceAccountName": "admin"},
    "another ServiceAccount, the old name": {"serviceAccount": "admin"},
    "its token": {"automountServiceAccountToken": True},
    "the node's files": {"volumes": [{"name": "a", "hostPath": {"path": "/"}}]},
    "another Secret as a volume": {"volumes": [{"name": "a"} | SECRET]},
    "a volume's place": {"volumeMounts": [{"name": "a", "mountPath": "/a"}]},
    "the node's network": {"hostNetwork": True},
    "the node's processes": {"hostPID": True},
    "the node's IPC": {"hostIPC": True},
    "the node's port": {"service": {"hostPort": 80}},
    "privileges of the pod": {"securityContext": {"runAsUser": 0}},
    "privileges of the container": {"containerSecurityContext": {"privileged": True}},
    "capabilities": {"capabilities": {"add": ["SYS_ADMIN"]}},
    "an init container": {"initContainers": [CONTAINER]},
    "a side-car": {"containers": [CONTAINER]},
    "a pod template": {"template": {"spec": {"hostNetwork": True}}},
    "a pod spec": {"podSpec": {"nodeName": "master"}},
    "a node by name": {"nodeName": "master"},
    "a command": {"command": ["sh"]},
    "arguments": {"args": ["-c"]},
    "environment": {"env": [{"name": "LD_PRELOAD", "value": "/a.so"}]},
    "environment from a Secret": {"envFrom": [{"secretRef": {"name": "admin-token"}}]},
    "a runtime class": {"runtimeClassName": "privileged"},
    "pods of all namespaces": {"affinity": {"podAffinity": {REQUIRED: [TERM | {"namespaceSelector": {}}]}}},
    "pods of another namespace": {
        "affinity": {
            "podAntiAffinity": {
                PREFERRED: [{"weight": 1, "podAffinityTerm": TERM | {"namespaces": ["kube-system"]}}]
            }
        }
    },
    "keeping others' pods off the nodes": {
        "affinity": {"podAntiAffinity": {REQUIRED: [TERM | {"labelSelector": {}}]}}
    },
    "a node by its name's field": {
        "affinity": {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [{"matchFields": [NODE_NAME]}]}}}
    },
    "the pods' labels, which Services select": {"podLabels": {"app.kubernetes.io/instance": "bank"}},
    "the ReplicaSet's label": {"podLabels": {"pod-template-hash": "0"}},
    "the order of deletion": {"podAnnotations": {"controller.kubernetes.io/pod-deletion-cost": "9"}},
    "the operator's annotations of pods": {"podAnnotations": {"posecluster.io/template-hash": "0"}},
    "labels of the children": {"labels": {"app.kubernetes.io/name": "bank"}},
    "a selector": {"selector": {"app": "bank"}},
    "another namespace for the Secret": {"auth": {"tokenSecretName": "kube-system/admin"}},
    "a path as the Secret": {"auth": {"tokenSecretName": "../admin"}},
    "another namespace for pull secrets": {"imagePullSecrets": [{"name": "a", "namespace": "kube-system"}]},
    "a class of the system": {"priorityClassName": "system-node-critical"},
    "an address of others": {"service": {"externalIPs": ["10.0.0.1"]}},
    "a name of others": {"service": {"type": "ExternalName"}},
    "the operator's annotations": {"service": {"annotations": {"posecluster.io/paused": "true"}}},
    "a device": {"resources": {"limits": {"example.com/gpu": 1}}},
    "another's pods": {
        "topologySpreadConstraints": [FOREIGN_SELECTOR | {"namespaceSelector": {}}],
    },
}
TWINS: dict[str, Json] = {
    "a Secret of the namespace": {"auth": {"tokenSecretName": "tokens"}},
    "a pull secret": {"imagePullSecrets": [{"name": "registry"}]},
    "a class of one's own": {"priorityClassName": "batch"},
    "an annotation of a cloud": {"service": {"annotations": {"example.com/internal": "true"}}},
    "a port of the nodes": {"service": {"type": "NodePort"}},
    "a kind of node": {"nodeSelector": {"disk": "fast"}, "tolerations": [{"key": "spot"}]},
    "pods of the namespace": {
        "affinity": {
            "podAffinity": {REQUIRED: [TERM | {"labelSelector": {"matchLabels": {"app": "shop"}}}]},
            "podAntiAffinity": {REQUIRED: [TERM]},
        }
    },
    "a label, which the operator judges": {"podLabels": {"example.com/team": "vision"}},
    "a spread": {"topologySpreadConstraints": [FOREIGN_SELECTOR]},
}
WRITER = {"apiGroups": ["posecluster.io"], "resources": ["poseclusters"], "verbs": ["*"]}


@pytest.mark.acceptance(22)
def test_the_schema_refuses_pod_fields_and_references_to_other_objects(
    api: Api, namespace: str, record_figure: RecordFigure
) -> None:
    writer = api.account(namespace, "writer", [WRITER]).kubeconfig()
    for what, spec in TRIES.items():
        refused = api.kubectl(
            "create", "--dry-run=server", "-f-", stdin=text(spec, namespace), check=False, kubeconfig=writer
        )
        assert refused.returncode != 0, what
        assert "unknown field" in refused.stderr or "is invalid" in refused.stderr, (what, refused.stderr)
    for what, spec in TWINS.items():
        taken = api.kubectl(
            "create", "--dry-run=server", "-f-", stdin=text(spec, namespace), check=False, kubeconfig=writer
        )
        assert taken.returncode == 0, (what, taken.stderr)
    record_figure("tries refused by the schema", len(TRIES), bar=">= 30", sample=f"{len(TWINS)} twins taken")
    assert len(TRIES) >= 30
    assert len(TWINS) >= 5


@pytest.mark.acceptance(22)
def test_without_strict_validation_the_fields_are_dropped(api: Api, namespace: str) -> None:
    path = BY_PLURAL["poseclusters"].path(namespace)
    plain = api.request("POST", path, body=body({}, namespace=namespace), params={"dryRun": "All"}).json()[
        "spec"
    ]
    dropped = 0
    for what, spec in TRIES.items():
        try:
            api.create(body(spec, namespace=namespace), dry_run=True)
        except ApiError as error:
            if error.status != 400 or "unknown field" not in error.message:
                continue  # refused with any kind of validation
        sent = body(spec, namespace=namespace)
        answer = api.request("POST", path, body=sent, params={"dryRun": "All", "fieldValidation": "Ignore"})
        assert answer.status_code == 201, what
        stored = answer.json()["spec"]
        assert {key: stored[key] for key in plain} == plain, what
        assert stored.keys() - plain.keys() <= {"imagePullSecrets", "topologySpreadConstraints", "affinity"}
        affinity = json.dumps(stored.get("affinity"))
        assert not [word for word in ("namespace", "matchFields", "labelSelector") if word in affinity], what
        dropped += 1
    assert dropped >= 25


def text(spec: Json, namespace: str) -> str:
    return json.dumps(body(spec, namespace=namespace))
