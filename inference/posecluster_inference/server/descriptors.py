"""Open file descriptors: how many the server may have, and how many connections fit into that."""

import logging
from dataclasses import replace

from posecluster_common.descriptors import soft_limit
from posecluster_common.listening import ACCEPTED_AT_ONCE
from posecluster_inference.errors import InvalidSetting
from posecluster_inference.server.http.connection import TURNED_AWAY
from posecluster_inference.settings import PREFIX, Settings

logger = logging.getLogger(__name__)

# What the server process holds besides client connections, at most (tests/component/test_descriptors.py)
_OWN = 16  # standard streams, the event loop's three, a listener for each port and family; some to spare
_FILES = 8  # open for a moment: memory figures, tokens, both ends of a pipe and what starts a process
_SPARE_WORKERS = 2  # one pipe for each worker, and for a successor and a worker that ends
_ADMIN_CONNECTIONS = 32  # probes, Prometheus, the operator
# Accepted, but not yet counted or closed: a connection takes four turns of the loop to be turned away.
_ACCEPTED = 4 * 2 * ACCEPTED_AT_ONCE
_LEAST_CONNECTIONS = 32  # fewer are of no use behind a Service: each client and each proxy keeps some


def fit_connections(settings: Settings, *, workers: int) -> Settings:
    """Return the settings with as many connections as the limit on descriptors leaves room for.

    Raises InvalidSetting if that is too few.
    """
    wanted, available = settings.max_connections, soft_limit()
    needed = _OWN + _FILES + workers + _SPARE_WORKERS + _ADMIN_CONNECTIONS + _ACCEPTED + TURNED_AWAY
    room = available - needed
    if wanted <= room:
        return settings
    if room < _LEAST_CONNECTIONS:
        least = needed + min(wanted, _LEAST_CONNECTIONS)
        raise InvalidSetting(
            f"{PREFIX}MAX_CONNECTIONS={wanted}: the limit on open files is {available}, the server needs at "
            f"least {least}, and {needed + wanted} for all these connections; raise the hard limit "
            f"(ulimit -Hn, docker run --ulimit nofile={needed + wanted}, LimitNOFILE= of systemd)"
        )
    fields = {"max_connections": room, "wanted": wanted, "descriptors": available, "needed": needed + wanted}
    logger.warning("Lowered the cap on connections to fit the limit on open files", extra={"fields": fields})
    return replace(settings, max_connections=room)
