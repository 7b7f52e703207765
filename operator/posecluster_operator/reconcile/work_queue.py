"""A queue of keys. A key waits at most once, is in at most one pass at a time, and backs off after failures.

Adding a key during its pass causes one more pass afterwards, so that no change is lost. Several additions
cause only one pass.
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
_LONGEST_AWAY_SECONDS = 30.0  # while the API server is unavailable; a longer wait would delay the recovery
_CONFLICTS_AT_ONCE = 3
_CONFLICT_SECONDS = 0.1
_JITTER = 0.25
# Pods and our own writes cause a dozen events within 0.1 s, which one pass and one status write cover.
_BETWEEN_PASSES_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a successful pass: when to requeue the key; None only on events."""

    requeue_after_seconds: float | None = None


class WorkQueue:
    """Calls `handle` for up to `workers` keys at a time, and `on_done(result, seconds)` after each pass."""

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
        self._due: dict[str, float] = {}  # waiting keys, with due times on the loop's clock
        self._heap: list[
            tuple[float, str]
        ] = []  # the same in order; entries that differ from `_due` are outdated
        self._running: dict[str, float] = {}  # keys in a pass, with its start time
        self._failures: dict[str, int] = {}
        self._not_before: dict[str, float] = {}  # events do not shorten this
        self._changed = asyncio.Event()

    @property
    def depth(self) -> int:
        """Number of keys that are due and wait for a worker."""
        now = self._now()
        return sum(due <= now for due in self._due.values())

    def oldest_seconds(self) -> float:
        """Return for how long the oldest due key has waited; 0 if none is due."""
        return max(0.0, self._now() - min(self._due.values(), default=self._now()))

    def longest_pass_seconds(self) -> float:
        """Return the duration so far of the longest running pass; 0 if none is running."""
        return max(0.0, self._now() - min(self._running.values(), default=self._now()))

    def add(self, key: str) -> None:
        """Enqueue the key to be handled as soon as a worker is free."""
        self.add_after(key, 0.0)

    def add_after(self, key: str, seconds: float) -> None:
        """Enqueue the key to be handled after this time, or earlier if it is already due earlier."""
        due = max(self._now() + seconds, self._not_before.get(key, 0.0))
        if due < self._due.get(key, float("inf")):
            self._due[key] = due
            heapq.heappush(self._heap, (due, key))
            self._changed.set()

    async def run(self) -> None:
        """Run passes until cancelled; then cancel the running ones."""
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
                    heapq.heappop(self._heap)  # outdated, or pushed again after its pass
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
            outcome = "not_leader"  # the next holder of the Lease enqueues every key
        except (Conflict, NotFound) as error:  # changed or deleted since the pass read it
            outcome = "conflict"
            self._retry(key, error)
        except (Retryable, NamespaceTerminating) as error:
            outcome = "retry"
            self._retry(key, error)
        except OperatorError as error:
            self._retry(key, error)
        except Exception as error:  # an unexpected error in one pass must not stop the others
            logger.exception("Reconciliation failed unexpectedly", extra={"fields": {"key": key}})
            self._retry(key, error)
        else:
            outcome = "ok"
            self._failures.pop(key, None)
            if result.requeue_after_seconds is None:
                self._not_before.pop(key, None)  # deleted
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
        """Start no pass before this time, also for events during the pass that has just ended."""
        self._not_before[key] = not_before = self._now() + seconds
        if key in self._due:
            self._due[key] = max(self._due[key], not_before)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
