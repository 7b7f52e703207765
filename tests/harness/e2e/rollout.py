"""Observing the replacement of pods: the lowest number of ready ones, and when each old one ended."""

import time
from dataclasses import dataclass, field

from harness.e2e.agent import Asked
from harness.e2e.pods import is_ready, uids
from harness.e2e.pose import SECONDS, Pose
from harness.kubernetes.facts import is_rolled_out
from harness.kubernetes.waiting import Json, wait_until


@dataclass(slots=True)
class Rollout:
    """What was seen; times are UNIX times, by uid: when a pod was first seen ending, and first not seen."""

    fewest_ready: int = 1_000
    ending: dict[str, float] = field(default_factory=dict)
    ended: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0

    def look(self, pose: Pose) -> list[Json]:
        """Record the present state of its pods, and return them."""
        now, pods = time.time(), pose.pods()
        self.fewest_ready = min(self.fewest_ready, sum(is_ready(pod) for pod in pods))
        for pod in pods:
            if "deletionTimestamp" in pod["metadata"]:
                self.ending.setdefault(pod["metadata"]["uid"], now)
        for uid in self.ending.keys() - uids(pods):
            self.ended.setdefault(uid, now)
        return pods

    def asked_meanwhile(self, asked: list[Asked]) -> int:
        """How many requests started while any pod was terminating."""
        spans = [(begin, self.ended.get(uid, time.time())) for uid, begin in self.ending.items()]
        return sum(any(low <= one.started <= high for low, high in spans) for one in asked)


def watch_replaced(pose: Pose, old: set[str], *, count: int = 2, seconds: float = SECONDS) -> Rollout:
    """Wait until the present spec is rolled out on `count` pods and all old ones (uids) have gone."""
    seen, begin = Rollout(), time.monotonic()

    def replaced() -> bool:
        pods = seen.look(pose)
        done = len(pods) == count and not uids(pods) & old and all(map(is_ready, pods))
        return done and is_rolled_out(pose.get())

    try:
        wait_until(replaced, seconds, f"all pods of {pose.name} replaced")
    except AssertionError as error:
        raise AssertionError(f"{error}; its status: {pose.get().get('status')}") from None
    seen.seconds = time.monotonic() - begin
    return seen
