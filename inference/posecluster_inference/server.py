"""Start, serve, stop in order: what `posecluster-inference serve` runs."""

import asyncio
import logging
import signal
from contextlib import suppress

from aiohttp import web

from posecluster_inference.app import admin_app, client_app
from posecluster_inference.connection import ClientConnection
from posecluster_inference.errors import ModelError
from posecluster_inference.service import Service, build
from posecluster_inference.settings import Settings

logger = logging.getLogger(__name__)

_BACKLOG = 1_024
_LEEWAY_SECONDS = 1.0  # for answers that are being written when the last request is done


async def serve(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT, then drain; raises PoseClusterError when it cannot start."""
    service = build(settings)
    stop = _Stop()
    service.pool.supervisor.on_fatal = stop.fail
    service.pool.supervisor.start()  # the workers load while the ports open: `readyz` says when they are done
    background = [asyncio.create_task(service.memory.run())]
    if service.tokens is not None:
        await asyncio.to_thread(service.tokens.read)
        background.append(asyncio.create_task(service.tokens.run()))
    client_runner = web.AppRunner(
        client_app(service), handler_cancellation=True, shutdown_timeout=_LEEWAY_SECONDS, access_log=None
    )
    admin_runner = web.AppRunner(admin_app(service), shutdown_timeout=_LEEWAY_SECONDS, access_log=None)
    try:
        listener = await _listen(service, client_runner, admin_runner)
        await stop.asked.wait()
        if stop.error is None:
            await _drain(service, listener, delay_seconds=stop.delay_share * settings.drain_delay_ms / 1000)
        listener.close()
    finally:
        for runner in (client_runner, admin_runner):
            await runner.cleanup()
        await service.pool.supervisor.stop()
        for task in background:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        stop.close()
    if stop.error is not None:
        raise stop.error
    logger.info("Stopped")


class _Stop:
    """Why and how the server should end. A second signal changes nothing."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.error: ModelError | None = None
        self.delay_share = 1
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._ask, 1)
        # someone at a terminal has no endpoints to wait for
        loop.add_signal_handler(signal.SIGINT, self._ask, 0)

    def _ask(self, delay_share: int) -> None:
        if not self.asked.is_set():
            self.delay_share = delay_share
            self.asked.set()

    def close(self) -> None:
        """Ignore signals from now on: closing the loop would give them back their power to kill."""
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)

    def fail(self, error: ModelError) -> None:
        self.error = self.error or error
        self.asked.set()


async def _listen(
    service: Service, client_runner: web.AppRunner, admin_runner: web.AppRunner
) -> asyncio.Server:
    settings = service.settings
    loop = asyncio.get_running_loop()
    await admin_runner.setup()
    admin = web.TCPSite(admin_runner, settings.host, settings.admin_port)
    await admin.start()
    await client_runner.setup()
    web_server = client_runner.server
    assert web_server is not None
    listener = await loop.create_server(
        lambda: ClientConnection(web_server, service.connections, loop=loop),
        settings.host,
        settings.port,
        backlog=_BACKLOG,
    )
    logger.info(
        "Listening",
        extra={
            "fields": {
                "host": settings.host,
                "port": listener.sockets[0].getsockname()[1],
                "admin_port": admin_runner.addresses[0][1],
                "workers": service.pool.supervisor.config.size,
            }
        },
    )
    return listener


async def _drain(service: Service, listener: asyncio.Server, *, delay_seconds: float) -> None:
    """Unready at once; serve on while endpoints catch up; then take nothing new and finish the rest."""
    service.health.is_draining = True
    logger.info("Draining", extra={"fields": {"delay_seconds": delay_seconds}})
    await asyncio.sleep(delay_seconds)
    service.admission.is_closed = True
    listener.close()
    settings = service.settings
    longest = (settings.body_timeout_ms + settings.deadline_ms) / 1000 + _LEEWAY_SECONDS
    with suppress(TimeoutError):
        async with asyncio.timeout(longest):
            await service.in_flight.none()
