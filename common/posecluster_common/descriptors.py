"""The limit on open file descriptors of this process."""

import resource
import sys
from contextlib import suppress


def raise_limit() -> None:
    """Raise the soft limit on descriptors to the hard one.

    Where the kernel refuses that (macOS takes no infinite limit, Linux none above fs.nr_open), the soft limit
    becomes 10,240, the most that macOS allows, or stays as it is.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (hard, 10_240):
        if _number(soft) < _number(wanted):
            with suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
                return


def soft_limit() -> int:
    """Return the soft limit, as a number even where there is no limit."""
    return _number(resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def _number(limit: int) -> int:
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit
