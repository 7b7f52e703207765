"""Quotas of callers: one token bucket per caller, in a bounded table."""

from dataclasses import dataclass, field
from math import ceil

from posecluster_common.token_buckets import TokenBuckets

_CALLERS = 10_000


@dataclass(frozen=True, slots=True)
class Allowance:
    """The state of a caller's quota: remaining requests, and seconds until the bucket is full."""

    allowed: bool
    remaining: int
    full_in_seconds: int
    retry_after_seconds: int


@dataclass(slots=True)
class Quota:
    """Allows each caller `per_minute` (> 0) requests a minute on average, and `burst` at once."""

    per_minute: int
    burst: int
    _buckets: TokenBuckets = field(init=False)

    def __post_init__(self) -> None:
        rate = self.per_minute / 60
        self._buckets = TokenBuckets(burst=self.burst, per_second=rate, most_keys=_CALLERS)

    @property
    def policy(self) -> str:
        """The value of the RateLimit-Policy header: sustained requests per window of 60 s."""
        return f'"default";q={self.per_minute};w=60'

    def charge(self, caller: str, requests: float) -> None:
        """Use more requests of `caller` for an expensive one that `take` has allowed; it may owe some."""
        self._buckets.charge(caller, requests)

    def take(self, caller: str, now: float) -> Allowance:
        """Use one request of `caller`, if it has any left; `now` in seconds of any monotonic clock."""
        allowed, tokens = self._buckets.spend(caller, now)
        rate = self._buckets.per_second
        return Allowance(
            allowed=allowed,
            remaining=max(0, int(tokens)),
            full_in_seconds=ceil((self.burst - tokens) / rate),
            retry_after_seconds=max(1, ceil((1 - tokens) / rate)),
        )
