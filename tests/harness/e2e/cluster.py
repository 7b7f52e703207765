"""The cluster of KUBECONFIG, the programs and images that the tests need, and a clean namespace.

Tests whose needs are missing are skipped with what to set. A cluster that is not for tests, or that has
another operator or other PoseClusters, is never touched.
"""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

import posecluster_inference
from harness.e2e.nodes import runs_pods
from harness.e2e.pods import is_ready
from harness.e2e.users import Users
from harness.kubernetes.api import Api
from harness.kubernetes.apiserver import named_server
from harness.kubernetes.waiting import Json, wait_until
from harness.programs import find_program

CRD = "poseclusters.posecluster.io"
INFERENCE_IMAGE = f"posecluster-inference:{posecluster_inference.__version__}"
OPERATOR_IMAGE = f"posecluster-operator:{posecluster_inference.__version__}"
# the same image by its whole name: another text, another pod template, nothing to pull
SAME_IMAGE = f"docker.io/library/{INFERENCE_IMAGE}"
# on every namespace that the tests make: what a killed run left is found by it
OURS = "posecluster.io/made-by"
RESTRICTED = {f"pod-security.kubernetes.io/{level}": "restricted" for level in ("enforce", "warn", "audit")}
_GONE_SECONDS = 90.0
_OPERATORS = "app.kubernetes.io/name=posecluster-operator"
_REMOVE = "kubectl delete poseclusters --all --all-namespaces"
_MOST_LISTED = 50  # images that a kubelet reports by default: the largest
_LISTED_SECONDS = 30.0  # until a kubelet reports an image that was just loaded, or that its node is Ready


@contextmanager
def find_cluster(users: Users) -> Iterator[Api]:
    """An admin of the cluster for this session; the last of `users` removes all namespaces of these tests."""
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("set KUBECONFIG to a cluster for tests, or run make kind-up kind-images test-e2e")
    for program in ("kubectl", "helm"):
        find_program(program)
    with tempfile.TemporaryDirectory(prefix="posecluster-e2e-") as folder:
        api = Api(named_server(Path(folder), needs_own_context=True))
        try:
            if said := others(api):
                pytest.skip(said)
            try:
                wait_until(
                    lambda: not unfit(api.list("nodes")), _LISTED_SECONDS, "nodes ready, images listed"
                )
            except AssertionError:
                pytest.skip(unfit(api.list("nodes")))
            with users.change(+1) as now:
                if now == 1:
                    remove_namespaces(api)
            yield api
            with users.change(-1) as now:
                if now == 0:
                    remove_namespaces(api)
        finally:
            api.close()


def others(api: Api) -> str:
    """What of somebody else's in the cluster the tests would break, and what to do; "" if nothing."""
    ours = {one["metadata"]["name"] for one in api.list("namespaces", labels=f"{OURS}=e2e")}
    for one in api.list("deployments", labels=_OPERATORS):
        namespace, notes = one["metadata"]["namespace"], one["metadata"].get("annotations", {})
        if namespace not in ours:
            release = notes.get("meta.helm.sh/release-name")
            way = f"helm uninstall {release} -n {namespace}" if release else "kubectl delete -f what made it"
            return (
                f"an operator that these tests did not install is in the namespace {namespace}."
                f" Remove it and its PoseClusters first: {_REMOVE}; {way}"
            )
    if api.find("customresourcedefinitions", None, CRD) is None:
        return ""
    found = [one["metadata"] for one in api.list("poseclusters")]
    if foreign := sorted({one["namespace"] for one in found} - ours):
        return (
            f"PoseClusters that these tests did not create are in {', '.join(foreign)}. Delete them first:"
            f" {_REMOVE}"
        )
    return ""


def unfit(nodes: Sequence[Json]) -> str:
    """Why pods of the tests could not run on these nodes, and what to do; "" if they could."""
    if silent := [one["metadata"]["name"] for one in nodes if not is_ready(one)]:
        return f"nodes are not Ready: {', '.join(silent)}: start them (kubectl describe node says why)"
    workers = [one for one in nodes if runs_pods(one)]
    if not workers:
        return "no node of the cluster of KUBECONFIG runs pods: add one, or kubectl uncordon it"
    if missing := missing_images(workers):
        return (
            f"images are not on every node that runs pods: {' and '.join(missing)}: make kind-images, or on"
            " another cluster make images, and load them"
        )
    return ""


def missing_images(nodes: Sequence[Json]) -> list[str]:
    """Which of both images one of these nodes says that it lacks; a list that may be cut says nothing."""
    missing = set()
    for node in nodes:
        listed = node["status"].get("images", ())
        if len(listed) >= _MOST_LISTED:
            continue
        # docker.io/library/NAME, localhost/NAME; an image without a name has none or null
        names = {name.rpartition("/")[2] for one in listed for name in one.get("names") or ()}
        missing |= {INFERENCE_IMAGE, OPERATOR_IMAGE} - names
    return sorted(missing)


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
