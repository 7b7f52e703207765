"""A caller's quota: a token bucket each, in a bounded table."""

from dataclasses import dataclass, field
from math import ceil

from posecluster_common.token_buckets import TokenBuckets

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
    """`per_minute` requests on average, `burst` at once; 0 a minute is off."""

    per_minute: int
    burst: int
    _buckets: TokenBuckets = field(init=False)

    def __post_init__(self) -> None:
        rate = self.per_minute / 60
        self._buckets = TokenBuckets(burst=self.burst, per_second=rate, most_keys=_CALLERS)

    @property
    def policy(self) -> str:
        """The RateLimit-Policy field: sustained requests a window, window in seconds."""
        return f'"default";q={self.per_minute};w=60'

    def take(self, caller: str, now: float) -> Allowance:
        """Use one request of `caller`'s; `now` in seconds on any steady clock."""
        allowed, tokens = self._buckets.spend(caller, now)
        rate = self._buckets.per_second
        return Allowance(
            allowed=allowed,
            remaining=int(tokens),
            full_in_seconds=ceil((self.burst - tokens) / rate),
            retry_after_seconds=max(1, ceil((1 - tokens) / rate)),
        )
