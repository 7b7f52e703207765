"""Nodes of the cluster: which of them run the tests' pods, and freezing one of kind's."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from harness.e2e.pods import is_ready
from harness.kubernetes.api import Api
from harness.kubernetes.waiting import Json, wait_until

_READY_SECONDS = 90.0
_ENGINE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Nodes:
    """The nodes of a cluster."""

    api: Api

    def names(self) -> list[str]:
        """Names of the nodes that run the tests' pods: Ready, and without a taint that keeps pods away."""
        return sorted(one["metadata"]["name"] for one in self.api.list("nodes") if runs_pods(one))

    def need(self, count: int) -> list[str]:
        """Return `names()`; skips the test if there are fewer than `count`."""
        names = self.names()
        if len(names) < count:
            pytest.skip(
                f"open: this test needs {count} nodes that run pods, and the cluster has {len(names)}"
            )
        return names

    def are_of_kind(self) -> bool:
        """Whether kind made them: then the cluster's network enforces NetworkPolicies."""
        return all(_engine(one) for one in self.api.list("nodes"))

    @contextmanager
    def frozen(self, name: str) -> Iterator[None]:
        """Stop all processes of a node, as if it had died; at the end it runs again, and is Ready.

        Skips the test if kind did not make the node, or if the container engine that runs it is out of reach.
        """
        engine = _engine(self.api.get("nodes", None, name))
        if not engine or not _works(engine, "inspect", name):
            pytest.skip(f"open: this test freezes a node of kind, and no container engine here runs {name}")
        try:
            assert _works(engine, "pause", name), f"{engine} cannot pause {name}"
            yield
        finally:
            _works(engine, "unpause", name)
            wait_until(lambda: name in self.names(), _READY_SECONDS, f"{name} Ready again")


def runs_pods(node: Json) -> bool:
    """Whether a node takes pods without tolerations; a cordoned one gets its taint a moment later."""
    spec = node["spec"]
    is_open = all(taint["effect"] == "PreferNoSchedule" for taint in spec.get("taints", ()))
    return is_ready(node) and is_open and not spec.get("unschedulable")


def _engine(node: Json) -> str:
    """The container engine whose container is this node, docker or podman; "" if kind did not make it."""
    # kind://ENGINE/CLUSTER/NODE
    provider, _, rest = node["spec"].get("providerID", "").partition("://")
    return str(rest.partition("/")[0]) if provider == "kind" else ""


def _works(*command: str) -> bool:
    try:
        done = subprocess.run(command, capture_output=True, timeout=_ENGINE_SECONDS, check=False)
    except FileNotFoundError:
        return False
    return done.returncode == 0
