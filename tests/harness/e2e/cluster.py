"""The cluster that KUBECONFIG names, the programs and images that these tests need, and a clean place.

What is not there is told as a skip, with what to set; a cluster that is not for tests is never touched.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import posecluster_inference
from harness.kubernetes.api import Api
from harness.kubernetes.apiserver import find_kubectl, named_server
from harness.kubernetes.waiting import Json, wait_until

CRD = "poseclusters.posecluster.io"
INFERENCE_IMAGE = f"posecluster-inference:{posecluster_inference.__version__}"
OPERATOR_IMAGE = f"posecluster-operator:{posecluster_inference.__version__}"
# the same image by its whole name: another text, another pod template, nothing to pull
SAME_IMAGE = f"docker.io/library/{INFERENCE_IMAGE}"
# on every namespace that the tests make: what a killed run left is found by it
OURS = "posecluster.io/made-by"
RESTRICTED = {f"pod-security.kubernetes.io/{level}": "restricted" for level in ("enforce", "warn", "audit")}
_GONE_SECONDS = 90.0


@contextmanager
def find_cluster() -> Iterator[Api]:
    """An admin of the cluster for this session; all namespaces of these tests are gone at its end."""
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("set KUBECONFIG to a cluster for tests: make kind-up, or any whose context says so")
    find_kubectl()
    find_helm()
    with tempfile.TemporaryDirectory(prefix="posecluster-e2e-") as folder:
        api = Api(named_server(Path(folder), needs_own_context=True))
        try:
            if not api.has_nodes():
                pytest.skip("the cluster of KUBECONFIG has no node: these tests need pods that run")
            remove_namespaces(api)
            yield api
            remove_namespaces(api)
        finally:
            api.close()


def find_helm() -> str:
    """The helm beside kubectl in KUBEBUILDER_ASSETS, else the one in PATH; skips if there is none."""
    beside = Path(os.environ.get("KUBEBUILDER_ASSETS") or "/nonexistent") / "helm"
    found = str(beside) if beside.exists() else shutil.which("helm")
    if found is None:
        pytest.skip("no helm in PATH or KUBEBUILDER_ASSETS")
    return found


def make_namespace(api: Api, name: str, **labels: str) -> str:
    """A namespace that enforces `restricted`, warns and audits by it."""
    metadata = {"name": name, "labels": RESTRICTED | {OURS: "e2e"} | labels}
    api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    return name


def remove_namespaces(api: Api) -> None:
    """Delete every namespace that these tests made, and wait until all are gone."""

    def left() -> list[Json]:
        return api.list("namespaces", labels=f"{OURS}=e2e")

    for one in left():
        api.delete("namespaces", None, one["metadata"]["name"])
    wait_until(lambda: not left(), _GONE_SECONDS, "the tests' namespaces gone")
