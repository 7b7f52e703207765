"""Check 32 on a real cluster: liveness under any load, readiness only with workers; the kubelet agrees."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from harness.client import Reply
from harness.e2e.agent import Agent
from harness.e2e.pods import ADMIN_PORT, Inside, is_ready
from harness.e2e.pose import Place, Pose
from harness.e2e.release import Release
from harness.kubernetes.waiting import wait_until
from harness.recorder import RecordFigure

pytestmark = pytest.mark.serial

SAMPLES = 20  # a state
OVERLOAD = 600  # requests
LIVE_SECONDS = 0.5
BAR = "<= 500 ms (the probe, the load and the cluster share two cores; 100 ms on a quiet machine)"
PROBERS = 12  # on one worker with four places: well over three times what it can do


@dataclass(slots=True)
class Probed:
    """Results of a pod's probes in one state, requested from another pod."""

    agent: Agent
    address: str
    live: list[Reply] = field(default_factory=list)
    ready: list[Reply] = field(default_factory=list)

    def ask(self) -> None:
        base = f"http://{self.address}:{ADMIN_PORT}"
        self.live.append(self.agent.send("GET", f"{base}/livez", timeout_seconds=5))
        self.ready.append(self.agent.send("GET", f"{base}/readyz", timeout_seconds=5))

    @property
    def answered(self) -> list[Reply]:
        """Answers of /livez, which are missing until it listens."""
        return [one for one in self.live if one.status]

    def slowest(self) -> float:
        """Of the answers of /livez, in seconds."""
        return max(float(one.headers["X-Seconds"]) for one in self.answered)

    @property
    def states(self) -> set[tuple[int, str | None]]:
        """Status and reason of each answer of /readyz."""
        return {(one.status, one.reason) for one in self.ready if one.status}


@contextmanager
def judged(record_figure: RecordFigure, state: str, probed: Probed) -> Iterator[Probed]:
    """What holds in every state: /livez is 200, and quick."""
    yield probed
    assert {one.status for one in probed.answered} == {200}, state
    record_figure(
        f"slowest /livez, {state}", probed.slowest() * 1000, bar=BAR, unit="ms", sample=len(probed.answered)
    )
    assert probed.slowest() <= LIVE_SECONDS, state


def ask_until(probed: Probed, fact: Callable[[], bool], what: str) -> None:
    """Ask again and again until it holds, and as often as a sample wants."""

    def done() -> bool:
        probed.ask()
        return len(probed.answered) >= SAMPLES and fact()

    wait_until(done, 60, what)


@pytest.mark.acceptance(32)
def test_probes_in_every_state(release: Release, place: Place, record_figure: RecordFigure) -> None:
    agent = place.agent
    pose = place.pose(replicas=1, wait=False, queueLength=4, drainSeconds=15)
    pod = first_pod(pose)
    address = pod.address()

    with judged(record_figure, "cold start", Probed(agent, address)) as probed:
        ask_until(probed, lambda: probed.ready[-1].status == 200, "ready")
    assert probed.states == {(503, "starting"), (200, None)}
    wait_until(pod.is_ready, 30, "ready for the kubelet")

    with (
        judged(record_figure, "at 3 x C", Probed(agent, address)) as probed,
        agent.traffic(pose.url, new=0, kept=PROBERS, every_seconds=0.0) as traffic,
    ):
        traffic.wait(20)
        ask_until(probed, lambda: traffic.look() >= OVERLOAD, f"{OVERLOAD} asked")
        assert pod.is_ready(), "the kubelet has taken it out of the Service"
    refused = sum(one.reason == "queue_full" for one in traffic.asked)
    # three times its capacity: it answers one of three requests, and refuses the others immediately
    answered = sum(one.right for one in traffic.asked)
    offered = len(traffic.asked) / max(1, answered)
    record_figure("offered at 3 x C, in capacities", offered, bar=">= 3", sample=len(traffic.asked))
    assert answered + refused == len(traffic.asked)
    assert offered >= 3
    assert probed.states == {(200, None)}

    with judged(record_figure, "all workers dead", Probed(agent, address)) as probed:
        for pid in pod.worker_pids():
            pod.kill(pid)
        ask_until(probed, lambda: probed.ready[-1].status == 200, "ready again")
    assert (503, "starting") in probed.states
    assert pod.restarts() == 0

    with judged(record_figure, "draining", Probed(agent, address)) as probed:
        place.api.delete("pods", pod.namespace, pod.name, grace_seconds=None)
        wait_until(lambda: "deletionTimestamp" in pod.get()["metadata"], 10, "ending")
        probed.ask()
        wait_until(lambda: probed.ask() or probed.ready[-1].status == 503, 10, "unready")
        ask_until(probed, lambda: True, "enough samples")
    assert (503, "draining") in probed.states


def first_pod(pose: Pose) -> Inside:
    """Its pod, once it has an address: before anything listens there."""
    wait_until(lambda: [pod for pod in pose.pods() if pod["status"].get("podIP")], 30, "an address")
    (pod,) = pose.pods()
    assert not is_ready(pod)
    return pose.inside(pod)
