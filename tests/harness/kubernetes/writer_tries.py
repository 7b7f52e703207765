"""What a writer of PoseClusters may try: a spec or metadata each, and its outcome."""

from dataclasses import dataclass, field
from typing import Any

from harness.kubernetes.resources import BY_KIND
from harness.kubernetes.waiting import Json

READY, REFUSED, NAME_TAKEN, INVALID = "RolloutComplete", "refused", "NameTaken", "InvalidSpec"


@dataclass(frozen=True, slots=True)
class Try:
    """The requested change, what exists before it, and its outcome: a reason of Progressing, or refused."""

    spec: Json = field(default_factory=dict)
    metadata: Json = field(default_factory=dict)
    outcome: str = READY
    before: Json | None = None
    twin: bool = False


def unmanaged(kind: str, name: str, **metadata: Any) -> Json:
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
REQUIRED, PREFERRED = (f"{when}DuringSchedulingIgnoredDuringExecution" for when in ("required", "preferred"))
SELECTS_ALL = {"topologyKey": "kubernetes.io/os", "labelSelector": {}, "namespaceSelector": {}}
EVERYBODY = {"weight": 100, "podAffinityTerm": SELECTS_ALL | {"namespaces": ["kube-system"]}}
SHOP = {
    "weight": 1,
    "podAffinityTerm": {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "shop"}}},
}
TRIES: dict[str, Try] = {
    # names that others hold
    "a Service's name": Try(outcome=NAME_TAKEN, before=unmanaged("Service", "{}-pose")),
    "the headless Service's name": Try(outcome=NAME_TAKEN, before=unmanaged("Service", "{}-pose-pods")),
    "a Deployment's name": Try(outcome=NAME_TAKEN, before=unmanaged("Deployment", "{}-pose")),
    "a budget's name": Try(
        {"replicas": 2}, outcome=NAME_TAKEN, before=unmanaged("PodDisruptionBudget", "{}-pose")
    ),
    "a budget's name, to have it deleted": Try(
        outcome=NAME_TAKEN, before=unmanaged("PodDisruptionBudget", "{}-pose", labels=OURS)
    ),
    "an object with our labels": Try(outcome=NAME_TAKEN, before=unmanaged("Service", "{}-pose", labels=OURS)),
    "another controller's object": Try(
        outcome=NAME_TAKEN, before=unmanaged("Deployment", "{}-pose", ownerReferences=owned("ReplicaSet"))
    ),
    "another PoseCluster's object": Try(
        outcome=NAME_TAKEN, before=unmanaged("Service", "{}-pose", ownerReferences=owned("PoseCluster"))
    ),
    "an object that a kind of our name owns": Try(
        outcome=NAME_TAKEN,
        before=unmanaged(
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
    # fields that the API server drops without strict validation
    "a ServiceAccount": Try({"serviceAccountName": "admin", "automountServiceAccountToken": True}),
    "the node": Try({"hostNetwork": True, "hostPID": True, "nodeName": "master", "hostUsers": True}),
    "the node's files": Try({"volumes": [{"name": "a", "hostPath": {"path": "/"}}]}),
    "privileges": Try({"securityContext": {"privileged": True, "runAsUser": 0}}),
    "more containers": Try({"initContainers": [{"name": "a", "image": "example.test/a"}], "containers": []}),
    "a template": Try({"template": {"spec": {"hostNetwork": True}}, "env": [{"name": "LD_PRELOAD"}]}),
    "addresses of others": Try({"service": {"externalIPs": ["10.0.0.1"], "externalName": "bank.test"}}),
    "a child's selector": Try({"service": {"selector": {"app": "bank"}}, "selector": {"app": "bank"}}),
    "pods of all namespaces": Try({"affinity": {"podAffinity": {PREFERRED: [EVERYBODY]}}}),
    "keeping others' pods off the nodes": Try({"affinity": {"podAntiAffinity": {REQUIRED: [SELECTS_ALL]}}}),
    # labels and annotations of the pods
    "a label that others' Services select": Try({"podLabels": {"app": "bank"}}, outcome=INVALID),
    "a label beside an allowed one": Try(
        {"podLabels": {"example.com/team": "a", "example.com/bank": "b"}}, outcome=INVALID
    ),
    "an annotation that starts an injector": Try(
        {"podAnnotations": {"sidecar.example.net/inject": "true"}}, outcome=INVALID
    ),
    "an unconfined container": Try(
        {"podAnnotations": {"container.apparmor.security.beta.kubernetes.io/inference": "unconfined"}},
        outcome=INVALID,
    ),
    "the label that our Services select": Try(
        {"podLabels": {"app.kubernetes.io/instance": "bank"}}, outcome=REFUSED
    ),
    # what is not there, or not his
    "a class that is not there": Try({"priorityClassName": "no-such-class"}, outcome="FailedCreate"),
    "another namespace": Try(metadata={"namespace": "kube-system"}, outcome=REFUSED),
    "annotations beyond the limit": Try(metadata={"annotations": {"big": "x" * 270_000}}, outcome=REFUSED),
    "a status of one's own": Try(metadata={"labels": {"forge": "status"}}),
    "a writer's name in managedFields": Try(
        metadata={"managedFields": [{"manager": "posecluster-operator", "operation": "Apply"}]}
    ),
    # allowed, with only the documented effect
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
    "allowed labels and annotations": Try(
        {"podLabels": {"example.com/team": "a"}, "podAnnotations": {"example.com/x": "b"}}, twin=True
    ),
    "pods of the namespace": Try({"affinity": {"podAffinity": {PREFERRED: [SHOP]}}}, twin=True),
    "a load balancer": Try(
        {
            "service": {
                "type": "LoadBalancer",
                "externalTrafficPolicy": "Local",
                "trafficDistribution": "PreferClose",
                "loadBalancerClass": "example.com/a",
            }
        },
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
