"""Decisions and samples of the autoscaler, for tests of the code around it."""

from posecluster_operator.resource.reasons import ScalingReason
from posecluster_operator.scaling.policy import (
    Decision,
    Load,
    Numbers,
    PodSample,
    Policy,
    ServiceLevel,
    State,
)

OBJECTIVE = ServiceLevel(latency_seconds=0.25, late_share=0.01, workers=2, queue_length=16)
POLICY = Policy(objective=OBJECTIVE, min_replicas=1, max_replicas=10)
NUMBERS = Numbers(
    requests_per_second=31.2,
    busy_seconds=20.0,
    refused_per_second=2.0,
    service_seconds=0.095,
    utilisation=0.46,
    steady_pods=3.1,
    burst_pods=4.6,
    highest_pods=4.6,
    highest_age_seconds=12.0,
    hold_seconds=60.0,
    watched_seconds=400.0,
    ready=3,
    measured=3,
)


def load(**figures: int) -> Load:
    """Of three pods that are busy."""
    usual = {"queued": 4, "running": 6, "requests_per_second": 31, "late_permille": 5, "scraped_pods": 3}
    return Load(**usual | figures)


def decision(
    replicas: int = 3,
    reason: ScalingReason = ScalingReason.STEADY,
    *,
    blind: ScalingReason | None = None,
    measured: bool = True,
    **figures: int,
) -> Decision:
    """A decision in `Auto`; `figures` are those of its load."""
    return Decision(
        replicas=replicas,
        reason=reason,
        blind=blind,
        load=load(**figures) if measured else None,
        numbers=NUMBERS if measured else None,
        state=State(policy=POLICY),
    )


def fixed_decision(replicas: int = 1) -> Decision:
    """A decision in `Fixed`."""
    reason = ScalingReason.FIXED_SIZE
    return decision(replicas, reason, blind=reason, measured=False)


def sample(name: str, at: float, **counters: float) -> PodSample:
    """One scrape of a pod; what is not given is 0."""
    usual = {"started": 1.0, "arrivals": 0.0, "completed": 0.0, "busy_seconds": 0.0, "queued": 0.0}
    return PodSample(name=name, at=at, **usual | counters)
