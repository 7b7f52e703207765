"""What the status shows of a decision: kept for ten seconds, unless the size changes or measuring fails."""

from dataclasses import dataclass, fields

from posecluster_operator.resource.reasons import ScalingReason
from posecluster_operator.scaling.policy.values import Decision, Load

_CHANGED_SHARE = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """The condition ScalingActive (`active`, `reason`) and status.load, as of a moment."""

    at: float
    active: bool
    reason: ScalingReason
    load: Load | None


def next_shown(now: float, decision: Decision, before: Shown | None, *, resized: bool) -> Shown | None:
    """Return what to show now: `before` itself while nothing that matters has changed.

    None: nothing is known yet, as right after a start; the status stays as it is.
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
    """Return whether a figure moved by more than a fifth and more than one, or to or from nothing."""
    if one is None or other is None:
        return one is not other
    if one.scraped_pods != other.scraped_pods:
        return True
    pairs = ((getattr(one, item.name), getattr(other, item.name)) for item in fields(Load))
    return any((a == 0) != (b == 0) or abs(a - b) > max(1, _CHANGED_SHARE * max(a, b)) for a, b in pairs)
