"""How long the autoscaler watches, remembers and waits: values of the policy, in seconds.

They are not settings. Tests shorten all of them together, so that a rule of a minute shows in seconds.
"""

from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """All of them, with the values that the operator runs with."""

    tick_seconds: float = 1.0  # from one scrape to the next, unless there are very many pods
    scrape_seconds: float = 1.0  # that a pod may take to answer
    stale_seconds: float = 5.0  # five scrapes: a sample older than this is unknown
    gap_seconds: float = 10.0  # after a longer time without data, the hold window starts again
    burst_seconds: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0)  # of the envelope: from a scrape to a pod's start
    rise_seconds: tuple[float, ...] = (
        8.0,
        20.0,
    )  # a higher rate counts once one of these shows it beyond noise
    busy_seconds: float = 20.0  # the load around a burst, and the load that is shown: several starts of a pod
    rate_seconds: float = 60.0  # the steady rate, at most: as long as the usual hold, so that noise is small
    least_doubled_seconds: float = 10.0  # a hold of 0 doubles too
    shown_seconds: float = 10.0  # between two writes of `status.load`: each write costs the API server
    wake_again_seconds: float = 10.0  # between two passes for the same size, while passes are refused

    def scaled(self, factor: float) -> "Windows":
        """Return the windows with each of them `factor` times as long."""
        return Windows(**{one.name: _scaled(getattr(self, one.name), factor) for one in fields(self)})


def _scaled(seconds: Any, factor: float) -> Any:
    return tuple(one * factor for one in seconds) if isinstance(seconds, tuple) else seconds * factor


WINDOWS = Windows()
