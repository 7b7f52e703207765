"""What a stolen token of the operator's account is worth: the chart's ValidatingAdmissionPolicy bounds it.

Each attack is a request as the operator's account, with its exact rights. The API server allows it without
the policy (the control), and refuses it with the policy.
"""

import copy
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from harness import chart
from harness.full_spec import FULL_SPEC
from harness.kubernetes.api import Api
from harness.kubernetes.operator_policy import operator_policy, rendered
from harness.kubernetes.resources import BY_KIND, BY_PLURAL
from harness.kubernetes.rights import NAME
from harness.kubernetes.waiting import Json, posecluster
from harness.recorder import RecordFigure
from posecluster_operator.builders.table import Inputs, desired_children
from posecluster_operator.resource.parsing import parse
from posecluster_operator.resource.posecluster import PodDefaults

COST = "controller.kubernetes.io/pod-deletion-cost"
POD, CONTAINER = "/spec/template/spec", "/spec/template/spec/containers/0"
MANAGED_BY = "app.kubernetes.io/managed-by"
SIDECAR: Json = {
    "name": "second",
    "image": "example.test/second:1",
    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
}
VALUES: Json = {
    "operator": {"allowedPodLabels": ["example.com/*"], "allowedPodAnnotations": ["example.com/*"]},
    "admissionPolicy": {"enabled": True, "images": ["registry.example/"]},
}
ALLOWED = {"allowed_labels": ("example.com/*",), "allowed_annotations": ("example.com/*",)}


@dataclass(frozen=True, slots=True)
class Attack:
    """JSON patch of one of the operator's objects; `method` POST creates that object under another name."""

    resource: str
    patch: list[Json] = field(default_factory=list)
    method: str = "PATCH"
    name: str = "demo-pose"


def put(path: str, value: Any, resource: str = "deployments", **options: Any) -> Attack:
    return Attack(resource, [{"op": "add", "path": path, "value": value}], **options)


def remove(path: str, resource: str = "deployments", **options: Any) -> Attack:
    return Attack(resource, [{"op": "remove", "path": path}], **options)


def volume(**source: Any) -> Attack:
    return put(f"{POD}/volumes/-", {"name": "loot", **source})


def security(**fields: Any) -> Attack:
    return Attack(
        "deployments",
        [
            {"op": "add", "path": f"{CONTAINER}/securityContext/{key}", "value": one}
            for key, one in fields.items()
        ],
    )


def init_container(**changes: Any) -> Attack:
    return put(f"{POD}/initContainers", [SIDECAR | changes])


ATTACKS: dict[str, Attack] = {
    # pods
    "run any image in a pod": put("/spec/containers/0/image", "evil.test/a", "pods", name="ours"),
    "label a pod": put("/metadata/labels/app", "bank", "pods", name="ours"),
    "annotate a pod": put("/metadata/annotations/evil", "1", "pods", name="ours"),
    "orphan a pod": remove("/metadata/labels/app.kubernetes.io~1instance", "pods", name="ours"),
    "block the deletion of a pod": put("/metadata/finalizers", ["evil.test/a"], "pods", name="ours"),
    "have another pod deleted first": put("/metadata/annotations", {COST: "-9"}, "pods", name="theirs"),
    # whose object
    "a Deployment without our label": remove("/metadata/labels/app.kubernetes.io~1managed-by", method="POST"),
    "a Deployment of no PoseCluster": remove("/metadata/ownerReferences", method="POST"),
    "a Deployment of a ReplicaSet": put("/metadata/ownerReferences/0/kind", "ReplicaSet", method="POST"),
    "a Deployment with another name": put("/metadata/name", "kube-proxy", method="POST"),
    "a Service with another name": put("/metadata/name", "postgres", "services", method="POST"),
    "a budget without our label": remove(
        "/metadata/labels/app.kubernetes.io~1managed-by", "poddisruptionbudgets", method="POST"
    ),
    "scale a foreign Deployment": put("/spec/replicas", 0, name="theirs"),
    "take a foreign Deployment": Attack("deployments", name="theirs", method="TAKE"),
    "open a foreign Service": put("/spec/type", "NodePort", "services", name="theirs"),
    "loosen a foreign budget": put("/spec/maxUnavailable", 9, "poddisruptionbudgets", name="theirs"),
    "delete a foreign budget": Attack("poddisruptionbudgets", name="theirs", method="DELETE"),
    "block the deletion of a Service": put("/metadata/finalizers", ["evil.test/a"], "services"),
    # selectors
    "a Service before foreign pods": put("/spec/selector", {"app": "bank"}, "services"),
    "a Service before another PoseCluster's pods": put(
        "/spec/selector/app.kubernetes.io~1instance", "other", "services"
    ),
    "a budget for all pods": put("/spec/selector", {}, "poddisruptionbudgets", method="POST"),
    # ServiceAccounts
    "another ServiceAccount": put(f"{POD}/serviceAccountName", "admin"),
    "another ServiceAccount, the old name": put(f"{POD}/serviceAccount", "admin"),
    "a ServiceAccount at creation": put(f"{POD}/serviceAccountName", "admin", method="POST"),
    "the token of the ServiceAccount": put(f"{POD}/automountServiceAccountToken", True),
    "the token, by default": remove(f"{POD}/automountServiceAccountToken"),
    "a projected token": volume(projected={"sources": [{"serviceAccountToken": {"path": "token"}}]}),
    # the node
    "the host's network": put(f"{POD}/hostNetwork", True),
    "the host's processes": put(f"{POD}/hostPID", True),
    "the host's IPC": put(f"{POD}/hostIPC", True),
    "one process namespace": put(f"{POD}/shareProcessNamespace", True),
    "the host's port": put(f"{CONTAINER}/ports/0/hostPort", 8080),
    "a node by name": put(f"{POD}/nodeName", "master"),
    "a runtime class": put(f"{POD}/runtimeClassName", "privileged"),
    "the system's priority": put(f"{POD}/priorityClassName", "system-node-critical"),
    # volumes
    "the host's files": volume(hostPath={"path": "/"}),
    "another Secret": volume(secret={"secretName": "bank"}),
    "a ConfigMap": volume(configMap={"name": "bank"}),
    "a claim": volume(persistentVolumeClaim={"claimName": "bank"}),
    "a CSI volume": volume(csi={"driver": "evil.test"}),
    "an NFS volume": volume(nfs={"server": "192.0.2.1", "path": "/"}),
    # privileges
    "privileges": security(privileged=True, allowPrivilegeEscalation=True),
    "escalation": security(allowPrivilegeEscalation=True),
    "capabilities": security(capabilities={"drop": ["ALL"], "add": ["SYS_ADMIN"]}),
    "default capabilities": security(capabilities={}),
    "root in the container": security(runAsUser=0, runAsNonRoot=False),
    "root in the pod": put(f"{POD}/securityContext/runAsUser", 0),
    "no seccomp": put(f"{POD}/securityContext/seccompProfile", {"type": "Unconfined"}),
    "no seccomp in the container": security(seccompProfile={"type": "Unconfined"}),
    "no AppArmor": security(appArmorProfile={"type": "Unconfined"}),
    "all of /proc": Attack(
        "deployments",
        [*put(f"{POD}/hostUsers", False).patch, *security(procMount="Unmasked").patch],
    ),
    "an SELinux type": put(f"{POD}/securityContext/seLinuxOptions", {"type": "spc_t"}),
    "a sysctl": put(f"{POD}/securityContext/sysctls", [{"name": "kernel.msgmax", "value": "1"}]),
    "a privileged init container": init_container(securityContext={"privileged": True}),
    # what the kubelet does for a container
    "a Secret as variables": put(f"{CONTAINER}/envFrom", [{"secretRef": {"name": "bank"}}]),
    "a Secret's key as a variable": put(
        f"{CONTAINER}/env/-", {"name": "A", "valueFrom": {"secretKeyRef": {"name": "bank", "key": "a"}}}
    ),
    "a command by a probe": put(f"{CONTAINER}/livenessProbe", {"exec": {"command": ["sh"]}}),
    "a request to the node by a probe": put(f"{CONTAINER}/livenessProbe/httpGet/host", "127.0.0.1"),
    "a connection by a probe": put(f"{CONTAINER}/startupProbe", {"tcpSocket": {"port": 22}}),
    "a hook": put(f"{CONTAINER}/lifecycle", {"preStop": {"exec": {"command": ["sh"]}}}),
    # metadata and images of pods
    "a label that others select": put("/spec/template/metadata/labels/app", "bank"),
    "an annotation that injects": put("/spec/template/metadata/annotations/inject", "evil"),
    "an image from elsewhere": put(f"{CONTAINER}/image", "evil.test/miner:1"),
    "an init image from elsewhere": init_container(image="registry.example.evil.test/miner:1"),
    # Services
    "an external name": put(
        "/spec", {"type": "ExternalName", "externalName": "evil.test"}, "services", method="POST"
    ),
    "an external address": put("/spec/externalIPs", ["192.0.2.1"], "services"),
    "an address of the load balancer": put("/spec/loadBalancerIP", "192.0.2.1", "services"),
    # Events and Leases
    "an Event about a node": put("/regarding/kind", "Node", "events", method="POST"),
    "an Event in the kubelet's name": put("/reportingController", "kubelet", "events", method="POST"),
    "rewrite a foreign Event": put("/series", {"count": 9, "lastObservedTime": "2030-01-01T00:00:00.000000Z"},
                                   "events", name="theirs"),
    "another program's Lease": put("/metadata/name", "kube-scheduler", "leases", method="POST"),
}  # fmt: skip
_NOT_PRIVILEGED = "disallowed by cluster policy"


def children(cluster: Json) -> list[Json]:
    """What the operator applies for this PoseCluster."""
    images = PodDefaults(image="registry.example/pose:1", **ALLOWED)
    return list(desired_children(Inputs(cluster=parse(cluster), replicas=2, images=images, version="1")))


def foreign(namespace: str) -> Iterator[Json]:
    """Objects of others, and one pod of the operator."""
    labels = {"app": "bank"}
    pod: Json = {
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [SIDECAR],
    }
    meta = {"name": "theirs", "namespace": namespace, "labels": labels}
    ours = {MANAGED_BY: NAME, "app.kubernetes.io/instance": "demo"}
    yield {"kind": "Pod", "metadata": meta, "spec": pod}
    yield {
        "kind": "Pod",
        "metadata": meta | {"name": "ours", "labels": ours, "annotations": {"a": "b"}},
        "spec": pod,
    }
    template = {"metadata": {"labels": labels}, "spec": pod}
    yield {
        "kind": "Deployment",
        "metadata": meta,
        "spec": {"selector": {"matchLabels": labels}, "template": template},
    }
    yield {"kind": "Service", "metadata": meta, "spec": {"selector": labels, "ports": [{"port": 1}]}}
    yield {"kind": "PodDisruptionBudget", "metadata": meta, "spec": {"selector": {}, "maxUnavailable": 1}}
    yield event(namespace, "theirs", "Pod", "kubelet")


def event(namespace: str, name: str, kind: str, controller: str) -> Json:
    return {
        "kind": "Event",
        "metadata": {"name": name, "namespace": namespace},
        "eventTime": "2030-01-01T00:00:00.000000Z",
        "reportingController": controller,
        "reportingInstance": "a",
        "action": "Reconcile",
        "type": "Normal",
        "reason": "Scaled",
        "regarding": {"kind": kind, "name": "demo", "namespace": namespace},
    }


class Thief:
    """Requests with the token of the operator of `namespace`; nothing is stored."""

    def __init__(self, api: Api, namespace: str, client: httpx.Client) -> None:
        self.api, self.namespace, self.client = api, namespace, client

    def send(self, attack: Attack) -> httpx.Response:
        kind = BY_PLURAL[attack.resource]
        path = kind.path(self.namespace, attack.name)
        params = {"dryRun": "All", "fieldValidation": "Strict", "fieldManager": "thief"}
        if attack.method == "DELETE":
            return self.client.delete(path, params=params)
        if attack.method == "PATCH":
            headers = {"Content-Type": "application/json-patch+json"}
            return self.client.patch(path, json=attack.patch, params=params, headers=headers)
        if attack.method == "TAKE":
            mine = self.api.get("deployments", self.namespace, "demo-pose")["metadata"]
            metadata = {key: mine[key] for key in ("labels", "ownerReferences")}
            headers = {"Content-Type": "application/merge-patch+json"}
            return self.client.patch(path, json={"metadata": metadata}, params=params, headers=headers)
        body = patched(self.sample(attack.resource), attack.patch)
        return self.client.post(kind.path(self.namespace), json=body, params=params)

    def sample(self, resource: str) -> Json:
        """An object that the operator itself may create."""
        if resource == "events":
            return event(self.namespace, "demo.1", "PoseCluster", "posecluster.io/operator")
        if resource == "leases":
            return {"kind": "Lease", "metadata": {"name": NAME, "namespace": self.namespace}, "spec": {}}
        cluster = self.api.get("poseclusters", self.namespace, "demo")
        kind = BY_PLURAL[resource].name
        made = copy.deepcopy(next(one for one in children(cluster) if one["kind"] == kind))
        made["metadata"]["name"] += "-second"
        return made

    def is_refused(self, attack: Attack) -> bool:
        answer = self.send(attack)
        return (
            answer.status_code == 422
            and f"ValidatingAdmissionPolicy '{NAME}.{self.namespace}'" in answer.text
        )


def patched(body: Json, patch: list[Json]) -> Json:
    """JSON patch with operations on mappings and existing items."""
    body = copy.deepcopy(body)
    for one in patch:
        *parents, last = [part.replace("~1", "/") for part in one["path"].split("/")[1:]]
        place: Any = body
        for part in parents:
            place = place[int(part) if isinstance(place, list) else part]
        if one["op"] == "remove":
            del place[last]
        else:
            place[last] = one["value"]
    return body


@pytest.fixture
def thief(api: Api, namespace: str) -> Iterator[Thief]:
    """The operator's account, a PoseCluster with its children, and objects of others."""
    account = api.operator_account(namespaces=(namespace,), lease_namespace=namespace)
    spec = FULL_SPEC | {"service": {"type": "LoadBalancer"}}
    cluster = api.create(posecluster("demo", namespace, **spec))
    context = ssl.create_default_context(cafile=str(api.server.ca_file))
    headers = {"Authorization": f"Bearer {account.token}"}  # without the admin's certificate
    with httpx.Client(base_url=api.server.url, verify=context, headers=headers, trust_env=False) as client:
        thief = Thief(api, namespace, client)
        for one in children(cluster):
            apply(thief, one).raise_for_status()
        for one in foreign(namespace):
            api.create({"apiVersion": BY_KIND[one["kind"]].api_version, **one})
        yield thief


def apply(thief: Thief, manifest: Json) -> httpx.Response:
    metadata = manifest["metadata"]
    return thief.client.patch(
        BY_KIND[manifest["kind"]].path(metadata["namespace"], metadata["name"]),
        json=manifest,
        params={"fieldManager": NAME, "force": "true"},
        headers={"Content-Type": "application/apply-patch+yaml"},
    )


def test_a_stolen_token_can_do_only_what_the_operator_does(
    api: Api, namespace: str, thief: Thief, record_figure: RecordFigure
) -> None:
    before = {what: thief.send(attack) for what, attack in ATTACKS.items()}
    failed = {what: answer.text for what, answer in before.items() if not answer.is_success}
    # an API server without --allow-privileged refuses these by itself
    attacks = {
        what: attack for what, attack in ATTACKS.items() if _NOT_PRIVILEGED not in failed.get(what, "")
    }
    failed = {what: text for what, text in failed.items() if what in attacks}
    assert failed == {}, "the control: without the policy, the API server allows every attack"
    with operator_policy(
        api, namespace, VALUES, in_force=lambda: thief.is_refused(ATTACKS["another ServiceAccount"])
    ):
        allowed = [what for what, attack in attacks.items() if not thief.is_refused(attack)]
        assert allowed == []
        # what the operator does itself, with everything that a spec may ask for
        cluster = api.get("poseclusters", namespace, "demo")
        for one in children(cluster):
            apply(
                thief, one | {"metadata": one["metadata"] | {"annotations": {"again": "1"}}}
            ).raise_for_status()
        for resource in ("deployments", "services", "poddisruptionbudgets", "events", "leases"):
            assert thief.send(Attack(resource, method="POST")).status_code == 201, resource
        assert thief.send(
            put("/metadata/annotations", {"a": "b", COST: "-1"}, "pods", name="ours")
        ).is_success
        assert thief.send(remove("/metadata/labels/app.kubernetes.io~1version")).is_success
        assert thief.send(Attack("poddisruptionbudgets", method="DELETE")).is_success
    record_figure("attacks with a stolen token allowed", len(allowed), bar="0", sample=len(attacks))


def test_what_others_set_does_not_stop_the_operator(api: Api, namespace: str, thief: Thief) -> None:
    """An edit that the operator leaves alone, or reverts in a later write, must not block its own writes."""
    with operator_policy(
        api, namespace, VALUES, in_force=lambda: thief.is_refused(ATTACKS["another ServiceAccount"])
    ):
        api.patch("services", namespace, "demo-pose", {"spec": {"externalIPs": ["192.0.2.1"]}})
        notes = {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "now"}}}
        api.patch("deployments", namespace, "demo-pose", {"spec": {"template": notes}})
        for plural, without in (
            ("deployments", {"ownerReferences": None}),
            ("services", {"labels": {MANAGED_BY: None}, "finalizers": ["example.test/held"]}),
        ):
            api.patch(plural, namespace, "demo-pose", {"metadata": without})
        for one in children(api.get("poseclusters", namespace, "demo")):
            apply(thief, one).raise_for_status()
        assert api.get("services", namespace, "demo-pose")["metadata"]["labels"][MANAGED_BY] == NAME
        api.patch("services", namespace, "demo-pose", {"metadata": {"finalizers": None}})


def test_the_policy_is_for_the_operator_s_account_only(api: Api, namespace: str, thief: Thief) -> None:
    with operator_policy(
        api, namespace, VALUES, in_force=lambda: thief.is_refused(ATTACKS["another ServiceAccount"])
    ):
        patch = {"spec": {"template": {"spec": {"serviceAccountName": "admin"}}}}
        api.patch("deployments", namespace, "theirs", patch)
        api.patch("deployments", namespace, "demo-pose", patch)


def test_releases_have_policies_of_different_names() -> None:
    names = {
        one["metadata"]["name"]
        for namespace in ("one", "two")
        for one in rendered(namespace, {"operator": {"namespaces": [namespace]}})
    }
    assert names == {f"{NAME}.one", f"{NAME}.two"}
    assert chart.render({"fullnameOverride": "mine", "admissionPolicy": {"enabled": True}}, namespace="one")
