"""How heavy jobs share the workers with light ones: pure rules, and a forecast by the same rules.

While light jobs come, heavy ones run in at most half of the workers. Where there is one worker only, it
rests from heavy jobs after each one for four times as long as that took, so that they get a fifth of its
time. When no light job has come for five seconds, heavy jobs may use every worker.
"""

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from posecluster_inference.server.workers.costs import Cost

_LIGHT_SECONDS = 5.0  # after this long without a light job nothing is kept free for one
_REST = 4  # times the duration of a heavy job


@dataclass(slots=True)
class HeavyShare:
    """When a heavy job may start. Times are the loop's, in seconds."""

    last_light: float = -math.inf
    rests_until: float = -math.inf

    def saw_light(self, now: float) -> None:
        """A light job arrived or was answered."""
        self.last_light = now

    def heavy_ended(self, now: float, seconds: float, live: int) -> None:
        """A heavy job that took `seconds` gave back its worker, one of `live`."""
        if live < 2:
            self.rests_until = now + _REST * seconds

    def places(self, now: float, live: int) -> int:
        """Return how many of `live` workers may run heavy jobs now."""
        if now - self.last_light >= _LIGHT_SECONDS:
            return live
        return 0 if now < self.rests_until else max(1, live // 2)

    def next_change(self, now: float) -> float:
        """Return when more heavy jobs may start although no worker has changed; in the past for never."""
        unused = self.last_light + _LIGHT_SECONDS
        return min(unused, self.rests_until) if self.rests_until > now else unused

    def wait_seconds(
        self, now: float, cost: Cost, ahead: Iterable[Cost], running: Iterable[tuple[float, Cost]], idle: int
    ) -> float:
        """Return how long a job of this cost waits for a worker, by playing the queue forward.

        ahead: the jobs whose turn is before it, in order. running: for each busy worker, the seconds that
        its job still takes, and that job's cost. idle: how many workers are free. Infinity without a worker.
        """
        # heavy jobs that end give back their place before anything else happens at that moment
        running = list(running)
        workers = [(seconds, not one.is_heavy) for seconds, one in running] + [(0.0, True)] * idle
        if not workers:
            return math.inf
        heapify(workers)
        live, is_shared = len(workers), now - self.last_light < _LIGHT_SECONDS
        places = max(1, live // 2) if is_shared else live
        rests = live == 1 and is_shared
        heavy_from = self.rests_until - now if is_shared else 0.0
        if rests:
            heavy_from = max(
                [heavy_from, *(end + _REST * one.seconds for end, one in running if one.is_heavy)]
            )
        lines: tuple[deque[tuple[int, float]], deque[tuple[int, float]]] = deque(), deque()
        for turn, one in enumerate((*ahead, cost)):
            lines[one.is_heavy].append((turn, one.seconds))
        light, heavy = lines
        last = len(light) + len(heavy) - 1
        while True:
            clock, _ = heappop(workers)
            heavy_ends = [end for end, is_light in workers if not is_light]
            may_start = heavy and len(heavy_ends) < places and clock >= heavy_from
            if may_start and not (light and light < heavy):
                line = heavy
            elif light:
                line = light
            else:  # this worker stays free until another heavy job may start
                heappush(workers, (min(heavy_ends) if len(heavy_ends) >= places else heavy_from, True))
                continue
            turn, seconds = line.popleft()
            if turn == last:
                return clock
            heappush(workers, (clock + seconds, line is light))
            if rests and line is heavy:
                heavy_from = clock + (1 + _REST) * seconds
