"""Pods of a real cluster: creating, inspecting and killing them."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx

from harness.kubernetes.api import Api
from harness.kubernetes.waiting import Json, conditions, wait_until
from harness.metrics import sum_metric

ADMIN_PORT = 9090
_KILL_SECONDS = 30.0

HARDENED: Json = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "capabilities": {"drop": ["ALL"]},
}

# A process cannot send SIGKILL to the first one of its container; but the kernel ends that one when its
# processor time is over, and who has its user id may say so. Asked for metrics, it uses that time.
_END_FIRST_PROCESS = """
import resource, sys, time, urllib.request
resource.prlimit(1, resource.RLIMIT_CPU, (1, 1))
end = time.monotonic() + 20
while time.monotonic() < end:
    urllib.request.urlopen(f'http://127.0.0.1:{sys.argv[1]}/metrics', timeout=5).read()
"""


def bare_pod_spec(*containers: Json) -> Json:
    """A pod that `restricted` admits, without a Deployment, a token or time to end."""
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 1,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "runAsGroup": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": list(containers),
    }


@dataclass(frozen=True, slots=True)
class Inside:
    """One pod, by name; `port` is where it serves probes and metrics, `prefix` begins these' names."""

    api: Api
    namespace: str
    name: str
    port: int = ADMIN_PORT
    prefix: str = "posecluster_"

    def get(self) -> Json:
        """The pod, read again."""
        return self.api.get("pods", self.namespace, self.name)

    def is_ready(self) -> bool:
        """Whether it is there, ready and not ending."""
        pod = self.api.find("pods", self.namespace, self.name)
        return pod is not None and is_ready(pod)

    def restarts(self) -> int:
        """How often its containers were started again."""
        return sum(one["restartCount"] for one in self.get()["status"].get("containerStatuses", ()))

    def runs_since(self) -> str:
        """When its first container was started; "" while it does not run."""
        first = self.get()["status"].get("containerStatuses", [{}])[0]
        return str(first.get("state", {}).get("running", {}).get("startedAt", ""))

    def address(self) -> str:
        """Its IP as URLs have it, an IPv6 one in brackets; "" while it has none."""
        address = str(self.get()["status"].get("podIP", ""))
        return f"[{address}]" if ":" in address else address

    def python(self, code: str, *arguments: str, check: bool = True) -> str:
        """Run Python in its container, which needs no shell for it; what it printed."""
        command = ["exec", "--namespace", self.namespace, self.name, "--", "python3", "-c", code]
        return self.api.kubectl(*command, *arguments, check=check).stdout

    def admin(self, path: str) -> httpx.Response:
        """GET on its port, through the API server."""
        proxy = f"/api/v1/namespaces/{self.namespace}/pods/{self.name}:{self.port}/proxy"
        return self.api.request("GET", proxy + path)

    def metric(self, name: str, **labels: str) -> float:
        """Sum of a metric's samples that have these labels."""
        text = self.admin("/metrics").raise_for_status().text
        return sum_metric(text, self.prefix + name, labels)

    def health(self) -> Json:
        """Its /healthz, with any status."""
        found: Json = self.admin("/healthz").json()
        return found

    def worker_pids(self) -> list[int]:
        """Its live workers, by their pid in the container."""
        workers: list[dict[str, Any]] = self.health()["workers"]
        return [one["pid"] for one in workers if one["state"] in {"ready", "busy"}]

    def kill(self, pid: int) -> None:
        """SIGKILL to a process in its container; not to the first."""
        self.python(f"import os; os.kill({pid}, 9)")

    def kill_container(self) -> float:
        """End the first process of its container as SIGKILL does; when it ended, as a UNIX time."""
        before = self.runs_since()
        self.python(_END_FIRST_PROCESS, str(self.port), check=False)  # it ends with its container

        def ended() -> str:
            first = self.get()["status"]["containerStatuses"][0]
            last = first["state"].get("terminated") or first["lastState"].get("terminated") or {}
            return str(last["finishedAt"]) if last.get("startedAt") == before else ""

        return datetime.fromisoformat(wait_until(ended, _KILL_SECONDS, f"{self.name} ended")).timestamp()


def is_ready(pod: Json) -> bool:
    """Whether a pod is ready and not ending."""
    ready = conditions(pod).get("Ready", {}).get("status") == "True"
    return ready and "deletionTimestamp" not in pod["metadata"]


def uids(pods: list[Json]) -> set[str]:
    """Of these pods."""
    return {pod["metadata"]["uid"] for pod in pods}


def template_pod(deployment: Json, name: str, **env: str) -> Json:
    """A pod as the Deployment makes them, outside of it and of its Services, with more variables."""
    template = json.loads(json.dumps(deployment["spec"]["template"]))
    spec = template["spec"]
    values = {one["name"]: one["value"] for one in spec["containers"][0]["env"]} | env
    spec["containers"][0]["env"] = [{"name": key, "value": text} for key, text in values.items()]
    metadata = {"name": name, "namespace": deployment["metadata"]["namespace"]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
