"""A synchronous admin client for tests: objects in and out as dictionaries, errors as ApiError."""

import json
import os
import subprocess
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import yaml

from harness.kubernetes.accounts import Account, account, operator_account
from harness.kubernetes.apiserver import Server
from harness.kubernetes.resources import BY_KIND, BY_PLURAL
from harness.kubernetes.waiting import Json, conditions, is_settled, wait_until
from harness.programs import find_program
from harness.server import ROOT

CRD_FILE = ROOT / "crds" / "poseclusters.yaml"
_PATCHES = {"merge": "merge-patch", "json": "json-patch", "strategic": "strategic-merge-patch"}
# children before owners; the rest of a namespace's content is deleted kind by kind too
_CONTENT = (
    *("poseclusters", "deployments", "replicasets", "pods", "services", "poddisruptionbudgets"),
    *("events", "leases", "secrets", "configmaps", "resourcequotas", "limitranges"),
    *("horizontalpodautoscalers", "rolebindings", "roles", "serviceaccounts"),
)


class ApiError(AssertionError):
    """The API server (status 0: kubectl) refused a request."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message


class Api:
    """An admin of one API server. `resource` is a plural as in kubectl: `poseclusters`, `pods`."""

    wait_until = staticmethod(wait_until)

    def __init__(self, server: Server) -> None:
        self.server = server
        self.warnings: list[str] = []
        self._client = server.connect()

    def close(self) -> None:
        self._client.close()

    def request(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        params: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        """One raw exchange; any status is an answer."""
        content = None if body is None else json.dumps(body).encode()
        kind = {"Content-Type": "application/json"} | (headers or {})
        response = self._client.request(method, path, content=content, params=params, headers=kind)
        self.warnings += response.headers.get_list("warning")
        return response

    def send(self, method: str, path: str, **options: Any) -> Json:
        """One exchange that must succeed; its document."""
        response = self.request(method, path, **options)
        document: Json = response.json() if response.content else {}
        if response.is_error:
            raise ApiError(response.status_code, document.get("reason", ""), document.get("message", ""))
        return document

    def get(self, resource: str, namespace: str | None, name: str) -> Json:
        """One object; ApiError 404 if there is none."""
        return self.send("GET", BY_PLURAL[resource].path(namespace, name))

    def find(self, resource: str, namespace: str | None, name: str) -> Json | None:
        """One object, or None."""
        response = self.request("GET", BY_PLURAL[resource].path(namespace, name))
        if response.status_code == 404:
            return None
        found: Json = response.raise_for_status().json()
        return found

    def list(self, resource: str, namespace: str | None = None, *, labels: str = "") -> list[Json]:
        """All objects of a namespace, or of all namespaces."""
        params = {"labelSelector": labels} if labels else None
        items: list[Json] = self.send("GET", BY_PLURAL[resource].path(namespace), params=params)["items"]
        return items

    def create(self, manifest: Json, *, dry_run: bool = False) -> Json:
        """POST, with strict field validation."""
        kind = BY_KIND[manifest["kind"]]
        path = kind.path(manifest["metadata"].get("namespace"))
        params = {"fieldValidation": "Strict"} | ({"dryRun": "All"} if dry_run else {})
        return self.send("POST", path, body=manifest, params=params)

    def apply(
        self, manifest: Json, *, manager: str = "test", force: bool = False, dry_run: bool = False
    ) -> Json:
        """Server-side apply."""
        kind, metadata = BY_KIND[manifest["kind"]], manifest["metadata"]
        params = {"fieldManager": manager, "force": str(force).lower(), "fieldValidation": "Strict"}
        params |= {"dryRun": "All"} if dry_run else {}
        return self.send(
            "PATCH",
            kind.path(metadata.get("namespace"), metadata["name"]),
            body=manifest,
            params=params,
            headers={"Content-Type": "application/apply-patch+yaml"},
        )

    def patch(
        self,
        resource: str,
        namespace: str | None,
        name: str,
        patch: Any,
        *,
        subresource: str = "",
        kind: str = "merge",
    ) -> Json:
        """`kind`: merge, json or strategic."""
        path = BY_PLURAL[resource].path(namespace, name, subresource)
        return self.send(
            "PATCH", path, body=patch, headers={"Content-Type": f"application/{_PATCHES[kind]}+json"}
        )

    def patch_status(self, resource: str, namespace: str | None, name: str, status: Json) -> Json:
        """Merge into the status."""
        return self.patch(resource, namespace, name, {"status": status}, subresource="status")

    def replace(
        self, resource: str, namespace: str | None, name: str, body: Json, *, subresource: str = ""
    ) -> Json:
        """PUT."""
        return self.send("PUT", BY_PLURAL[resource].path(namespace, name, subresource), body=body)

    def delete(
        self,
        resource: str,
        namespace: str | None,
        name: str,
        *,
        grace_seconds: int | None = 0,
        propagation: str = "Background",
    ) -> None:
        """Delete one object if it exists. Pods are removed immediately, without a kubelet."""
        options: Json = {"propagationPolicy": propagation}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        try:
            self.send("DELETE", BY_PLURAL[resource].path(namespace, name), body=options)
        except ApiError as error:
            if error.status != 404:
                raise

    def kubectl(
        self, *arguments: str, stdin: str = "", check: bool = True, kubeconfig: Path | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """Run kubectl, as admin unless `kubeconfig` says otherwise; ApiError with its words if it fails."""
        done = subprocess.run(
            [find_program("kubectl"), *arguments],
            env=os.environ | {"KUBECONFIG": str(kubeconfig or self.server.kubeconfig)},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if check and done.returncode:
            raise ApiError(0, f"kubectl {' '.join(arguments)}", done.stderr.strip())
        return done

    def wait_ready(self, namespace: str, name: str, seconds: float = 30.0) -> Json:
        """Wait until a PoseCluster is Ready and its rollout complete; it."""
        last: Json = {}

        def ready() -> bool:
            nonlocal last
            last = self.find("poseclusters", namespace, name) or {}
            return bool(last) and is_settled(last)

        try:
            wait_until(ready, seconds, f"{name} Ready")
        except AssertionError as error:
            raise AssertionError(f"{error}; its status: {json.dumps(last.get('status'))}") from None
        return last

    def wait_condition(
        self,
        namespace: str,
        name: str,
        type: str,  # noqa: A002  as the API calls it
        *,
        status: str | None = None,
        reason: str | None = None,
        seconds: float = 30.0,
    ) -> Json:
        """Wait for a condition of a PoseCluster with this status and reason; the condition."""
        found: Json = {}

        def holds() -> bool:
            nonlocal found
            item = self.find("poseclusters", namespace, name) or {}
            found = conditions(item).get(type, {})
            return bool(found) and status in (None, found["status"]) and reason in (None, found["reason"])

        try:
            wait_until(holds, seconds, f"{type} {status or ''} {reason or ''} of {name}")
        except AssertionError as error:
            raise AssertionError(f"{error}; it is {json.dumps(found)}") from None
        return found

    def install_crd(self, file: Path = CRD_FILE) -> None:
        """Apply the CRD and wait until it is established and served."""
        manifest = yaml.safe_load(file.read_text(encoding="utf-8"))
        name = self.apply(manifest, manager="crd", force=True)["metadata"]["name"]

        def established() -> bool:
            found = conditions(self.get("customresourcedefinitions", None, name))
            return found.get("Established", {}).get("status") == "True"

        wait_until(established, 15, "CRD established")
        path = BY_PLURAL["poseclusters"].path(None)
        wait_until(lambda: self.request("GET", path).status_code == 200, 15, "PoseClusters served")

    def has_nodes(self) -> bool:
        """Whether pods can run here."""
        return bool(self.list("nodes"))

    def make_namespace(self, **labels: str) -> str:
        """A new namespace that enforces restricted pods, also with these labels."""
        name = f"test-{uuid.uuid4().hex[:10]}"
        enforced = {"pod-security.kubernetes.io/enforce": "restricted"}
        metadata = {"name": name, "labels": enforced | labels}
        self.create({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        return name

    def remove_namespace(self, name: str, seconds: float = 30.0) -> None:
        """Delete a namespace with all that is in it; without a controller manager we end it ourselves."""
        if self.find("namespaces", None, name) is None:
            return
        # first, so that nothing new is created in it
        self.delete("namespaces", None, name)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for resource in _CONTENT:
                path = BY_PLURAL[resource].path(name)
                self.request("DELETE", path, body={"gracePeriodSeconds": 0})
            response = self.request("GET", BY_PLURAL["namespaces"].path(None, name))
            if response.status_code == 404:
                return
            body = response.json()
            body["spec"]["finalizers"] = []
            self.request("PUT", BY_PLURAL["namespaces"].path(None, name, "finalize"), body=body)
        raise AssertionError(f"namespace {name} still there after {seconds} s")

    def account(self, namespace: str, name: str, rules: Sequence[Json] = ()) -> Account:
        """A ServiceAccount with these RBAC rules in its namespace."""
        return account(self, namespace, name, rules)

    def operator_account(
        self,
        *,
        namespaces: Sequence[str] = (),
        lease_namespace: str,
        manifests: Sequence[Json] | None = None,
    ) -> Account:
        """The operator's ServiceAccount, in `lease_namespace`, with exactly the rights it says it needs."""
        return operator_account(
            self, namespaces=namespaces, lease_namespace=lease_namespace, manifests=manifests
        )
