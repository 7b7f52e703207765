"""Check 17 on a real cluster: three rollouts that cannot succeed cost nothing, are reported, and recover."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest

from harness.e2e.agent import Traffic
from harness.e2e.cluster import INFERENCE_IMAGE, OPERATOR_IMAGE
from harness.e2e.pods import is_ready, uids
from harness.e2e.pose import Place, Pose
from harness.e2e.release import Release
from harness.kubernetes.facts import is_rolled_out
from harness.kubernetes.waiting import Json, conditions, wait_until
from harness.recorder import RecordFigure

SIZE = 2
TOLD_SECONDS, HEALED_SECONDS = 120.0, 60.0
LEAST, LEAST_IN_ALL = 100, 400
MISSING_IMAGE = "registry.invalid/posecluster-inference:none"


@dataclass(frozen=True, slots=True)
class Fault:
    """What breaks the rollout and what repairs it; the expected reason, with parts of the pod's message."""

    breaks: Json
    heals: Json
    reason: str
    words: str


FAULTS = {
    "pull": Fault({"image": MISSING_IMAGE}, {"image": INFERENCE_IMAGE}, "ImagePullBackOff", MISSING_IMAGE),
    # an operator without its rights reports that, and exits
    "exit": Fault({"image": OPERATOR_IMAGE}, {"image": INFERENCE_IMAGE}, "CrashLoopBackOff", "exit code 1"),
    # no room to start its workers before the rollout counts as stuck
    "unready": Fault(
        {"workersPerPod": 8, "model": {"variant": "Heavy"}, "resources": {"limits": {"cpu": "100m"}}},
        {"workersPerPod": None, "model": {"variant": "Lite"}, "resources": {"limits": {"cpu": "700m"}}},
        "ProgressDeadlineExceeded",
        "did not become ready",
    ),
}


@dataclass(slots=True)
class Watched:
    """A PoseCluster on its way into a fault and out of it; each look asserts that its pods stay ready."""

    pose: Pose
    fault: Fault
    serving: set[str]
    began: float = 0.0
    told: float = 0.0
    healed: float = 0.0
    message: str = ""
    found: Json = field(default_factory=dict)

    def look(self) -> None:
        ready = uids([pod for pod in self.pose.pods() if is_ready(pod)])
        assert self.serving <= ready, f"{self.pose.name}: pods that were ready are not any more"

    def step(self) -> bool:
        """Continue with the next step; return whether it has recovered."""
        if self.healed:
            return True
        self.look()
        now, item = time.monotonic(), self.pose.get()
        if not self.told:
            self.found = conditions(item)["Progressing"]
            is_current = self.found["observedGeneration"] == item["metadata"]["generation"]
            if is_current and (self.found["status"], self.found["reason"]) == ("False", self.fault.reason):
                self.told, self.message = now - self.began, self.found["message"]
                assert conditions(item)["Available"]["status"] == "True"
                self.pose.patch(**self.fault.heals)
                self.began = now
            assert now - self.began < TOLD_SECONDS, f"{self.pose.name}: not told: {self.found}"
            return False
        if is_rolled_out(item) and len(self.pose.pods()) == SIZE:
            self.healed = now - self.began
        assert now - self.began < HEALED_SECONDS, f"{self.pose.name}: not healed: {item['status']}"
        return self.healed > 0


@pytest.fixture
def traffics(place: Place) -> Iterator[ExitStack]:
    """Ends the requests to several PoseClusters together."""
    with ExitStack() as stack:
        yield stack


@pytest.mark.acceptance(17)
@pytest.mark.timeout(240)
def test_three_bad_rollouts_cost_nothing_say_why_and_heal(
    release: Release, place: Place, traffics: ExitStack, record_figure: RecordFigure
) -> None:
    """All three in parallel, on separate PoseClusters: most of the time is Kubernetes' progress deadline."""
    poses = {name: place.pose(name, wait=False) for name in FAULTS}
    watched: list[Watched] = []
    asked: dict[str, Traffic] = {}
    for name, pose in poses.items():
        pose.wait_rolled_out()
        watched.append(Watched(pose, FAULTS[name], uids(pose.ready_pods())))
        run = place.agent.traffic(pose.url, new=1, kept=1, every_seconds=0.4)
        asked[name] = traffics.enter_context(run)
    for one in watched:
        one.began = time.monotonic()
        one.pose.patch(**one.fault.breaks)

    def all_healed() -> bool:
        return sum(one.step() for one in watched) == len(watched)

    wait_until(all_healed, TOLD_SECONDS + HEALED_SECONDS, "all healed")
    for traffic in asked.values():
        traffic.wait_total(LEAST)
    traffics.close()

    for one in watched:
        name, traffic = one.pose.name, asked[one.pose.name]
        record_figure(f"{name}: failed requests", len(traffic.failures), bar="0", sample=traffic.shown())
        record_figure(f"{name}: told after", one.told, bar=f"<= {TOLD_SECONDS:.0f} s", unit="s")
        record_figure(
            f"{name}: reverted, Ready after", one.healed, bar=f"<= {HEALED_SECONDS:.0f} s", unit="s"
        )
        assert one.fault.words in one.message
        assert traffic.failures == []
        one.look()
    assert sum(len(traffic.asked) for traffic in asked.values()) >= LEAST_IN_ALL
