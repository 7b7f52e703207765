"""Liveness and readiness of the operator.

Liveness fails only if a restart may help. An unavailable API server and missing permissions do not fail it;
watches that stay silent do. Namespaces in which reads are denied do not make the operator unready, unless
there is no other one.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from posecluster_operator.admin.namespaces import ALL, Namespaces

TICK_SECONDS = 1.0
_LONGEST_LAG_SECONDS = 5.0
_LONGEST_PASS_SECONDS = 120.0


class Watch(NamedTuple):
    """A watch on a resource; the namespace "" stands for all namespaces."""

    resource: str
    namespace: str

    def __str__(self) -> str:
        return f"{self.resource} in {self.namespace}" if self.namespace else self.resource


@dataclass(frozen=True, slots=True)
class Reply:
    """A plain-text reply of the admin port."""

    ok: bool
    text: str


_OK = Reply(True, "ok")


class Health:
    """The state behind the probes. Methods may be called from any thread, as each update is atomic."""

    def __init__(
        self,
        *,
        stall_seconds: float,
        namespaces: Namespaces | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.namespaces = namespaces or Namespaces()
        self._stall_seconds, self._clock = stall_seconds, clock
        self._lag_seconds = 0.0
        self._heard: dict[Watch, float] = {}  # expected watches, and the time of the last activity of each
        self._open: dict[Watch, bool] = {}  # whether each has listed its objects and is open
        self._oldest_key: Callable[[], float] = float
        self._longest_pass: Callable[[], float] = float
        self._paused: float | None = clock()  # since when watches are not checked
        self._stage = "connecting to the API server"

    def pause(self, stage: str) -> None:
        """Stop checking watches; `stage` says what the operator is waiting for."""
        self._stage = stage
        if self._paused is None:
            self._paused = self._clock()

    def expect(self, watches: Iterable[Watch]) -> None:
        """Check these watches from now on. The time of a pause does not count as silence."""
        now = self._clock()
        away = 0.0 if self._paused is None else now - self._paused
        self._heard = {watch: self._heard.get(watch, now - away) + away for watch in watches}
        self._open = dict.fromkeys(self._heard, False)
        self._paused = None

    def look_at_queue(self, *, oldest_key: Callable[[], float], longest_pass: Callable[[], float]) -> None:
        """Check the work queue: by the age of the oldest due key and of the longest pass, in seconds."""
        self._oldest_key, self._longest_pass = oldest_key, longest_pass

    def heard(self, watch: Watch) -> None:
        """Note activity of a watch, or a failure that also excuses its silence."""
        if watch in self._heard:
            self._heard[watch] = self._clock()

    def opened(self, watch: Watch) -> None:
        """Note that a watch has listed its objects and is open."""
        if watch in self._open:
            self._open[watch] = True

    async def run(self) -> None:
        """Measure the event loop's lag until cancelled."""
        while True:
            before = self._clock()
            await asyncio.sleep(TICK_SECONDS)
            self.show_lag(self._clock() - before - TICK_SECONDS)

    def show_lag(self, seconds: float) -> None:
        """Note the lag of the event loop's last tick."""
        self._lag_seconds = seconds

    def live(self) -> Reply:
        """Return whether the process works, with the reason if it does not."""
        if self._lag_seconds > _LONGEST_LAG_SECONDS:
            return Reply(False, "the event loop is blocked")
        if self._longest_pass() > _LONGEST_PASS_SECONDS:
            return Reply(False, "the reconciliation of a PoseCluster takes more than 2 minutes")
        if self._oldest_key() > _LONGEST_PASS_SECONDS and self._longest_pass() == 0:
            return Reply(False, "PoseClusters are due, but none is being reconciled")
        if self._paused is not None:
            return _OK
        late = self._clock() - self._stall_seconds
        stalled = sorted(str(watch) for watch, heard in self._heard.items() if heard < late)
        if stalled:
            return Reply(False, f"watches without events: {', '.join(stalled)}")
        return _OK

    def ready(self) -> Reply:
        """Return whether all watches have listed once, on leader and standby alike.

        Namespaces in which reads are denied do not count, but at least one must remain.
        """
        if self._paused is not None:
            return Reply(False, self._stage)
        denied = self.namespaces.denied
        where = "all namespaces" if ALL in denied else ", ".join(denied)
        if len(denied) == len(self.namespaces.names):
            return Reply(False, f"not watched, because reads are denied: {where}")
        missing = sorted(
            str(watch)
            for watch, is_open in self._open.items()
            if not is_open and watch.namespace not in denied
        )
        if missing:
            return Reply(False, f"not yet listed: {', '.join(missing)}")
        return Reply(True, f"ok; not watched, because reads are denied: {where}") if denied else _OK

    def watches(self, namespace: str) -> bool:
        """Return whether all watches of a namespace are open, and no read in it is denied."""
        opened = [is_open for watch, is_open in list(self._open.items()) if watch.namespace == namespace]
        return (
            self._paused is None and namespace not in self.namespaces.denied and bool(opened) and all(opened)
        )
