"""The autoscaler's time constants, in seconds.

They are not settings. Tests shorten all of them together to save time.
"""

from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """All time constants, with the operator's values as defaults."""

    tick_seconds: float = 1.0  # between scrapes, unless there are very many pods
    scrape_seconds: float = 1.0  # time limit for a pod's response
    stale_seconds: float = 5.0  # five scrapes: a sample older than this is unknown
    gap_seconds: float = 10.0  # after a longer time without data, the hold window restarts
    burst_seconds: tuple[float, ...] = (
        1.0,
        2.0,
        4.0,
        8.0,
    )  # of the arrival envelope: from a scrape interval to the start of a pod
    rise_seconds: tuple[float, ...] = (
        8.0,
        20.0,
    )  # a higher rate counts once one of these shows it beyond noise
    busy_seconds: float = (
        20.0  # for the load around a burst and the reported load; longer than the start of a pod
    )
    rate_seconds: float = (
        60.0  # maximum window of the steady rate: as long as the default hold, so that noise is small
    )
    least_doubled_seconds: float = 10.0  # a hold of 0 doubles too
    shown_seconds: float = 10.0  # between two writes of `status.load`, to limit the load on the API server
    wake_again_seconds: float = 10.0  # between two passes for the same size while passes fail

    def scaled(self, factor: float) -> "Windows":
        """Return the windows, each multiplied by `factor`."""
        return Windows(**{one.name: _scaled(getattr(self, one.name), factor) for one in fields(self)})


def _scaled(seconds: Any, factor: float) -> Any:
    return tuple(one * factor for one in seconds) if isinstance(seconds, tuple) else seconds * factor


WINDOWS = Windows()
