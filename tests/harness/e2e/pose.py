"""PoseClusters of a real cluster, small enough that several fit on a node of two processors."""

import time
from dataclasses import dataclass

from harness.e2e.agent import Agent
from harness.e2e.cluster import INFERENCE_IMAGE, make_namespace
from harness.e2e.pods import Inside, is_ready, uids
from harness.kubernetes.api import Api
from harness.kubernetes.facts import wait_rolled_out
from harness.kubernetes.waiting import Json, conditions, posecluster, wait_until

SECONDS = 60.0
# of one worker; the time limits are wide, because a pod has half a processor and starting ones take the rest
SMALL: Json = {
    "image": INFERENCE_IMAGE,
    "model": {"variant": "Lite"},
    "replicas": 2,
    "drainSeconds": 3,
    "queueLength": 64,
    "cache": {"entries": 0},
    "limits": {"deadlineMilliseconds": 20_000},
    "resources": {
        "requests": {"cpu": "50m", "memory": "256Mi"},
        "limits": {"cpu": "700m", "memory": "768Mi"},
    },
}


@dataclass(frozen=True, slots=True)
class Pose:
    """One PoseCluster, by name."""

    api: Api
    namespace: str
    name: str

    @property
    def url(self) -> str:
        """Of its Service, in the cluster."""
        return f"http://{self.name}-pose.{self.namespace}.svc.cluster.local"

    @property
    def labels(self) -> str:
        """That select its pods."""
        return f"app.kubernetes.io/instance={self.name},app.kubernetes.io/component=inference"

    def get(self) -> Json:
        """The PoseCluster, read again."""
        return self.api.get("poseclusters", self.namespace, self.name)

    def condition(self, kind: str) -> Json:
        """One of its conditions; {} before the first look."""
        return conditions(self.get()).get(kind, {})

    def patch(self, **spec: object) -> None:
        """Merge into its spec."""
        self.api.patch("poseclusters", self.namespace, self.name, {"spec": spec})

    def annotate(self, **notes: str | None) -> None:
        """Set posecluster.io/ annotations; None takes one away."""
        metadata = {"annotations": {f"posecluster.io/{key}": text for key, text in notes.items()}}
        self.api.patch("poseclusters", self.namespace, self.name, {"metadata": metadata})

    def pods(self) -> list[Json]:
        """Its pods, those that are ending included."""
        return self.api.list("pods", self.namespace, labels=self.labels)

    def ready_pods(self) -> list[Json]:
        """Its pods that are ready and not ending."""
        return [pod for pod in self.pods() if is_ready(pod)]

    def inside(self, pod: Json) -> Inside:
        """One of its pods, to look into."""
        return Inside(self.api, self.namespace, pod["metadata"]["name"])

    def deployment(self) -> Json:
        """Its Deployment."""
        return self.api.get("deployments", self.namespace, f"{self.name}-pose")

    def wait_rolled_out(self, seconds: float = SECONDS) -> float:
        """Wait until every pod is as the spec says; the seconds it took."""
        begin = time.monotonic()
        wait_rolled_out(self.api, self.namespace, self.name, seconds)
        return time.monotonic() - begin

    def wait_settled(self, count: int, *, without: set[str] | None = None, seconds: float = SECONDS) -> float:
        """Wait until it has so many ready pods, and no others, none of `without` (uids); the seconds."""
        begin = time.monotonic()

        def settled() -> bool:
            pods = self.pods()
            ready = [pod for pod in pods if is_ready(pod)]
            return len(pods) == len(ready) == count and not uids(pods) & (without or set())

        try:
            wait_until(settled, seconds, f"{count} pods of {self.name}")
        except AssertionError as error:
            names = [(pod["metadata"]["name"], pod["status"].get("phase")) for pod in self.pods()]
            raise AssertionError(f"{error}: {names}; {self.get().get('status')}") from None
        return time.monotonic() - begin


@dataclass(slots=True)
class Place:
    """A namespace of a test, or of tests that share what stands in it."""

    api: Api
    namespace: str
    _agent: Agent | None = None

    @property
    def agent(self) -> Agent:
        """Its load generator, made when first asked for."""
        if self._agent is None:
            self._agent = Agent(self.api, self.namespace).start()
        return self._agent

    def pose(self, name: str = "demo", *, wait: bool = True, **spec: object) -> Pose:
        """A PoseCluster that is `SMALL` except for `spec`; waits for its rollout unless `wait` is false."""
        self.api.create(posecluster(name, self.namespace, **(SMALL | spec)))
        made = Pose(self.api, self.namespace, name)
        if wait:
            made.wait_rolled_out()
        return made

    def close(self) -> None:
        """Delete it; the end of the session waits until it has gone."""
        self.api.delete("namespaces", None, self.namespace)


def new_place(api: Api, name: str) -> Place:
    """A new namespace."""
    return Place(api, make_namespace(api, name))
