"""The life of the server process: start, serve, drain, stop."""

import asyncio
import logging
import signal
from collections.abc import Callable, Coroutine
from contextlib import suppress
from types import FrameType
from typing import Any

from aiohttp import web

from posecluster_common.admin_port import AdminPort
from posecluster_common.listening import ACCEPTED_AT_ONCE, extend_backlog, listen
from posecluster_inference.errors import PoseClusterError
from posecluster_inference.machine.cpu import ALLOW_PROCESSES, NO_THREAD
from posecluster_inference.server.http import openapi
from posecluster_inference.server.http.connection import ClientConnection
from posecluster_inference.server.http.routes import admin_app, client_app
from posecluster_inference.server.http.service import Service
from posecluster_inference.server.wiring import build
from posecluster_inference.settings import PREFIX, Settings

logger = logging.getLogger(__name__)

_LEEWAY_SECONDS = 1.0  # for responses that are still being written after the last request


async def serve(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT, then drain; raises PoseClusterError if the server cannot run."""
    service = build(settings)
    stop = _Stop()
    service.workers.start(
        service.pool, stop.fail
    )  # the workers load their model while the ports open; see `readyz`
    background = [stop.background(service.memory.run())]
    await asyncio.to_thread(_read_pages, service)
    if service.tokens is not None:
        await asyncio.to_thread(service.tokens.read)
        background.append(stop.background(service.tokens.run(service.detector.cache.forget)))
    client_runner = web.AppRunner(
        client_app(service), handler_cancellation=True, shutdown_timeout=_LEEWAY_SECONDS, access_log=None
    )
    admin = AdminPort(admin_app(service), close_seconds=_LEEWAY_SECONDS)
    try:
        listeners = await _listen(service, client_runner, admin)
        await stop.requested.wait()
        if stop.error is None:
            delay_ms = settings.drain_delay_ms if stop.waits_for_endpoints else 0
            await _drain(service, listeners, delay_seconds=delay_ms / 1000)
        _close(listeners)
    finally:
        await client_runner.cleanup()
        with suppress(
            TimeoutError
        ):  # closing connections still send the data that their clients have not read
            async with asyncio.timeout(settings.write_timeout_ms / 1000):
                await service.connections.open.none()
        if service.observer.exporter is not None:
            await asyncio.to_thread(service.observer.exporter.close, _LEEWAY_SECONDS)
        await admin.stop()
        await service.workers.stop()
        for task in background:
            task.cancel()
            await asyncio.wait([task])
        stop.close()
    if stop.error is not None:
        raise stop.error
    logger.info("Stopped")


def _read_pages(service: Service) -> None:
    service.pages.read()
    openapi.encoded(service.settings)


class _Stop:
    """Whether, why and how the server must stop. A second signal has no effect."""

    def __init__(self) -> None:
        self.requested = asyncio.Event()
        self.error: PoseClusterError | None = None
        self.waits_for_endpoints = True
        # The handlers of the loop are not used: after removing one, its signal could kill the process for a
        # moment.
        signal.signal(signal.SIGTERM, self._caller(waits_for_endpoints=True))
        # SIGINT comes from a terminal, where no Kubernetes endpoints need time to be updated.
        signal.signal(signal.SIGINT, self._caller(waits_for_endpoints=False))

    def _caller(self, *, waits_for_endpoints: bool) -> Callable[[int, FrameType | None], None]:
        loop = asyncio.get_running_loop()

        def caught(_number: int, _frame: FrameType | None) -> None:
            loop.call_soon_threadsafe(self._request, waits_for_endpoints)

        return caught

    def _request(self, waits_for_endpoints: bool) -> None:
        if not self.requested.is_set():
            self.waits_for_endpoints = waits_for_endpoints
            self.requested.set()

    def background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run `work` for the life of the server; if it fails, the server stops with an error."""
        task = asyncio.create_task(work)
        task.add_done_callback(self._end_with)
        return task

    def _end_with(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("A background task ended", exc_info=error)
            advice = f"; {ALLOW_PROCESSES}" if str(error) == NO_THREAD else ""
            self.fail(PoseClusterError(f"a background task ended: {error!r}{advice}"))

    def close(self) -> None:
        """Ignore signals until the end of the process."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)

    def fail(self, error: PoseClusterError) -> None:
        self.error = self.error or error
        self.requested.set()


async def _listen(service: Service, client_runner: web.AppRunner, admin: AdminPort) -> list[asyncio.Server]:
    settings = service.settings
    loop = asyncio.get_running_loop()
    admin_addresses = await admin.start(
        settings.host, settings.admin_port, port_setting=f"{PREFIX}ADMIN_PORT"
    )
    await client_runner.setup()
    web_server = client_runner.server
    assert web_server is not None
    client_sockets = listen(settings.host, settings.port, port_setting=f"{PREFIX}PORT")
    listeners = [
        await loop.create_server(
            lambda: ClientConnection(web_server, service.connections, loop=loop),
            sock=one,
            backlog=ACCEPTED_AT_ONCE,
        )
        for one in client_sockets
    ]
    extend_backlog(client_sockets)
    logger.info(
        "Listening",
        extra={
            "fields": {
                "host": ", ".join(one.getsockname()[0] for one in client_sockets),
                "port": client_sockets[0].getsockname()[1],
                "admin_port": admin_addresses[0][1],
                "workers": service.workers.config.size,
            }
        },
    )
    return listeners


def _close(listeners: list[asyncio.Server]) -> None:
    for listener in listeners:
        listener.close()


async def _drain(service: Service, listeners: list[asyncio.Server], *, delay_seconds: float) -> None:
    """Become unready, serve while endpoints are updated, then finish the requests in flight."""
    service.health.begin_drain()
    logger.info("Draining", extra={"fields": {"delay_seconds": delay_seconds}})
    await asyncio.sleep(delay_seconds)
    service.admission.close()
    _close(listeners)
    settings = service.settings
    longest = (settings.body_timeout_ms + settings.deadline_ms) / 1000 + _LEEWAY_SECONDS
    with suppress(TimeoutError):
        async with asyncio.timeout(longest):
            await service.connections.in_flight.none()
