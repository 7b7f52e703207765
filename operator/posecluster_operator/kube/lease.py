"""One writer at a time: a Lease (coordination.k8s.io/v1), with client-go's semantics and figures.

The holder renews every 2 s of 15 and stops writing when 10 s went by without success; another takes
over when it saw no change for 15 s by its own clock. Times in the object are for people: clocks of
two machines are never compared.
"""

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from posecluster_operator.errors import Conflict, KubeError, NotFound, NotLeader
from posecluster_operator.kube.client import LEASES, Kube

logger = logging.getLogger(__name__)

# shares of the Lease's seconds; client-go's defaults are 15, 10 and 2 s
_RENEW_SHARE = 2 / 15
_DEADLINE_SHARE = 10 / 15
_REQUEST_SHARE = 3.5 / 15  # so that one dead connection leaves time for a second try
_MARGIN_SHARE = 0.5 / 15  # for what the API server has in hand when others may take the Lease
# For the kernel, which goes on sending what it took from a process that has given up or ended: what is
# not acknowledged by then is dropped. Less than what is left after the deadline and the margin.
UNACKNOWLEDGED_SHARE = 4 / 15
_OWN_WRITES = 8
_MOST_TRANSITIONS = 2**31 - 1


class Lease:
    """The right to write, held by one process of all that name the same Lease.

    `on_change(held)` is called whenever it is got or lost; `held` is false as soon as time says so,
    even if nothing here gets to run.
    """

    def __init__(
        self,
        kube: Kube,
        *,
        namespace: str,
        name: str,
        identity: str,
        seconds: float = 15.0,
        clock: Callable[[], float] = time.monotonic,
        on_change: Callable[[bool], None],
    ) -> None:
        self._kube, self._namespace, self._name, self._identity = kube, namespace, name, identity
        self._seconds, self._clock, self._on_change = seconds, clock, on_change
        self._renewed = -math.inf  # when the last renewal that succeeded was begun
        self._live: dict[str, Any] | None = None  # what our last renewal left there
        self._sent: deque[str] = deque(maxlen=_OWN_WRITES)  # renewTimes of our own writes, answered or not
        self._seen: tuple[Any, ...] | None = None  # another's record, and since when it is the same
        self._seen_since = 0.0
        self._busy = asyncio.Lock()
        self._released = False
        self._told = False
        self._trouble = ""
        self._deadline: asyncio.TimerHandle | None = None

    @property
    def held(self) -> bool:
        """Whether this process may begin something new."""
        return self._clock() - self._renewed < self._seconds * _DEADLINE_SHARE

    def write_seconds(self) -> float:
        """Return within how many seconds a write must be over; raises NotLeader if none may begin."""
        if not self.held:
            raise NotLeader("The Lease is not held")
        return self._renewed + self._seconds * (1 - _MARGIN_SHARE) - self._clock()

    async def run(self) -> None:
        """Get the Lease and keep it, until cancelled. What goes wrong is logged once and tried again."""
        while not self._released:
            wait = self._seconds * _RENEW_SHARE
            try:
                async with self._busy:
                    await self._turn()
            except KubeError as error:
                self._note_trouble(error)
                wait = max(wait, error.retry_after_seconds)
            else:
                self._note_trouble(None)
            self._tell()
            await asyncio.sleep(wait)

    async def release(self) -> None:
        """Give the Lease up for good, so that another need not wait. Call it after the last write."""
        self._released = True
        async with self._busy:
            held, live, self._renewed = self.held, self._live, -math.inf
            self._tell()
            if not held or live is None:
                return
            try:
                # one second, as client-go: whoever goes by the duration need not wait either
                await self._write(live, holder="", seconds=1, taken=True)
            except KubeError as error:
                logger.warning(
                    "Lease could not be released", extra={"fields": self._fields | {"error": str(error)}}
                )
            else:
                logger.info("Released the Lease", extra={"fields": self._fields})

    async def _turn(self) -> None:
        """Renew the Lease if nobody touched it; else read it, and take it or note who holds it."""
        if self._released:
            return
        if self._live is not None:
            live, self._live = self._live, None
            with suppress(Conflict, NotFound):
                return await self._renew(live, taken=False)
        found = await self._kube.find(LEASES, self._namespace, self._name, seconds=self._request_seconds)
        if found is None and self._clock() - self._seen_since < self._seconds and self._seen is not None:
            return None  # Deleted under a holder that may still write; it will have it back first.
        if found is None or _holder(found) == "":
            taken = True
        elif self._is_ours(found):
            taken = False
        else:
            # Others' writes fail from here on, whatever the time-outs say.
            self._renewed = -math.inf
            if not self._is_left(found):
                return None
            taken = True
        with suppress(Conflict):  # Another was first: what it wrote is read in the next turn.
            await self._renew(found, taken=taken)
        return None

    async def _renew(self, live: Mapping[str, Any] | None, *, taken: bool) -> None:
        started = self._clock()
        self._live = await self._write(live, holder=self._identity, seconds=self._seconds, taken=taken)
        self._tell()  # it may have been lost meanwhile: then it is got anew, and everything is looked at
        # Not when the answer came: others may count from when the API server wrote.
        self._renewed, self._seen = started, None
        if self._deadline is not None:
            self._deadline.cancel()
        left = started + self._seconds * _DEADLINE_SHARE - self._clock()
        self._deadline = asyncio.get_running_loop().call_later(max(0.0, left) + 0.01, self._tell)

    async def _write(
        self, live: Mapping[str, Any] | None, *, holder: str, seconds: float, taken: bool
    ) -> dict[str, Any]:
        spec = record(live, holder, seconds=math.ceil(seconds), now=datetime.now(UTC), taken=taken)
        self._sent.append(spec["renewTime"])
        limit = self._request_seconds
        if live is None:
            body = {"apiVersion": LEASES.api_version, "kind": LEASES.kind, "metadata": {"name": self._name}}
            return await self._kube.create(
                LEASES, self._namespace, {**body, "spec": spec}, fenced=False, seconds=limit
            )
        body = {**live, "spec": spec}
        return await self._kube.replace(
            LEASES, self._namespace, self._name, body, fenced=False, seconds=limit
        )

    def _is_ours(self, live: Mapping[str, Any]) -> bool:
        """Return whether this process wrote this, or one before it in the same container.

        Two processes that are given the same identity by mistake must not both hold the Lease: once
        we wrote, a record of ours that we did not write is another's.
        """
        if _holder(live) != self._identity:
            return False
        if not self._sent or _spec(live).get("renewTime") in self._sent:
            return True
        if self._seen is None:
            logger.error("Another process uses the same identity", extra={"fields": self._fields})
        return False

    def _is_left(self, live: Mapping[str, Any]) -> bool:
        """Return whether another's record is unchanged for as long as it may be held.

        The duration that it claims is not asked: it may be forged, and ours is the same for all.
        """
        spec = _spec(live)
        seen = (_holder(live), spec.get("renewTime"), spec.get("acquireTime"), spec.get("leaseTransitions"))
        if seen != self._seen:
            if self._seen is None or self._seen[0] != seen[0]:
                logger.info(
                    "Another operator holds the Lease", extra={"fields": self._fields | {"holder": seen[0]}}
                )
            self._seen, self._seen_since = seen, self._clock()
        return self._clock() - self._seen_since >= self._seconds

    def _tell(self) -> None:
        held = self.held
        if held == self._told:
            return
        self._told = held
        if held:
            logger.info("Acquired the Lease", extra={"fields": self._fields})
        elif not self._released:
            logger.warning("Lost the Lease, stopped writing", extra={"fields": self._fields})
        self._on_change(held)

    def _note_trouble(self, error: KubeError | None) -> None:
        text = "" if error is None else f"{type(error).__name__} {error.status}"
        if text == self._trouble:
            return
        self._trouble = text
        if error is not None:
            fields = self._fields | {"error": str(error)}
            logger.warning("Lease could not be read or written", extra={"fields": fields})
        else:
            logger.info("Lease can be read and written again", extra={"fields": self._fields})

    @property
    def _request_seconds(self) -> float:
        return self._seconds * _REQUEST_SHARE

    @property
    def _fields(self) -> dict[str, str]:
        return {"lease": f"{self._namespace}/{self._name}", "identity": self._identity}


def _spec(live: Mapping[str, Any]) -> Mapping[str, Any]:
    spec = live.get("spec")
    return spec if isinstance(spec, dict) else {}


def _holder(live: Mapping[str, Any]) -> str:
    """Return who holds the Lease; empty: nobody."""
    return str(_spec(live).get("holderIdentity") or "")


def record(
    live: Mapping[str, Any] | None, holder: str, *, seconds: int, now: datetime, taken: bool
) -> dict[str, Any]:
    """Return the Lease's new spec: renewed; `taken` from nobody or another; or given up (no holder)."""
    old = _spec(live or {})
    time_text = now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")  # MicroTime: exactly six digits
    transitions = old.get("leaseTransitions")
    count = transitions if isinstance(transitions, int) and 0 <= transitions < _MOST_TRANSITIONS else 0
    return {
        "holderIdentity": holder,
        "leaseDurationSeconds": max(1, seconds),
        "acquireTime": time_text if taken else (old.get("acquireTime") or time_text),
        "renewTime": time_text,
        "leaseTransitions": count + 1 if taken and holder and live is not None else count,
    }
