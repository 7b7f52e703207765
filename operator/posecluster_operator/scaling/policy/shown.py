"""The status's view of a decision, kept for 10 s unless the size changes or measuring fails."""

from dataclasses import dataclass, fields

from posecluster_operator.resource.reasons import ScalingReason
from posecluster_operator.scaling.policy.values import Decision, Load

_CHANGED_SHARE = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """The condition ScalingActive (`active`, `reason`) and status.load at a time."""

    at: float
    active: bool
    reason: ScalingReason
    load: Load | None


def next_shown(now: float, decision: Decision, before: Shown | None, *, resized: bool) -> Shown | None:
    """Return what to show now, or `before` itself if no relevant value has changed.

    None if nothing is known yet, as after a start; the status stays unchanged.
    """
    if decision.numbers is None and decision.blind is None:
        return before
    fresh = Shown(
        at=now,
        active=decision.blind is None,
        reason=decision.blind or decision.reason,
        load=decision.load,
    )
    if before is None or resized or fresh.active != before.active:
        return fresh
    if now - before.at < decision.state.policy.windows.shown_seconds:
        return before
    changed = fresh.reason is not before.reason or differs(fresh.load, before.load)
    return fresh if changed else before


def differs(one: Load | None, other: Load | None) -> bool:
    """Return whether a figure changed by more than 20 % and more than 1, or to or from 0."""
    if one is None or other is None:
        return one is not other
    if one.scraped_pods != other.scraped_pods:
        return True
    pairs = ((getattr(one, item.name), getattr(other, item.name)) for item in fields(Load))
    return any((a == 0) != (b == 0) or abs(a - b) > max(1, _CHANGED_SHARE * max(a, b)) for a, b in pairs)
