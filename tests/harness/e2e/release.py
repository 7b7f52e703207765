"""The chart of this checkout as a release: installed by helm, inspected, and removed completely."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import yaml

from harness.e2e.cluster import CRD, make_namespace, others
from harness.e2e.pods import Inside, is_ready
from harness.kubernetes.api import Api
from harness.kubernetes.waiting import Json, wait_until
from harness.programs import find_program
from harness.server import ROOT

CHART = ROOT / "charts" / "posecluster"
NAME, NAMESPACE, OPERATOR = "posecluster", "posecluster-e2e", "posecluster-operator"
OPERATOR_PORT = 9091
_PODS = f"app.kubernetes.io/instance={NAME},app.kubernetes.io/component=operator"
_SECONDS = 60.0


class HelmFailed(AssertionError):
    """helm failed; the message is helm's."""


@dataclass(slots=True)
class Release:
    """`posecluster` in a namespace of its own that enforces `restricted`."""

    api: Api

    def helm(self, *arguments: str) -> str:
        """Run helm in the release's namespace; return its output."""
        done = subprocess.run(
            [find_program("helm"), "--namespace", NAMESPACE, *arguments],
            env=os.environ | {"KUBECONFIG": str(self.api.server.kubeconfig)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if done.returncode:
            raise HelmFailed(f"helm {' '.join(arguments)}: {done.stderr.strip()}\n{self.digest()}")
        return done.stdout + done.stderr

    def install(self, chart: Path = CHART, **values: str) -> str:
        """`helm install --wait`, into a namespace that is made if it is not there."""
        if self.api.find("namespaces", None, NAMESPACE) is None:
            make_namespace(self.api, NAMESPACE)
        return self.helm("install", NAME, str(chart), *_waiting(), *_set(values))

    def upgrade(self, chart: Path = CHART, **values: str) -> str:
        """`helm upgrade --wait`, with the chart's values and these."""
        return self.helm("upgrade", NAME, str(chart), *_waiting(), *_set(values))

    def rollback(self, revision: int) -> str:
        """`helm rollback --wait` to a revision."""
        return self.helm("rollback", NAME, str(revision), *_waiting())

    def uninstall(self) -> str:
        """`helm uninstall`, and wait until the operator's pods have gone too."""
        said = self.helm("uninstall", NAME, "--wait", "--timeout", f"{_SECONDS:.0f}s")
        wait_until(lambda: not self.pods(), _SECONDS, "operator gone")
        return said

    def revision(self) -> int:
        """Number of the revision that is deployed; 0 if there is no release."""
        found = yaml.safe_load(self.helm("list", "--output", "yaml", "--filter", f"^{NAME}$"))
        return int(found[0]["revision"]) if found else 0

    def ensure(self) -> "Release":
        """Install it if it is not there, put it right if a test left it otherwise; it is ready."""
        if self.api.find("namespaces", None, NAMESPACE) is None or not self.revision():
            self.install()
        elif self.deployment()["spec"]["replicas"] != 1:
            self.scale(1)
        self.wait_ready()
        return self

    def remove_all(self) -> None:
        """Uninstall it with what helm leaves: the CRD, and with it every PoseCluster; the namespace.

        AssertionError, and nothing is touched, if somebody else has an operator or PoseClusters here.
        """
        assert not (said := others(self.api)), said
        if self.api.find("namespaces", None, NAMESPACE) is not None:
            if self.revision():
                self.uninstall()
            self.api.delete("namespaces", None, NAMESPACE)
            wait_until(
                lambda: self.api.find("namespaces", None, NAMESPACE) is None, _SECONDS, "namespace gone"
            )
        self.api.delete("customresourcedefinitions", None, CRD)
        wait_until(
            lambda: self.api.find("customresourcedefinitions", None, CRD) is None, _SECONDS, "CRD gone"
        )

    def deployment(self) -> Json:
        """The operator's."""
        return self.api.get("deployments", NAMESPACE, OPERATOR)

    def pods(self) -> list[Json]:
        """The operator's, those that are ending included."""
        return self.api.list("pods", NAMESPACE, labels=_PODS)

    def ready_pods(self) -> list[Json]:
        """The operator's that are ready and not ending."""
        return [pod for pod in self.pods() if is_ready(pod)]

    def scale(self, replicas: int) -> None:
        """So many operators, by kubectl scale's way; 0: wait until the last has gone."""
        self.api.patch("deployments", NAMESPACE, OPERATOR, {"spec": {"replicas": replicas}})
        if replicas == 0:
            wait_until(lambda: not self.pods(), _SECONDS, "no operator")
        else:
            self.wait_ready()

    def wait_ready(self) -> None:
        """Wait until as many operators as are wanted are ready, and no other is there."""

        def ready() -> bool:
            wanted = self.deployment()["spec"]["replicas"]
            return bool(len(self.pods()) == len(self.ready_pods()) == wanted)

        try:
            wait_until(ready, _SECONDS, "operator ready")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.digest()}") from None

    def inside(self, name: str = "") -> Inside:
        """An operator's pod, to look into: the one of this name, else the first that is ready."""
        name = name or self.ready_pods()[0]["metadata"]["name"]
        return Inside(self.api, NAMESPACE, name, port=OPERATOR_PORT, prefix="posecluster_operator_")

    def holder(self) -> str:
        """The holder of the Lease; "" if there is none."""
        lease = self.api.find("leases", NAMESPACE, OPERATOR) or {}
        return str(lease.get("spec", {}).get("holderIdentity") or "")

    def digest(self) -> str:
        """The operator's pods in a line each, for messages."""
        lines = [f"{pod['metadata']['name']}: {state(pod)}" for pod in self.pods()]
        return "\n".join(lines) or "no operator pod is there"


def state(pod: Json) -> str:
    """How a pod is, in a few words; a missing image says what to do."""
    waiting = [
        one["state"]["waiting"]
        for one in pod.get("status", {}).get("containerStatuses", ())
        if "waiting" in one["state"]
    ]
    text = str(pod.get("status", {}).get("phase", "")) + "".join(f", {one.get('reason')}" for one in waiting)
    is_missing = any(one.get("reason", "").startswith(("ErrImage", "ImagePull")) for one in waiting)
    return text + (" (images are expected on the node: make images)" if is_missing else "")


def renumbered(folder: Path, version: str) -> Path:
    """A copy of the chart that says it is `version`: the release before this one, until there is one."""
    copy = folder / f"chart-{version}"
    shutil.copytree(CHART, copy)
    file = copy / "Chart.yaml"
    document = yaml.safe_load(file.read_text(encoding="utf-8"))
    document["version"] = version
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    return copy


def _waiting() -> tuple[str, ...]:
    return ("--wait", "--timeout", f"{_SECONDS:.0f}s")


def _set(values: dict[str, str]) -> list[str]:
    """Keyword names stand for the chart's: `operator__image__tag`."""
    return [part for key, text in values.items() for part in ("--set", f"{key.replace('__', '.')}={text}")]
