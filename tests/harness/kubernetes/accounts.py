"""ServiceAccounts with exact rights, their tokens and kubeconfigs."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.kubernetes import rights
from harness.kubernetes.certificates import write_kubeconfig
from harness.kubernetes.waiting import Json

if TYPE_CHECKING:
    from harness.kubernetes.api import Api

_TOKEN_SECONDS = 3_600
_RBAC = "rbac.authorization.k8s.io"


class Account:
    """A ServiceAccount with a token; `bindings` are what gives it rights."""

    def __init__(self, api: "Api", *, namespace: str, name: str) -> None:
        self.api = api
        self.namespace = namespace
        self.name = name
        self.bindings: list[Json] = []
        api.apply(_object("v1", "ServiceAccount", name, namespace))
        self.token = self.new_token()

    @property
    def subject(self) -> str:
        """What the API server and a proxy's calls name it."""
        return f"system:serviceaccount:{self.namespace}:{self.name}"

    def new_token(self, seconds: int = _TOKEN_SECONDS) -> str:
        """Another token; earlier ones stay valid."""
        path = f"/api/v1/namespaces/{self.namespace}/serviceaccounts/{self.name}/token"
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": seconds},
        }
        token: str = self.api.send("POST", path, body=body)["status"]["token"]
        return token

    def kubeconfig(self, url: str | None = None) -> Path:
        """A file for this account and `url`: a proxy's (plain http), or None for the server itself.

        kubectl sends no token over plain http.
        """
        server = self.api.server
        tail = "direct" if url is None else url.rpartition(":")[2]
        path = server.folder / f"{self.namespace}-{self.name}-{tail}.kubeconfig"
        ca_file = server.ca_file if url is None else None
        return write_kubeconfig(path, server=url or server.url, ca_file=ca_file, user={"token": self.token})

    def grant(self, role: Json) -> None:
        """Make a Role or ClusterRole and bind it to this account; a ClusterRole holds everywhere."""
        self.api.apply(role)
        self.bind(role["kind"], role["metadata"]["name"], role["metadata"].get("namespace"))

    def bind(self, kind: str, name: str, namespace: str | None) -> None:
        """Bind a role that is there, in its namespace or, a ClusterRole, everywhere."""
        binding = _object(f"{_RBAC}/v1", f"{kind}Binding", f"{self.namespace}-{self.name}-{name}", namespace)
        binding["roleRef"] = {"apiGroup": _RBAC, "kind": kind, "name": name}
        binding["subjects"] = [{"kind": "ServiceAccount", "name": self.name, "namespace": self.namespace}]
        self.bindings.append(binding)
        self.api.apply(binding)

    def revoke(self) -> None:
        """Take all rights away; `restore` puts them back."""
        for binding in self.bindings:
            plural = binding["kind"].lower() + "s"
            self.api.delete(plural, binding["metadata"].get("namespace"), binding["metadata"]["name"])

    def restore(self) -> None:
        """After `revoke`."""
        for binding in self.bindings:
            self.api.apply(binding)


def account(api: "Api", namespace: str, name: str, rules: Sequence[Json] = ()) -> Account:
    """A ServiceAccount that has these RBAC rules in its own namespace."""
    made = Account(api, namespace=namespace, name=name)
    if rules:
        role = _object(f"{_RBAC}/v1", "Role", name, namespace)
        role["rules"] = copy.deepcopy(list(rules))
        made.grant(role)
    return made


def _object(api_version: str, kind: str, name: str, namespace: str | None) -> Json:
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata}


def operator_account(
    api: "Api", *, namespaces: Sequence[str], lease_namespace: str, manifests: Sequence[Json] | None = None
) -> Account:
    """The operator's account with exactly the rights of its table; empty `namespaces`: cluster-wide.

    `manifests`: the same from elsewhere, as the chart renders them.
    """
    if manifests is None:
        manifests = rights.manifests(namespace=lease_namespace, watched=tuple(namespaces))
    for manifest in manifests:
        # the cluster-wide ones may be left over from an operator of another namespace
        api.apply(manifest, force=True)
    made = Account(api, namespace=lease_namespace, name=rights.NAME)
    made.bindings = [one for one in manifests if one["kind"].endswith("Binding")]
    return made
