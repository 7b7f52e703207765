"""How slowly the body of a request may arrive."""

from dataclasses import dataclass

GRACE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Pace:
    """A body must arrive at `bytes_per_second` or faster (0: at any rate), and whole within `seconds`.

    A sender has a credit of GRACE_SECONDS. Time uses it up, and each byte adds the time that it may take at
    the slowest rate, but never to more than GRACE_SECONDS: a fast start does not pay for a long pause.
    """

    bytes_per_second: int
    seconds: float

    def __str__(self) -> str:
        whole = f"the whole body within {self.seconds:g} s"
        if not self.bytes_per_second:
            return whole
        return f"{self.bytes_per_second} bytes a second after the first {GRACE_SECONDS:g} s, and {whole}"


class Progress:
    """One body on its way. Times are in seconds, of any one clock."""

    def __init__(self, pace: Pace, now: float) -> None:
        self._rate = pace.bytes_per_second
        self._end = now + pace.seconds
        self._credit_until = now + GRACE_SECONDS if self._rate else self._end

    @property
    def deadline(self) -> float:
        """When the body is too slow unless more of it arrives."""
        return min(self._credit_until, self._end)

    def received(self, size_bytes: int, now: float) -> float:
        """Count what arrived and return the new deadline."""
        if self._rate:
            self._credit_until = min(now + GRACE_SECONDS, self._credit_until + size_bytes / self._rate)
        return self.deadline
