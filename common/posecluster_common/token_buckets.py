"""Token buckets per key, in a bounded table."""

from collections import OrderedDict


class TokenBuckets:
    """Each key may spend `burst` tokens at once, and `per_second` of them on average.

    When there are more than `most_keys`, the key that spent least recently is dropped. Its bucket is the most
    likely to be full, and a full bucket is also the state of a new key.
    """

    def __init__(self, *, burst: float, per_second: float, most_keys: int) -> None:
        self.burst, self.per_second, self._most_keys = burst, per_second, most_keys
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def charge(self, key: str, tokens: float) -> None:
        """Take tokens from a key that has just spent one; it may owe as many as a full bucket has."""
        if key in self._buckets:
            left, updated = self._buckets[key]
            self._buckets[key] = (max(-self.burst, left - tokens), updated)

    def spend(self, key: str, now: float) -> tuple[bool, float]:
        """Spend a token of `key`; return whether it had one, and how many tokens are left.

        `now` is the time in seconds of any monotonic clock.
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
