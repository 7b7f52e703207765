"""Open file descriptors: how many the operator may have, and how many pods it may be connected to."""

from posecluster_common.descriptors import soft_limit
from posecluster_operator.errors import InvalidSetting
from posecluster_operator.kube.credentials import CONNECTIONS

# What the operator holds besides connections to pods, at most (tests/apiserver/test_descriptors.py)
_OWN = 16  # standard streams, three of each event loop, a listener for each family; some to spare
_FILES = 16  # open for a moment: credentials, look-ups of names
_DISCOVERY = 16  # kopf's, beside its watches
_PORT_CONNECTIONS = 32  # probes, Prometheus, `explain`
_LEAST_PODS = 16


def pod_connections(*, watches: int) -> int:
    """Return how many connections to pods may be open at once, with so many watches.

    Raises InvalidSetting if the limit on descriptors leaves too few.
    """
    available = soft_limit()
    needed = _OWN + _FILES + CONNECTIONS + watches + _DISCOVERY + _PORT_CONNECTIONS
    if available < needed + _LEAST_PODS:
        raise InvalidSetting(
            f"The limit on open files is {available}, but an operator with {watches} watches needs at least "
            f"{needed + _LEAST_PODS}: raise the hard limit (ulimit -Hn, LimitNOFILE= of systemd), watch "
            "fewer namespaces, or watch all namespaces at once"
        )
    return available - needed
