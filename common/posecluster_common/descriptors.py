"""The limit on open file descriptors of this process."""

import resource
import sys
from contextlib import suppress


def raise_limit() -> None:
    """Raise the soft limit on descriptors to the hard limit.

    The kernel may refuse that: macOS rejects an infinite limit, and Linux rejects a limit above fs.nr_open.
    The soft limit is then raised to 10,240, the maximum of macOS, or stays unchanged.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (hard, 10_240):
        if _number(soft) < _number(wanted):
            with suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
                return


def soft_limit() -> int:
    """Return the soft limit; sys.maxsize if there is no limit."""
    return _number(resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def _number(limit: int) -> int:
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit
