"""Runs kopf in its own thread and event loop, and restarts it whenever it stops.

kopf stops at a 404 (the CRD was removed), at an error in a stream, and at a malformed response. It then
cancels all unknown tasks of its event loop, so it must not share the loop with other parts.
"""

import asyncio
import itertools
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import suppress
from random import Random
from typing import Any

import aiohttp
import kopf

from posecluster_operator.admin.health import Health, Watch
from posecluster_operator.kube.back_off import back_off_seconds
from posecluster_operator.kube.credentials import Access
from posecluster_operator.kube.kinds import POSECLUSTERS
from posecluster_operator.resource.posecluster import GROUP
from posecluster_operator.watch.handlers import SELECTOR, WATCHED, make_registry
from posecluster_operator.watch.kopf_session import Listener, open_session

logger = logging.getLogger(__name__)

_CONNECT_SECONDS = 5.0
_REQUEST_SECONDS = 10.0
_FIRST_BACK_OFF_SECONDS = 1.0
_LONGEST_BACK_OFF_SECONDS = 15.0
_LOOK_SECONDS = 1.0
_HEALTHY_SECONDS = 60.0
_END_SECONDS = 1.0
# time from kopf's first list to its last; it starts all of them at once
_ALL_ASKED_SECONDS = 5.0


def watches(namespaces: Sequence[str]) -> frozenset[Watch]:
    """Return all watches that must be open. Empty `namespaces` stand for all namespaces."""
    return frozenset(
        Watch(resource.plural, namespace) for resource in WATCHED for namespace in namespaces or [""]
    )


class BackOffs:
    """Infinite sequence of waits in seconds after consecutive failures, with jitter and an upper bound.

    kopf iterates over it for each request. A finite sequence would stop kopf in a long outage.
    """

    def __init__(self, random: Random) -> None:
        self._random = random

    def __iter__(self) -> Iterator[float]:
        for failures in itertools.count(1):
            seconds = back_off_seconds(
                failures, first=_FIRST_BACK_OFF_SECONDS, longest=_LONGEST_BACK_OFF_SECONDS
            )
            yield seconds * self._random.uniform(0.75, 1.0)


def configure_kopf(
    settings: kopf.OperatorSettings, *, inactivity_seconds: float, instance: str, random: Random
) -> None:
    """Restrict kopf to watching.

    It must not write annotations, finalizers or Events, nor scan for CRDs and namespaces, which requires
    cluster-wide permissions. Time-outs and back-offs are bounded, so that silent watches are detected.
    """
    settings.peering.standalone = True
    settings.persistence.finalizer = f"{GROUP}/finalizer"  # unused, like both storages
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=GROUP)
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=GROUP)
    settings.posting.enabled = False
    settings.posting.loggers = False
    settings.posting.reporting_component = "posecluster-operator"
    settings.posting.reporting_instance = instance
    settings.posting.event_name_prefix = "posecluster-"
    settings.watching.server_timeout = 120
    settings.watching.client_timeout = 150
    settings.watching.inactivity_timeout = inactivity_seconds
    settings.watching.reconnect_backoff = 1
    settings.watching.chunk_size = 500
    for resource in WATCHED:
        if resource is not POSECLUSTERS:
            settings.watching.label_selectors[resource.group, resource.version, resource.plural] = SELECTOR
    settings.networking.connect_timeout = _CONNECT_SECONDS
    settings.networking.request_timeout = _REQUEST_SECONDS
    settings.networking.error_backoffs = BackOffs(random)
    settings.networking.enforce_retry_after = False  # the session obeys Retry-After
    settings.queueing.worker_limit = None
    settings.queueing.exit_timeout = 0.2
    settings.execution.default_backoff = 10
    settings.scanning.disabled = True
    settings.process.ultimate_exiting_timeout = 20


class Watcher:
    """Calls `wake(key, seconds)` for each event. All callbacks are called in kopf's thread."""

    def __init__(
        self,
        access: Access,
        *,
        namespaces: Sequence[str],
        inactivity_seconds: float,
        instance: str,
        random: Random,
        wake: Callable[[str, float], None],
        listed: Callable[[], None],
        on_call: Callable[[str, str], None],
        health: Health,
        wait_for_crd: Callable[[], Awaitable[None]],
    ) -> None:
        self._access, self._namespaces, self._random = access, namespaces, random
        self._inactivity_seconds, self._instance = inactivity_seconds, instance
        self._wake, self._listed, self._on_call = wake, listed, on_call
        self._health, self._wait_for_crd = health, wait_for_crd
        self._life: _Life | None = None

    async def run(self) -> None:
        """Keep kopf running until cancelled; then request its end, which `ended` waits for."""
        expected = watches(self._namespaces)
        delays = iter(BackOffs(self._random))
        while True:
            self._health.pause("waiting for the CRD")
            await self._wait_for_crd()
            self._health.expect(expected)
            started = time.monotonic()
            self._life = life = _Life(self._watch, expected=expected)
            try:
                await life.live()
            finally:
                life.stop()
            if time.monotonic() - started > _HEALTHY_SECONDS:
                delays = iter(BackOffs(self._random))
            delay = next(delays)
            logger.warning(
                "Watch stopped; restarting",
                extra={"fields": {"error": life.reason, "seconds": round(delay, 1)}},
            )
            await asyncio.sleep(delay)

    async def ended(self, seconds: float) -> bool:
        """Wait at most this long for the thread to end; return whether it has ended."""
        return self._life is None or await self._life.ended(seconds)

    async def _watch(self, life: "_Life") -> None:
        """Run kopf in the current loop until one of its tasks ends; raises the error that ended it."""
        listener = Listener(health=self._health, call=self._on_call, asked=life.asked, listed=self._listed)

        def new_session() -> aiohttp.ClientSession:
            life.sessions.append(open_session(self._access, listener))
            return life.sessions[-1]

        settings = kopf.OperatorSettings()
        configure_kopf(
            settings,
            inactivity_seconds=self._inactivity_seconds,
            instance=self._instance,
            random=self._random,
        )
        # Not kopf.operator, which ends 5 s or more after a failed watch, because it waits for the others.
        tasks = await kopf.spawn_tasks(
            registry=make_registry(server=self._access.server, open_session=new_session, wake=self._wake),
            settings=settings,
            identity=self._instance,  # type: ignore[arg-type]  # by default kopf needs a user name, which pods lack
            clusterwide=not self._namespaces,
            namespaces=self._namespaces,
        )
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            await task


class _Life:
    """One run of kopf, in a thread with an event loop."""

    def __init__(
        self, watch: Callable[["_Life"], Coroutine[Any, Any, None]], *, expected: frozenset[Watch]
    ) -> None:
        self._watch, self._expected = watch, expected
        self._main_loop, self._loop = asyncio.get_running_loop(), asyncio.new_event_loop()
        self._loop.set_exception_handler(_note_leftover)
        self._over, self._told_to_stop = asyncio.Event(), asyncio.Event()  # the second belongs to kopf's loop
        self._asked: dict[Watch, float] = {}
        self.sessions: list[aiohttp.ClientSession] = []
        self.reason = "stopped"

    async def live(self) -> None:
        """Start the thread and wait for its end. Stops kopf if it does not watch all resources."""
        threading.Thread(target=self._run, name="kopf", daemon=True).start()
        while not await self.ended(_LOOK_SECONDS):
            if overlooked := self._overlooked():
                self.reason = f"not watched: {', '.join(sorted(map(str, overlooked)))}"
                self.stop()

    async def ended(self, seconds: float) -> bool:
        """Wait at most this long for the end; return whether the run has ended."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._over.wait()
        return self._over.is_set()

    def asked(self, watch: Watch) -> None:
        """Note that kopf has requested this list or watch."""
        self._asked.setdefault(watch, time.monotonic())

    def stop(self) -> None:
        """Request the end of the run."""
        with suppress(RuntimeError):  # kopf's loop is closed
            self._loop.call_soon_threadsafe(self._told_to_stop.set)

    def _overlooked(self) -> frozenset[Watch]:
        """Return the missing watches. kopf never watches a kind that was not served at its discovery."""
        asked = dict(self._asked)
        if not asked or min(asked.values()) > time.monotonic() - _ALL_ASKED_SECONDS:
            return frozenset()
        return self._expected - asked.keys()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._main())
            self._loop.close()
        finally:
            with suppress(RuntimeError):  # the process is ending
                self._main_loop.call_soon_threadsafe(self._over.set)

    async def _main(self) -> None:
        watching = asyncio.create_task(self._watch(self))
        stop = asyncio.create_task(self._told_to_stop.wait())
        await asyncio.wait([watching, stop], return_when=asyncio.FIRST_COMPLETED)
        if watching.done() and (error := watching.exception()) is not None:
            self.reason = f"{type(error).__name__}: {error}"
        with suppress(TimeoutError):
            async with asyncio.timeout(_END_SECONDS):
                await self._clear()

    async def _clear(self) -> None:
        """Cancel all other tasks of this loop, and close its generators and kopf's connections."""
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        # Not gather, which waits even when cancelled; a task of kopf may wait for one that has ended.
        done, _ = await asyncio.wait(tasks, timeout=_END_SECONDS / 2) if tasks else (set(), set())
        await asyncio.gather(*done, return_exceptions=True)
        await self._loop.shutdown_asyncgens()
        for session in self.sessions:
            await session.close()


def _note_leftover(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log an unhandled error in kopf's loop. Most of them occur when kopf stops."""
    error = context.get("exception") or context.get("message")
    logger.warning("Unhandled error in a watch", extra={"fields": {"error": repr(error)}})
