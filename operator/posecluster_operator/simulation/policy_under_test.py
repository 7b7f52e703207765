"""The operator's policy: its autoscaler, with a tick every second and a pass for each new size."""

from dataclasses import dataclass

from posecluster_operator.scaling.policy import Autoscaler, Decision, Policy, Samples, Scrape


@dataclass(frozen=True, slots=True)
class Change:
    """A change of size and its decision."""

    at: float
    before: int
    decision: Decision


class Own:
    """Runs ticks and passes as the operator does, and records the changes for the report."""

    def __init__(self, policy: Policy, *, size: int) -> None:
        self.period_seconds = policy.windows.tick_seconds
        self._policy = policy
        self._autoscaler = Autoscaler(0.0, policy, replicas=size, ready=size)
        self.changes: list[Change] = []

    def size(self, now: float, samples: Samples) -> int:
        """Return the size after the tick and, if it wakes one, the pass."""
        autoscaler, before = self._autoscaler, samples.replicas or 0
        pods = {pod.name: pod for pod in samples.pods}
        if autoscaler.tick(now, Scrape(pods=pods, stale_seconds=samples.stale_seconds)):
            autoscaler.confirm(now, self._policy, replicas=before, taken_over=False)
            autoscaler.ordered(autoscaler.decision.replicas)
        if autoscaler.decision.replicas != before:
            self.changes.append(Change(now, before, autoscaler.decision))
        return autoscaler.decision.replicas
