"""Leader election by a Lease (coordination.k8s.io/v1), with the semantics and defaults of client-go.

By default, the holder renews the Lease every 2 s and stops writing after 10 s without a renewal. Another
process takes over after it has observed no change for 15 s by its own clock. Times in the object are only
informative, so that clocks of different machines are never compared.
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
from posecluster_operator.kube.client import Kube
from posecluster_operator.kube.kinds import LEASES

logger = logging.getLogger(__name__)

# shares of the Lease's duration; client-go's defaults are 15, 10 and 2 s
_RENEW_SHARE = 2 / 15
_DEADLINE_SHARE = 10 / 15
_REQUEST_SHARE = 3.5 / 15  # leaves time for a second try after a broken connection
_MARGIN_SHARE = 0.5 / 15  # for writes that the API server is still processing
# The kernel drops data of a write that is not acknowledged after this time, even if the process has ended.
# It is less than the time that remains after the deadline and the margin.
UNACKNOWLEDGED_SHARE = 4 / 15
_OWN_WRITES = 8
_MOST_TRANSITIONS = 2**31 - 1


class Lease:
    """The right to write, which only one of the processes with the same Lease holds.

    `on_change(held)` is called when the Lease is acquired or lost. `held` becomes false as soon as the time
    is over, even if the event loop is blocked.
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
        self._renewed = -math.inf  # when the last successful renewal started
        self._live: dict[str, Any] | None = None  # the Lease as of our last renewal
        self._sent: deque[str] = deque(
            maxlen=_OWN_WRITES
        )  # renewTimes of our writes, including unanswered ones
        self._seen: tuple[Any, ...] | None = (
            None  # the record of another holder, and since when it is unchanged
        )
        self._seen_since = 0.0
        self._busy = asyncio.Lock()
        self._released = False
        self._told = False
        self._trouble = ""
        self._deadline: asyncio.TimerHandle | None = None

    @property
    def held(self) -> bool:
        """Whether this process may start new work."""
        return self._clock() - self._renewed < self._seconds * _DEADLINE_SHARE

    def write_seconds(self) -> float:
        """Return within how many seconds a write must end; raises NotLeader if the Lease is not held."""
        if not self.held:
            raise NotLeader("The Lease is not held")
        return self._renewed + self._seconds * (1 - _MARGIN_SHARE) - self._clock()

    async def run(self) -> None:
        """Acquire the Lease and keep it until cancelled. Failures are logged once and retried."""
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
        """Release the Lease permanently, so that others need not wait. Call it after the last write."""
        self._released = True
        async with self._busy:
            held, live, self._renewed = self.held, self._live, -math.inf
            self._tell()
            if not held or live is None:
                return
            try:
                # one second, as in client-go, for clients that wait for the duration
                await self._write(live, holder="", seconds=1, taken=True)
            except KubeError as error:
                logger.warning(
                    "Lease could not be released", extra={"fields": self._fields | {"error": str(error)}}
                )
            else:
                logger.info("Released the Lease", extra={"fields": self._fields})

    async def _turn(self) -> None:
        """Renew the Lease if it is unchanged; otherwise read it, and take it over or note its holder."""
        if self._released:
            return
        if self._live is not None:
            live, self._live = self._live, None
            with suppress(Conflict, NotFound):
                return await self._renew(live, taken=False)
        found = await self._kube.find(LEASES, self._namespace, self._name, seconds=self._request_seconds)
        if found is None and self._clock() - self._seen_since < self._seconds and self._seen is not None:
            return None  # It was deleted, but its holder may still write, and will create it again.
        if found is None or _holder(found) == "":
            taken = True
        elif self._is_ours(found):
            taken = False
        else:
            # Another process holds it, so our writes must fail from here on.
            self._renewed = -math.inf
            if not self._is_left(found):
                return None
            taken = True
        with suppress(Conflict):  # Another process was first; the next turn reads its record.
            await self._renew(found, taken=taken)
        return None

    async def _renew(self, live: Mapping[str, Any] | None, *, taken: bool) -> None:
        started = self._clock()
        self._live = await self._write(live, holder=self._identity, seconds=self._seconds, taken=taken)
        self._tell()  # it may have been lost meanwhile; then it counts as acquired, and all keys are enqueued
        # Not the time of the response, because others may count from the API server's write.
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
        """Return whether this process, or an earlier one in the same container, wrote this record.

        Two processes with the same identity by mistake must not both hold the Lease. Therefore, after our
        first write, a record with our identity that we did not write belongs to another process.
        """
        if _holder(live) != self._identity:
            return False
        if not self._sent or _spec(live).get("renewTime") in self._sent:
            return True
        if self._seen is None:
            logger.error("Another process uses the same identity", extra={"fields": self._fields})
        return False

    def _is_left(self, live: Mapping[str, Any]) -> bool:
        """Return whether another holder's record has been unchanged for the duration of the Lease.

        The duration in the record is ignored, because it may be forged, and all operators use the same one.
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
    """Return the holder's identity, or an empty text."""
    return str(_spec(live).get("holderIdentity") or "")


def record(
    live: Mapping[str, Any] | None, holder: str, *, seconds: int, now: datetime, taken: bool
) -> dict[str, Any]:
    """Return the Lease's new spec. `taken`: a new holder acquires it; an empty `holder` releases it."""
    old = _spec(live or {})
    time_text = now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")  # MicroTime has exactly six decimals
    transitions = old.get("leaseTransitions")
    count = transitions if isinstance(transitions, int) and 0 <= transitions < _MOST_TRANSITIONS else 0
    return {
        "holderIdentity": holder,
        "leaseDurationSeconds": max(1, seconds),
        "acquireTime": time_text if taken else (old.get("acquireTime") or time_text),
        "renewTime": time_text,
        "leaseTransitions": count + 1 if taken and holder and live is not None else count,
    }
