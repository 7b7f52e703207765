"""A caller's quota: a token bucket each, in a bounded table."""

from collections import OrderedDict
from dataclasses import dataclass, field
from math import ceil

_CALLERS = 10_000


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a caller has left: whole requests now, seconds until the bucket is full again."""

    allowed: bool
    remaining: int
    full_in_seconds: int
    retry_after_seconds: int


@dataclass(slots=True)
class Quota:
    """`per_minute` requests on average, `burst` at once; 0 a minute is off.

    Callers beyond the table's size push out those that asked least recently, whose buckets are
    the likeliest to be full, which is what a new entry starts with.
    """

    per_minute: int
    burst: int
    _buckets: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict)

    @property
    def policy(self) -> str:
        """The RateLimit-Policy field: sustained requests a window, window in seconds."""
        return f'"default";q={self.per_minute};w=60'

    def take(self, caller: str, now: float) -> Allowance:
        """Use one request of `caller`'s; `now` in seconds on any steady clock."""
        rate = self.per_minute / 60
        tokens, updated = self._buckets.pop(caller, (float(self.burst), now))
        tokens = min(self.burst, tokens + (now - updated) * rate)
        allowed = tokens >= 1
        if allowed:
            tokens -= 1
        self._buckets[caller] = (tokens, now)
        if len(self._buckets) > _CALLERS:
            self._buckets.popitem(last=False)
        return Allowance(
            allowed=allowed,
            remaining=int(tokens),
            full_in_seconds=ceil((self.burst - tokens) / rate),
            retry_after_seconds=max(1, ceil((1 - tokens) / rate)),
        )
