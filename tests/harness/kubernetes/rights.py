"""The operator's account with the rights of the operator's own table: what the chart must render."""

from collections.abc import Sequence

from harness.kubernetes.waiting import Json
from posecluster_operator.kube.permissions import LEASE, WATCHED, Rule

NAME = "posecluster-operator"
_RBAC = "rbac.authorization.k8s.io"


def rules(table: Sequence[Rule]) -> list[Json]:
    """RBAC rules of a table of rights."""
    return [
        {"apiGroups": [rule.group], "resources": [rule.resource], "verbs": list(rule.verbs)}
        | ({"resourceNames": [NAME]} if rule.ours else {})
        for rule in table
    ]


def manifests(*, namespace: str, watched: Sequence[str] = ()) -> list[Json]:
    """The account and its rights; `namespace` is the operator's, and the Lease's.

    `watched` empty: rights in the whole cluster. Else in these namespaces, and nothing cluster-scoped.
    """
    kind = "Role" if watched else "ClusterRole"
    return [
        _object("v1", "ServiceAccount", NAME, namespace),
        *(
            item
            for where in watched or (None,)
            for item in (
                _role(kind, NAME, WATCHED, where),
                _binding(kind, NAME, where, account=namespace),
            )
        ),
        _role("Role", f"{NAME}-lease", LEASE, namespace),
        _binding("Role", f"{NAME}-lease", namespace, account=namespace),
    ]


def _object(api_version: str, kind: str, name: str, namespace: str | None) -> Json:
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata}


def _role(kind: str, name: str, table: Sequence[Rule], namespace: str | None) -> Json:
    return _object(f"{_RBAC}/v1", kind, name, namespace) | {"rules": rules(table)}


def _binding(kind: str, name: str, namespace: str | None, *, account: str) -> Json:
    return _object(f"{_RBAC}/v1", f"{kind}Binding", name, namespace) | {
        "roleRef": {"apiGroup": _RBAC, "kind": kind, "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": account}],
    }
