"""The operator's own way of sizing: the same `decide`, every second."""

from dataclasses import dataclass

from posecluster_operator.autoscaler import Decision, Policy, Samples, State, decide


@dataclass(frozen=True, slots=True)
class Change:
    """A change of size, and the decision behind it."""

    at: float
    before: int
    decision: Decision


class Own:
    """Keeps the state from one decision to the next, as the operator does, and the changes for the report."""

    period_seconds = 1.0

    def __init__(self, policy: Policy) -> None:
        self._state = State(policy=policy)
        self.changes: list[Change] = []

    def size(self, now: float, samples: Samples) -> int:
        """Return what `decide` says."""
        decision = decide(now, samples, self._state)
        self._state = decision.state
        if decision.replicas != samples.replicas:
            self.changes.append(Change(now, samples.replicas or 0, decision))
        return decision.replicas
