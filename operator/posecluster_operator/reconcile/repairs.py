"""The back-off of repairs when other clients keep changing or deleting an object. Pure.

Times are in seconds on a monotonic clock.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from posecluster_operator.builders.labels import MANAGER
from posecluster_operator.resource.stable_text import first_names

_MOST_KEPT = 20
# More than the wait itself, so that two operators with the same pace do not lose sight of each other.
_QUIET_SHARE = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairPace:
    """How often an object is repaired. Like the autoscaler's `Windows`, only tests shorten these times.

    After `repairs` repairs within `within_seconds`, each further repair waits for the next of
    `waits_seconds`; the last one repeats.
    """

    repairs: int = 5
    within_seconds: float = 60.0
    waits_seconds: tuple[float, ...] = (60.0, 120.0, 300.0)

    def scaled(self, factor: float) -> "RepairPace":
        """Return the pace with each time multiplied by `factor`."""
        waits = tuple(one * factor for one in self.waits_seconds)
        return RepairPace(
            repairs=self.repairs, within_seconds=self.within_seconds * factor, waits_seconds=waits
        )


PACE = RepairPace()


@dataclass(slots=True)
class Repairs:
    """The recent repairs of one object, which is contested from the fifth until it stays unchanged.

    `fields` and `writers` name what was repaired and the field managers that had changed it.
    """

    pace: RepairPace = PACE
    fields: set[str] = field(default_factory=set)
    writers: set[str] = field(default_factory=set)
    is_deleted: bool = False
    _times: list[float] = field(default_factory=list)
    _waits: int = 0
    _not_before: float = -math.inf
    _changed: float = -math.inf  # when an outside change was last observed

    @property
    def is_contested(self) -> bool:
        """Whether repairs back off."""
        return self._waits > 0

    def must_wait(self, now: float) -> bool:
        """Return whether a repair is too early; if so, note that the object was found changed."""
        if now >= self._not_before:
            return False
        self._changed = now
        return True

    def note(self, now: float, *, fields: Iterable[str] = (), writers: Iterable[str] = ()) -> None:
        """Note a repair; without `fields`, of a deleted object."""
        found = set(fields)
        self.is_deleted |= not found
        for kept, more in ((self.fields, found), (self.writers, writers)):
            kept |= set(sorted({*more} - kept)[: _MOST_KEPT - len(kept)])
        self._times = [one for one in self._times if now - one < self.pace.within_seconds] + [now]
        if self.is_contested or len(self._times) >= self.pace.repairs:
            self.back_off(now)
        elif len(self._times) == 1:  # earlier repairs are not part of a conflict
            self.fields, self.writers, self.is_deleted = found, set(writers), not found

    def back_off(self, now: float) -> None:
        """Begin the next wait."""
        self._not_before = now + self.pace.waits_seconds[self._waits_index(self._waits)]
        self._waits += 1
        self._changed = now

    def note_unchanged(self, now: float) -> None:
        """Note that the object is as it should be; after some time, it is no longer contested."""
        if self.is_contested and self._quiet_end <= now:
            self.forget()

    def forget(self) -> None:
        """Start again, because the conflict has ended, or the user paused the PoseCluster."""
        self._times, self._waits, self._not_before = [], 0, -math.inf
        self.fields, self.writers, self.is_deleted = set(), set(), False

    def seconds_left(self, now: float) -> float:
        """Return the time until a repair is allowed, or the conflict may be over; inf if not contested."""
        if not self.is_contested:
            return math.inf
        return max(0.0, self._not_before - now if now < self._not_before else self._quiet_end - now)

    def message(self, kind: str, name: str) -> str:
        """Return who contests the object and what to do."""
        did = " and ".join(
            verb for verb, is_so in (("changing", self.fields), ("deleting", self.is_deleted)) if is_so
        )
        who = [
            f"{one} (another operator, or a client that poses as one)" if one == MANAGER else one
            for one in sorted(self.writers)
        ]
        found = [f"field managers: {first_names(who)}"] if who else []
        found += [f"fields: {first_names(sorted(self.fields))}"] if self.fields else []
        details = f" ({'; '.join(found)})" if found else ""
        return (
            f"{kind} {name}: another client keeps {did or 'changing'} it{details}. The operator restores it "
            f"after waits of up to {self.pace.waits_seconds[-1]:.0f} s: find and stop the other client."
        )

    @property
    def _quiet_end(self) -> float:
        return self._changed + _QUIET_SHARE * self.pace.waits_seconds[self._waits_index(self._waits - 1)]

    def _waits_index(self, number: int) -> int:
        return min(max(number, 0), len(self.pace.waits_seconds) - 1)
