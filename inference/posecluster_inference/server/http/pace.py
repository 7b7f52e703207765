"""The minimum rate of request bodies."""

from dataclasses import dataclass

GRACE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Pace:
    """A body must arrive completely within `seconds`, at `bytes_per_second` or faster (0: at any rate).

    A client has a credit of GRACE_SECONDS, which decreases with time. Each byte adds the time that it may
    take at the minimum rate, but the credit never exceeds GRACE_SECONDS, so that a fast start does not allow
    a long pause.
    """

    bytes_per_second: int
    seconds: float

    def __str__(self) -> str:
        whole = f"the whole body within {self.seconds:g} s"
        if not self.bytes_per_second:
            return whole
        return f"{self.bytes_per_second} bytes a second after the first {GRACE_SECONDS:g} s, and {whole}"


class Progress:
    """The progress of one body. Times are in seconds, all from the same clock."""

    def __init__(self, pace: Pace, now: float) -> None:
        self._rate = pace.bytes_per_second
        self._end = now + pace.seconds
        self._credit_until = now + GRACE_SECONDS if self._rate else self._end

    @property
    def deadline(self) -> float:
        """The time at which the body is too slow unless more of it arrives."""
        return min(self._credit_until, self._end)

    def received(self, size_bytes: int, now: float) -> float:
        """Record received bytes and return the new deadline."""
        if self._rate:
            self._credit_until = min(now + GRACE_SECONDS, self._credit_until + size_bytes / self._rate)
        return self.deadline
