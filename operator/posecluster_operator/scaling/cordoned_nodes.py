"""The names of the cordoned nodes, from a LIST every 2 s that the API server filters."""

import asyncio
import logging
from collections.abc import Callable

from posecluster_operator.errors import Forbidden, KubeError
from posecluster_operator.kube.client import Kube
from posecluster_operator.kube.kinds import NODES

logger = logging.getLogger(__name__)

_SECONDS = 2.0
_FORBIDDEN_SECONDS = 60.0
_CORDONED = "spec.unschedulable=true"


class CordonedNodes:
    """Maintains `names` while `run` runs. `changed` is called when the names or `known` change.

    `known`: whether cordoned nodes are known. It is False if the setting WATCH_NODES is off, or while the
    operator may not list nodes. While the API server is unavailable, the last list counts.
    """

    def __init__(self, kube: Kube, *, enabled: bool, changed: Callable[[], None]) -> None:
        self._kube, self._enabled, self._changed = kube, enabled, changed
        self.known, self.names = enabled, frozenset[str]()
        self._failed = False

    async def run(self) -> None:
        """List the nodes until cancelled; return at once if the setting is off."""
        while self._enabled:
            await asyncio.sleep(_SECONDS if self.known else _FORBIDDEN_SECONDS)
            await self.refresh()

    async def refresh(self) -> None:
        """List the nodes once, if the setting is on."""
        if not self._enabled:
            return
        before = self.known, self.names
        try:
            found = await self._kube.list(NODES, None, fields=_CORDONED)
        except Forbidden as error:
            if self.known:
                fields = {"error": error, "grant": "list on nodes, by the chart value operator.watchNodes"}
                logger.warning("Nodes may not be listed, drains are not prepared", extra={"fields": fields})
            self.known, self.names = False, frozenset()
        except KubeError as error:
            if not self._failed:
                logger.warning("Nodes could not be listed", extra={"fields": {"error": error}})
            self._failed = True
        else:
            if not self.known:
                logger.info("Nodes can be listed again")
            self.known, self._failed = True, False
            self.names = frozenset(one["metadata"]["name"] for one in found)
        if (self.known, self.names) != before:
            self._changed()
