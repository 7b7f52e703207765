"""Token buckets, one for each key, in a bounded table."""

from collections import OrderedDict


class TokenBuckets:
    """Each key may spend `burst` tokens at once, and `per_second` of them on average.

    A key beyond `most_keys` pushes out the one that spent least recently, whose bucket is the likeliest to
    be full, which is what a new key starts with.
    """

    def __init__(self, *, burst: float, per_second: float, most_keys: int) -> None:
        self.burst, self.per_second, self._most_keys = burst, per_second, most_keys
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def spend(self, key: str, now: float) -> tuple[bool, float]:
        """Spend a token of `key` if it has one; return whether it had, and how many are left.

        `now` is in seconds on any steady clock.
        """
        tokens, updated = self._buckets.pop(key, (self.burst, now))
        tokens = min(self.burst, tokens + (now - updated) * self.per_second)
        has_one = tokens >= 1
        if has_one:
            tokens -= 1
        self._buckets[key] = (tokens, now)
        if len(self._buckets) > self._most_keys:
            self._buckets.popitem(last=False)
        return has_one, tokens
