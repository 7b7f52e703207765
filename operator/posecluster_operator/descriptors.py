"""Open file descriptors: how many the operator may have, and how many pods it may be connected to."""

import resource
import sys
from contextlib import suppress

from posecluster_operator.access import CONNECTIONS
from posecluster_operator.errors import InvalidSetting

# What the operator holds besides connections to pods, at most (tests/apiserver/test_descriptors.py)
_OWN = 16  # standard streams, three of each event loop, a listener for each family; some to spare
_FILES = 16  # open for a moment: credentials, look-ups of names
_DISCOVERY = 16  # kopf's, beside its watches
_PORT_CONNECTIONS = 32  # probes, Prometheus, `explain`
_LEAST_PODS = 16


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


def _number(limit: int) -> int:
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit


def pod_connections(*, watches: int) -> int:
    """Return how many connections to pods may be open at once, with so many watches.

    Raises InvalidSetting if the limit on descriptors leaves too few.
    """
    available = _number(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    needed = _OWN + _FILES + CONNECTIONS + watches + _DISCOVERY + _PORT_CONNECTIONS
    if available < needed + _LEAST_PODS:
        raise InvalidSetting(
            f"The limit on open files is {available}, and an operator with {watches} watches needs at least "
            f"{needed + _LEAST_PODS}; raise the hard limit (ulimit -Hn, LimitNOFILE= of systemd), or watch "
            "fewer namespaces, or all of them at once"
        )
    return available - needed
