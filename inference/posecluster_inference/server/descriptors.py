"""Fits the number of client connections to the limit on open file descriptors."""

import logging
from dataclasses import replace

from posecluster_common.admin_port import MAX_CONNECTIONS
from posecluster_common.descriptors import soft_limit
from posecluster_common.listening import ACCEPTED_AT_ONCE
from posecluster_inference.errors import InvalidSetting
from posecluster_inference.server.http.connection import TURNED_AWAY
from posecluster_inference.settings import PREFIX, Settings

logger = logging.getLogger(__name__)

# Upper bounds of the descriptors that are not client connections (tests/component/test_descriptors.py)
_OWN = 16  # standard streams, three of the event loop, a listener per port and family, and a reserve
_FILES = 10  # short-lived: memory figures, tokens, the ends of new pipes, and those that start a process
_SPARE_WORKERS = 2  # a successor, and a worker that is ending
_WORKER_PIPES = 2  # of each worker: its requests and answers, and its standard error
# Connections that are accepted but not yet counted or closed. Rejecting one takes four iterations of the
# loop.
_ACCEPTED = 4 * 2 * ACCEPTED_AT_ONCE
_LEAST_CONNECTIONS = 32  # a server needs this many, because every client and proxy holds several connections


def fit_connections(settings: Settings, *, workers: int) -> Settings:
    """Return the settings with `max_connections` reduced to fit the limit on descriptors.

    Raises InvalidSetting if fewer than 32 connections fit.
    """
    wanted, available = settings.max_connections, soft_limit()
    pipes = _WORKER_PIPES * (workers + _SPARE_WORKERS)
    needed = _OWN + _FILES + pipes + MAX_CONNECTIONS + _ACCEPTED + TURNED_AWAY
    room = available - needed
    if wanted <= room:
        return settings
    if room < _LEAST_CONNECTIONS:
        least = needed + min(wanted, _LEAST_CONNECTIONS)
        raise InvalidSetting(
            f"{PREFIX}MAX_CONNECTIONS={wanted}: the limit on open files is {available}, but the server needs "
            f"at least {least}, and {needed + wanted} for all these connections; raise the hard limit "
            f"(ulimit -Hn, docker run --ulimit nofile={needed + wanted}, LimitNOFILE= of systemd)"
        )
    fields = {"max_connections": room, "wanted": wanted, "descriptors": available, "needed": needed + wanted}
    logger.warning("Lowered the connection limit to fit the limit on open files", extra={"fields": fields})
    return replace(settings, max_connections=room)
