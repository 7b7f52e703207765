"""Every right that the operator uses: the table behind the start-up check, deploy/ and the chart. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

NAME = "posecluster-operator"


@dataclass(frozen=True, slots=True)
class Rule:
    """One resource, or subresource (`poseclusters/status`), and what is done to it."""

    group: str
    resource: str
    verbs: tuple[str, ...]

    @property
    def full_name(self) -> str:
        """`deployments.apps`, as in the API server's messages; `poseclusters.posecluster.io/status`."""
        plural, _, subresource = self.resource.partition("/")
        name = f"{plural}.{self.group}" if self.group else plural
        return f"{name}/{subresource}" if subresource else name


_READ = ("get", "list", "watch")
# A server-side apply is authorised as a patch, and as a create too when the object is not there yet.
_KEEP = (*_READ, "create", "patch")

# in every namespace that is watched
WATCHED = (
    Rule("posecluster.io", "poseclusters", _READ),
    Rule("posecluster.io", "poseclusters/status", ("patch",)),
    Rule("apps", "deployments", _KEEP),
    Rule("", "services", _KEEP),
    Rule("policy", "poddisruptionbudgets", (*_KEEP, "delete")),
    Rule("", "pods", ("list", "watch", "patch")),
    Rule("events.k8s.io", "events", ("create", "patch")),
)
# in the Lease's namespace alone
LEASE = (Rule("coordination.k8s.io", "leases", ("get", "create", "update")),)


def manifests(*, namespace: str, watched: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Return the account and its rights; `namespace` is the operator's, and the Lease's.

    `watched` empty: rights in the whole cluster. Else in these namespaces, and nothing cluster-scoped.
    """
    account = _object("v1", "ServiceAccount", NAME, namespace)
    lease = [
        _role("Role", f"{NAME}-lease", LEASE, namespace),
        _binding("Role", f"{NAME}-lease", namespace, account=namespace),
    ]
    if not watched:
        return [
            account,
            _role("ClusterRole", NAME, WATCHED, None),
            _binding("ClusterRole", NAME, None, account=namespace),
            *lease,
        ]
    roles = [
        item
        for where in watched
        for item in (_role("Role", NAME, WATCHED, where), _binding("Role", NAME, where, account=namespace))
    ]
    return [account, *roles, *lease]


def _object(api_version: str, kind: str, name: str, namespace: str | None) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name}
    if namespace is not None:
        metadata["namespace"] = namespace
    metadata["labels"] = {"app.kubernetes.io/name": NAME, "app.kubernetes.io/part-of": "posecluster"}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata}


def _role(kind: str, name: str, rules: Sequence[Rule], namespace: str | None) -> dict[str, Any]:
    return _object("rbac.authorization.k8s.io/v1", kind, name, namespace) | {
        "rules": [
            {"apiGroups": [rule.group], "resources": [rule.resource], "verbs": list(rule.verbs)}
            for rule in rules
        ]
    }


def _binding(role: str, name: str, namespace: str | None, *, account: str) -> dict[str, Any]:
    return _object("rbac.authorization.k8s.io/v1", f"{role}Binding", name, namespace) | {
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role, "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": account}],
    }
