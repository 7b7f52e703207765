"""The one function that sets the size. Time and load come in as arguments; nothing is read or kept here."""

from dataclasses import dataclass

from posecluster_operator.models import ScalingMode
from posecluster_operator.reasons import ScalingReason


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What is known besides load. `current` is the Deployment's spec.replicas, None before it exists."""

    mode: ScalingMode
    fixed_replicas: int
    min_replicas: int
    max_replicas: int
    current: int | None


@dataclass(frozen=True, slots=True)
class Samples:
    """Measured load of all pods; it has no fields before there is a scraper."""


NOTHING = Samples()


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The size, and why. `active`: it follows from measured load. `message` is a condition's."""

    replicas: int
    reason: ScalingReason
    active: bool
    message: str


def decide(now: float, samples: Samples, state: State) -> Decision:
    """Return the size for this moment: `spec.replicas` if fixed, else within the bounds, held without load.

    `now` is in seconds of a monotonic clock. In `Auto` the first size, before there is a
    Deployment, is `spec.replicas` too: no load is known then.
    """
    if state.mode is ScalingMode.FIXED:
        return Decision(
            replicas=state.fixed_replicas,
            reason=ScalingReason.FIXED_SIZE,
            active=False,
            message="spec.scaling.mode is Fixed: the size is spec.replicas.",
        )
    held = state.fixed_replicas if state.current is None else state.current
    return Decision(
        replicas=max(state.min_replicas, min(state.max_replicas, held)),
        reason=ScalingReason.NO_METRICS,
        active=False,
        message="No load is measured: the size is held within spec.scaling.minReplicas and maxReplicas.",
    )
