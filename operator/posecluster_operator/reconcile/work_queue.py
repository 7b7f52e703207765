"""A queue of keys: a key waits at most once, has at most one pass in flight, and backs off when passes fail.

Adding a key during its own pass leads to one more pass afterwards, so no change is lost; ten
additions lead to one pass.
"""

import asyncio
import heapq
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random

from posecluster_operator.errors import (
    Conflict,
    NamespaceTerminating,
    NotFound,
    NotLeader,
    OperatorError,
    Retryable,
)
from posecluster_operator.kube.back_off import back_off_seconds

logger = logging.getLogger(__name__)

_FIRST_BACK_OFF_SECONDS = 0.5
_LONGEST_BACK_OFF_SECONDS = 60.0
_LONGEST_AWAY_SECONDS = 30.0  # while the API server is away: a longer wait only delays what comes after
_CONFLICTS_AT_ONCE = 3
_CONFLICT_SECONDS = 0.1
_JITTER = 0.25
# Pods and our own writes bring a dozen events in a tenth of a second: seen as one, they cost one status.
_BETWEEN_PASSES_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Result:
    """How a pass ended well: when to look again without being told (None: only when told)."""

    requeue_after_seconds: float | None = None


class WorkQueue:
    """Hands keys to `handle`, `workers` at a time; `on_done(result, seconds)` hears of each pass."""

    def __init__(
        self,
        handle: Callable[[str], Awaitable[Result]],
        *,
        workers: int,
        on_done: Callable[[str, float], None],
        random: Random,
    ) -> None:
        self._handle, self._on_done, self._random = handle, on_done, random
        self._slots = asyncio.Semaphore(workers)
        self._due: dict[str, float] = {}  # waiting keys, and when they are due on the loop's clock
        self._heap: list[
            tuple[float, str]
        ] = []  # the same, in order; entries that `_due` contradicts are void
        self._running: dict[str, float] = {}  # keys in a pass, and since when
        self._failures: dict[str, int] = {}
        self._not_before: dict[str, float] = {}  # events do not shorten this
        self._changed = asyncio.Event()

    @property
    def depth(self) -> int:
        """Keys that are due and wait for a worker."""
        now = self._now()
        return sum(due <= now for due in self._due.values())

    def oldest_seconds(self) -> float:
        """How long the key that is due longest has waited; 0 if none is due."""
        return max(0.0, self._now() - min(self._due.values(), default=self._now()))

    def longest_pass_seconds(self) -> float:
        """How long the longest pass that is running has taken so far; 0 if none is."""
        return max(0.0, self._now() - min(self._running.values(), default=self._now()))

    def add(self, key: str) -> None:
        """Look at the key as soon as a worker is free."""
        self.add_after(key, 0.0)

    def add_after(self, key: str, seconds: float) -> None:
        """Look at the key in so many seconds, or earlier if it is already to be looked at earlier."""
        due = max(self._now() + seconds, self._not_before.get(key, 0.0))
        if due < self._due.get(key, float("inf")):
            self._due[key] = due
            heapq.heappush(self._heap, (due, key))
            self._changed.set()

    async def run(self) -> None:
        """Start passes until cancelled, which cancels those that run."""
        async with asyncio.TaskGroup() as passes:
            while True:
                await self._slots.acquire()
                key = await self._next()
                self._running[key] = self._now()
                passes.create_task(self._pass(key), name=f"pass {key}")

    async def _next(self) -> str:
        while True:
            self._changed.clear()
            wait = None
            while self._heap:
                due, key = self._heap[0]
                if self._due.get(key) != due or key in self._running:
                    heapq.heappop(self._heap)  # void, or comes back when its pass is over
                    continue
                wait = due - self._now()
                if wait <= 0:
                    heapq.heappop(self._heap)
                    del self._due[key]
                    return key
                break
            try:
                async with asyncio.timeout(wait):
                    await self._changed.wait()
            except TimeoutError:
                pass

    async def _pass(self, key: str) -> None:
        started = self._now()
        outcome = "error"
        try:
            result = await self._handle(key)
        except NotLeader:
            outcome = "not_leader"  # whoever holds the Lease next looks at every key
        except (Conflict, NotFound) as error:  # changed, or deleted, since the pass read it
            outcome = "conflict"
            self._retry(key, error)
        except (Retryable, NamespaceTerminating) as error:
            outcome = "retry"
            self._retry(key, error)
        except OperatorError as error:
            self._retry(key, error)
        except Exception as error:  # the one place: a slip of ours in one pass must not end all others
            logger.exception("Reconciliation failed unexpectedly", extra={"fields": {"key": key}})
            self._retry(key, error)
        else:
            outcome = "ok"
            self._failures.pop(key, None)
            if result.requeue_after_seconds is None:
                self._not_before.pop(key, None)  # gone
            else:
                self._put_off(key, _BETWEEN_PASSES_SECONDS)
                self.add_after(key, result.requeue_after_seconds)
        finally:
            del self._running[key]
            if key in self._due:
                heapq.heappush(self._heap, (self._due[key], key))
                self._changed.set()
            self._slots.release()
            self._on_done(outcome, self._now() - started)

    def _retry(self, key: str, error: Exception) -> None:
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        if isinstance(error, Conflict | NotFound) and failures <= _CONFLICTS_AT_ONCE:
            self.add_after(key, self._random.uniform(0, _CONFLICT_SECONDS))
            return
        away = isinstance(error, Retryable)
        longest = _LONGEST_AWAY_SECONDS if away else _LONGEST_BACK_OFF_SECONDS
        seconds = back_off_seconds(failures, first=_FIRST_BACK_OFF_SECONDS, longest=longest)
        if isinstance(error, Retryable):
            seconds = max(seconds, error.retry_after_seconds)
        seconds *= 1 + self._random.uniform(0, _JITTER)
        if away:
            self._put_off(key, seconds)
        logger.log(
            logging.WARNING
            if isinstance(error, Retryable | Conflict | NotFound | NamespaceTerminating)
            else logging.ERROR,
            "Reconciliation failed, retrying later",
            extra={
                "fields": {"key": key, "error": error, "seconds": round(seconds, 1), "failures": failures}
            },
        )
        self.add_after(key, seconds)

    def _put_off(self, key: str, seconds: float) -> None:
        """Start no pass for so long, whatever events come, or came during the pass that just ended."""
        self._not_before[key] = not_before = self._now() + seconds
        if key in self._due:
            self._due[key] = max(self._due[key], not_before)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
