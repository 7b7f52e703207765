"""The load generator's pod, controlled by the test through the API server's proxy.

with agent.traffic(url, new=2, kept=2) as traffic:
    ...
assert traffic.failures == []
"""

import base64
import itertools
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from typing import Any

import httpx

from harness.client import Reply
from harness.e2e import load_pod
from harness.e2e.cluster import INFERENCE_IMAGE
from harness.e2e.pods import HARDENED, bare_pod_spec
from harness.e2e.release import state
from harness.kubernetes.api import Api
from harness.kubernetes.waiting import Json, conditions, wait_until
from harness.pictures import built_in
from harness.server import ROOT

NAME = "agent"
EXPECTED = ROOT / "tests" / "golden" / "astronaut.json"
TIMEOUT_SECONDS = 30.0  # longer than any deadline: a request is never given up
_START_SECONDS = 60.0
_LAST_SECONDS = 150.0  # for the last answers of a run: each request may be asked again
_MEASURE_SECONDS = 3.0
_TRIES = 3
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, with its retries; times are UNIX times in the cluster.

    status 0: no answer, and `error` says why. kept: on a connection that is kept. last: the answer
    said `Connection: close`. right: 200, with the one person where they are in the picture.
    """

    id: str
    kept: bool
    status: int
    reason: str
    right: bool
    last: bool
    error: str
    tries: int
    started: float
    ended: float


@dataclass(slots=True)
class Traffic:
    """What a run has asked so far."""

    agent: "Agent"
    name: str
    asked: list[Asked] = field(default_factory=list)
    is_over: bool = False
    timed_out: bool = False  # its own time ended it

    @property
    def failures(self) -> list[Asked]:
        """All that was not answered rightly."""
        return [one for one in self.asked if not one.right]

    def count(self, *, kept: bool) -> int:
        """How many were asked on kept connections, or on new ones."""
        return sum(one.kept is kept for one in self.asked)

    def between(self, begin: float, end: float) -> int:
        """How many requests started in this time."""
        return sum(begin <= one.started <= end for one in self.asked)

    def look(self) -> int:
        """Fetch what is new; how many have been asked."""
        found = self.agent.order("GET", f"runs/{self.name}?after={len(self.asked)}")
        self.asked += [Asked(**one) for one in found["asked"]]
        self.is_over, self.timed_out = found["over"], found["timed_out"]
        return len(self.asked)

    def wait(self, more: int, seconds: float = 60.0) -> None:
        """Wait until so many more have been asked than now."""
        goal = self.look() + more
        wait_until(lambda: self.look() >= goal, seconds, f"{more} more requests")

    def wait_total(self, count: int, seconds: float = 120.0) -> None:
        """Wait until so many have been asked in all."""
        wait_until(lambda: self.look() >= count, seconds, f"{count} requests")

    def wait_over(self, seconds: float = _LAST_SECONDS) -> None:
        """Wait until nothing more is asked and the last answer has come."""
        wait_until(lambda: self.look() >= 0 and self.is_over, seconds, f"{self.name} over")

    def rate(self) -> float:
        """Answers a second, from the first request to the last answer."""
        return len(self.asked) / (max(one.ended for one in self.asked) - self.asked[0].started)

    def shown(self) -> str:
        """The sample, for the record."""
        return f"{self.count(kept=False)} on new, {self.count(kept=True)} on kept connections"


@dataclass(slots=True)
class Agent:
    """The pod `agent` of a namespace."""

    api: Api
    namespace: str

    def start(self) -> "Agent":
        """Make it, and wait until it takes orders."""
        for manifest in manifests(self.namespace):
            self.api.create(manifest)
        try:
            wait_until(self._is_ready, _START_SECONDS, "agent ready")
        except AssertionError as error:
            raise AssertionError(f"{error}: {state(self._pod())}") from None
        return self

    @contextmanager
    def traffic(
        self,
        url: str,
        *,
        new: int = 2,
        kept: int = 2,
        every_seconds: float = 0.2,
        retries: int = 0,
        pause_seconds: float = 0.0,
        headers: Mapping[str, str] | None = None,
        most: int = load_pod.MOST_REQUESTS,
        seconds: float | None = None,
    ) -> Iterator[Traffic]:
        """Let so many probers of each kind ask all the while; at the end, wait for their last answers.

        They begin once the URL can be reached: a Service that is new takes a moment to get to each node.
        seconds: ask for so long; without it, AssertionError if the run's own limit ended it first.
        """
        self.wait_reached(url)
        traffic = Traffic(self, f"run{next(_numbers)}")
        order = {
            "url": f"{url}/v1/detect", "new": new, "kept": kept, "every_seconds": every_seconds,
            "retries": retries, "pause_seconds": pause_seconds, "timeout_seconds": TIMEOUT_SECONDS,
            "most": most, "seconds": seconds or load_pod.MOST_SECONDS, "headers": dict(headers or {}),
        }  # fmt: skip
        self.order("POST", f"runs/{traffic.name}", order)
        try:
            yield traffic
        finally:
            self.order("DELETE", f"runs/{traffic.name}")
            traffic.wait_over()
        assert seconds or not traffic.timed_out, "the traffic ended before the test had seen all"

    def capacity(self, url: str, *, pods: int = 1) -> float:
        """Answers a second of so many pods that are never idle."""
        with self.traffic(url, new=0, kept=3 * pods, every_seconds=0.0, seconds=_MEASURE_SECONDS) as traffic:
            traffic.wait_over()
        assert traffic.failures == []
        return traffic.rate()

    def wait_reached(self, url: str) -> None:
        """Wait until the server behind the URL answers."""

        def reached() -> bool:
            return self.send("GET", f"{url}/healthz", timeout_seconds=5).status == 200

        wait_until(reached, _START_SECONDS, f"{url} reached")

    def send(
        self,
        method: str,
        url: str,
        *,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float = 20.0,
    ) -> Reply:
        """One request from within the cluster; status 0 if no answer came, and the body says why."""
        order = {
            "method": method, "url": url, "headers": dict(headers or {}),
            "body": base64.b64encode(body).decode(), "timeout_seconds": timeout_seconds,
        }  # fmt: skip
        found = self.order("POST", "send", order)
        message = Message()
        for key, text in found["headers"]:
            message[key] = text
        content = base64.b64decode(found["body"]) if found["status"] else found["error"].encode()
        if found["status"]:
            message["X-Seconds"] = str(found["seconds"])
        return Reply(found["status"], message, content)

    def order(self, method: str, path: str, body: Any = None) -> Json:
        """One exchange with it; what only asks is sent again if the API server's proxy breaks it off."""
        proxy = f"/api/v1/namespaces/{self.namespace}/pods/{NAME}:{load_pod.PORT}/proxy/"
        tries = _TRIES if method != "POST" or body.get("method") == "GET" else 1
        while True:
            tries -= 1
            try:
                return self.api.send(method, proxy + path, body=body)
            except httpx.TransportError:
                if not tries:
                    raise

    def _pod(self) -> Json:
        return self.api.get("pods", self.namespace, NAME)

    def _is_ready(self) -> bool:
        return conditions(self._pod()).get("Ready", {}).get("status") == "True"


def manifests(namespace: str) -> list[Json]:
    """Its files, and the pod: admitted where `restricted` is enforced, gone at once when deleted."""
    metadata = {"name": NAME, "namespace": namespace}
    script = Path(load_pod.__file__).read_text(encoding="utf-8")
    files = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "data": {"load_pod.py": script, "expected.json": EXPECTED.read_text(encoding="utf-8")},
        "binaryData": {"picture.jpg": base64.b64encode(built_in()).decode()},
    }
    container = {
        "name": NAME,
        "image": INFERENCE_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-u", "/agent/load_pod.py", "/agent"],
        "ports": [{"containerPort": load_pod.PORT}],
        "readinessProbe": {"tcpSocket": {"port": load_pod.PORT}, "periodSeconds": 1},
        "resources": {
            "requests": {"cpu": "20m", "memory": "48Mi"},
            "limits": {"cpu": "1", "memory": "256Mi"},
        },
        "securityContext": HARDENED,
        "volumeMounts": [{"name": "files", "mountPath": "/agent", "readOnly": True}],
    }
    spec = bare_pod_spec(container) | {
        "volumes": [{"name": "files", "configMap": {"name": NAME}}],
        # its Services are named in full: no search list before each look-up
        "dnsConfig": {"options": [{"name": "ndots", "value": "1"}]},
    }
    return [files, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}]


def expected_landmarks() -> dict[str, list[list[float]]]:
    """x, y of the 33 landmarks of the built-in picture by variant (tests/golden/astronaut.json)."""
    found: dict[str, list[list[float]]] = json.loads(EXPECTED.read_text(encoding="utf-8"))
    return found
