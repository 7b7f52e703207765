"""What probes are told: verdicts as plain values, each with its reason.

Live means that a new process would not do better. An API server that is away does not count
against it, but watches that stay silent do, and so does an account that lost its rights: the next
start names what is missing.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

TICK_SECONDS = 1.0
_LONGEST_LAG_SECONDS = 5.0
_LONGEST_PASS_SECONDS = 120.0


class Watch(NamedTuple):
    """One stream of events; namespace "" is all."""

    resource: str
    namespace: str

    def __str__(self) -> str:
        return f"{self.resource} in {self.namespace}" if self.namespace else self.resource


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer to a probe; `reason` is one line."""

    ok: bool
    text: str


_OK = Reply(True, "ok")


class Health:
    """Collects signs of life; they may come from any thread, for each is one assignment."""

    def __init__(self, *, stall_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._stall_seconds, self._clock = stall_seconds, clock
        self._lag_seconds = 0.0
        self._heard: dict[Watch, float] = {}  # expected watches, and the last sign of life of each
        self._open: dict[Watch, bool] = {}  # whether they have listed and watch
        self._oldest_key: Callable[[], float] = float
        self._longest_pass: Callable[[], float] = float
        self._paused: float | None = clock()  # since when no watch is to be expected
        self._stage = "connecting to the API server"

    def pause(self, stage: str) -> None:
        """Judge no watch from now on: `stage` says what is waited for."""
        self._stage = stage
        if self._paused is None:
            self._paused = self._clock()

    def expect(self, watches: Iterable[Watch]) -> None:
        """Judge these watches from now on; the time of a pause does not count as silence."""
        now = self._clock()
        away = 0.0 if self._paused is None else now - self._paused
        self._heard = {watch: self._heard.get(watch, now - away) + away for watch in watches}
        self._open = dict.fromkeys(self._heard, False)
        self._paused = None

    def look_at_queue(self, *, oldest_key: Callable[[], float], longest_pass: Callable[[], float]) -> None:
        """Begin to judge the queue: seconds that a due key waits, seconds that a pass has taken so far."""
        self._oldest_key, self._longest_pass = oldest_key, longest_pass

    def heard(self, watch: Watch) -> None:
        """Note that a watch brought something, or that the API server is away: not the watch's fault."""
        if watch in self._heard:
            self._heard[watch] = self._clock()

    def opened(self, watch: Watch) -> None:
        """Note that a watch has listed and watches."""
        if watch in self._open:
            self._open[watch] = True

    async def run(self) -> None:
        """Measure the loop's lag for ever."""
        while True:
            before = self._clock()
            await asyncio.sleep(TICK_SECONDS)
            self.show_lag(self._clock() - before - TICK_SECONDS)

    def show_lag(self, seconds: float) -> None:
        """Note by how much the loop's last tick was late."""
        self._lag_seconds = seconds

    def live(self) -> Reply:
        """Judge whether to let this process go on."""
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
        """Judge whether all watches have listed once; leader and standby alike."""
        if self._paused is not None:
            return Reply(False, self._stage)
        missing = sorted(str(watch) for watch, is_open in self._open.items() if not is_open)
        if missing:
            return Reply(False, f"not yet listed: {', '.join(missing)}")
        return _OK
