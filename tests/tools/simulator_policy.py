"""Lets a trace-driven simulator (see bench/scaling.py) drive the operator's own `decide`.

    python autoscale_sim.py --trace FILE \\
        --policy-module tests/tools/simulator_policy.py:PoseClusterPolicy --set latency_ms=250

`--set` takes the fields of spec.scaling: latency_ms, late_permille, hold_seconds, max_hold_seconds; and
routing, `Random` or `Shared`. The operator need not be installed.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "operator"))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "common"))

from posecluster_operator.scaling.policy import (
    Decision,
    PodSample,
    Policy,
    Routing,
    Samples,
    ServiceLevel,
    State,
    decide,
)

# by the simulator's names: what a Service does, and what keeps queues as equal as one queue for all
_ROUTING = {"random": Routing.RANDOM, "p2c": Routing.SHARED, "least": Routing.SHARED}

Number = float | str


class PoseClusterPolicy:
    """`cfg` is the simulator's SimConfig: it says how many workers and places a pod has, and the bounds."""

    def __init__(
        self,
        cfg: Any,
        *,
        latency_ms: Number = 250,
        late_permille: Number = 10,
        hold_seconds: Number = 60,
        max_hold_seconds: Number = 300,
        routing: str | None = None,
    ) -> None:
        objective = ServiceLevel(
            latency_seconds=float(latency_ms) / 1000,
            late_share=float(late_permille) / 1000,
            workers=cfg.workers,
            queue_length=cfg.queue,
            routing=_ROUTING[cfg.routing] if routing is None else Routing(routing),
        )
        policy = Policy(
            objective=objective,
            min_replicas=cfg.min_replicas,
            max_replicas=cfg.max_replicas,
            hold_seconds=float(hold_seconds),
            max_hold_seconds=float(max_hold_seconds),
        )
        self.state = State(policy=policy)
        self.decision: Decision | None = None

    def decide(self, now: float, samples: Sequence[Any], current: int) -> int:
        """Return the size for `current` pods, those that start included; a sample is a ready pod's."""
        pods = tuple(
            PodSample(
                name=str(pod.pod),
                at=now,
                started=pod.ready_at,
                arrivals=pod.arrivals,
                completed=pod.completed,
                busy_seconds=pod.busy_seconds,
                queued=pod.queue,
                running=pod.busy,
                refused=pod.rejected,
                late=pod.rejected,
            )
            for pod in samples
        )
        self.decision = decide(now, Samples(replicas=current, ready=len(pods), pods=pods), self.state)
        self.state = self.decision.state
        return self.decision.replicas
