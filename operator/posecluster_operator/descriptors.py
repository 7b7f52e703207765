"""The budget of open file descriptors, from which the number of connections to pods follows."""

from posecluster_common.admin_port import MAX_CONNECTIONS
from posecluster_common.descriptors import soft_limit
from posecluster_operator.errors import InvalidSetting
from posecluster_operator.kube.credentials import CONNECTIONS

# Maximum number of descriptors besides connections to pods, verified by tests/apiserver/test_descriptors.py
_OWN = 16  # standard streams, three for each event loop, a listener for each IP family, and a reserve
_FILES = 16  # open for a short time: credentials and name resolution
_DISCOVERY = 16  # connections of kopf besides its watches
_LEAST_PODS = 16


def pod_connections(*, watches: int) -> int:
    """Return how many connections to pods may be open at once, for this number of watches.

    Raises InvalidSetting if the process's limit on open files leaves too few.
    """
    available = soft_limit()
    needed = _OWN + _FILES + CONNECTIONS + watches + _DISCOVERY + MAX_CONNECTIONS
    if available < needed + _LEAST_PODS:
        raise InvalidSetting(
            f"The limit on open files is {available}, but an operator with {watches} watches needs at least "
            f"{needed + _LEAST_PODS}: raise the hard limit (ulimit -Hn, LimitNOFILE= of systemd), watch "
            "fewer namespaces, or watch all namespaces at once"
        )
    return available - needed
