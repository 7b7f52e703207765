"""How heavy and light jobs share the workers: pure rules, and a forecast by the same rules.

While light jobs arrive, heavy jobs run in at most half of the workers. A single worker pauses heavy jobs
after each heavy job for four times its duration, so that heavy jobs use a fifth of its time. If no light job
has arrived for five seconds, heavy jobs may use every worker.
"""

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from posecluster_inference.server.workers.costs import Cost

_LIGHT_SECONDS = 5.0  # after this time without a light job, no worker is reserved for light jobs
_REST = 4  # pause after a heavy job, as a multiple of its duration


@dataclass(slots=True)
class HeavyShare:
    """Decides when a heavy job may start. Times are those of the loop, in seconds."""

    last_light: float = -math.inf
    rests_until: float = -math.inf

    def saw_light(self, now: float) -> None:
        """Record that a light job arrived or was answered."""
        self.last_light = now

    def heavy_ended(self, now: float, seconds: float, live: int) -> None:
        """Record that a heavy job ended after `seconds` in one of `live` workers."""
        if live < 2:
            self.rests_until = now + _REST * seconds

    def places(self, now: float, live: int) -> int:
        """Return how many of `live` workers may run heavy jobs now."""
        if now - self.last_light >= _LIGHT_SECONDS:
            return live
        return 0 if now < self.rests_until else max(1, live // 2)

    def next_change(self, now: float) -> float:
        """Return the time at which more heavy jobs may start; a time in the past means never."""
        unused = self.last_light + _LIGHT_SECONDS
        return min(unused, self.rests_until) if self.rests_until > now else unused

    def wait_seconds(
        self, now: float, cost: Cost, ahead: Iterable[Cost], running: Iterable[tuple[float, Cost]], idle: int
    ) -> float:
        """Return how long a job of this cost waits for a worker, by simulating the queue.

        `ahead`: costs of the jobs that run before it, in order. `running`: for each busy worker, the
        remaining seconds and the cost of its job. `idle`: number of idle workers. Without any worker, the
        result is infinity.
        """
        # False sorts before True: at the same time, heavy jobs end first and release their places.
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
            else:  # this worker stays idle until another heavy job may start
                heappush(workers, (min(heavy_ends) if len(heavy_ends) >= places else heavy_from, True))
                continue
            turn, seconds = line.popleft()
            if turn == last:
                return clock
            heappush(workers, (clock + seconds, line is light))
            if rests and line is heavy:
                heavy_from = clock + (1 + _REST) * seconds
