"""How the kernel throttled a group of processes with a CPU quota."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Throttling:
    """Periods in which the group ran, and those of them in which it was held."""

    periods: int
    throttled: int

    @property
    def share(self) -> float:
        """Of the periods; 0 without any."""
        return self.throttled / self.periods if self.periods else 0.0
