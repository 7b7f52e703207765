"""An HTTP port for probes and metrics with bounded connections, so that slow clients cannot block probes.

Both programs have one. Its requests have no bodies and its responses are small, so the limits are constants.
"""

import asyncio
from dataclasses import dataclass, field

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from posecluster_common.listening import ACCEPTED_AT_ONCE, extend_backlog, listen

MAX_CONNECTIONS = 64
_FIRST_REQUEST_SECONDS = 5.0  # from the connection to the complete head of its first request
_NEXT_REQUEST_SECONDS = 15.0  # from a response to the complete head of the next request
_UNREAD_SECONDS = 10.0  # in which the client must read a response that fills the send buffer
_PIPELINED = 8  # requests that may wait behind another one; if there are more, the connection ends after it
_HEADERS, _FIELD_BYTES = 64, 4_096
_BUFFER_BYTES = 65_536
_MALFORMED = "This is not a well-formed HTTP/1.1 request.\n"


@dataclass(slots=True)
class _Connections:
    """The open connections, and those that wait for a request, the longest-waiting one first."""

    open: set["AdminConnection"] = field(default_factory=set)
    waiting: dict["AdminConnection", None] = field(default_factory=dict)


class AdminConnection(web.RequestHandler):
    """A connection to an admin port.

    It ends if no complete request arrives in time, if a response is not read, or if it has waited longest for
    a request when one connection more than MAX_CONNECTIONS arrives. A body is neither read nor awaited.
    """

    __slots__ = ("_others", "_timer", "_write_timer")

    def __init__(self, server: web.Server, others: _Connections, *, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            server,
            loop=loop,
            keepalive_timeout=_NEXT_REQUEST_SECONDS,
            access_log=None,  # type: ignore[arg-type]  # None disables the log
            max_field_size=_FIELD_BYTES,
            max_headers=_HEADERS,
            lingering_time=0,
            auto_decompress=False,
            read_bufsize=_BUFFER_BYTES,
        )
        self._others = others
        self._timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        others = self._others
        if len(others.open) >= MAX_CONNECTIONS:
            longest = next(iter(others.waiting), None)
            if longest is None:
                transport.abort()
                return
            longest.end()
        others.open.add(self)
        super().connection_made(transport)
        self._await_request(_FIRST_REQUEST_SECONDS)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._messages:
            self._stop_waiting()

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Write the response; aiohttp calls this after the handler."""
        if len(self._messages) > _PIPELINED:
            resp.force_close()
        result = await super().finish_response(request, resp, start_time)
        if not self._messages and self in self._others.open:
            self._await_request(_NEXT_REQUEST_SECONDS)
        return result

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Refuse a malformed request without a traceback in the log, which would quote the request."""
        if not isinstance(exc, HttpProcessingError):
            return super().handle_error(request, status, exc, message)
        response = web.Response(text=_MALFORMED, status=400)
        response.force_close()
        return response

    def pause_writing(self) -> None:
        super().pause_writing()
        self._write_timer = self._write_timer or self._loop.call_later(_UNREAD_SECONDS, self.end)

    def resume_writing(self) -> None:
        self._stop_write_timer()
        super().resume_writing()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._leave()
        super().connection_lost(exc)

    def end(self) -> None:
        """Close the connection immediately."""
        self._leave()
        if self.transport is not None:
            self.transport.abort()

    def _await_request(self, seconds: float) -> None:
        self._stop_waiting()
        self._others.waiting[self] = None
        self._timer = self._loop.call_later(seconds, self.end)

    def _stop_waiting(self) -> None:
        self._others.waiting.pop(self, None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _stop_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _leave(self) -> None:
        self._stop_waiting()
        self._stop_write_timer()
        self._others.open.discard(self)


class AdminPort:
    """Serves `app` on an admin port; `close_seconds` is how long `stop` waits for responses."""

    def __init__(self, app: web.Application, *, close_seconds: float) -> None:
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=close_seconds)
        self._listeners: list[asyncio.Server] = []
        self._connections = _Connections()

    async def start(self, host: str, port: int, *, port_setting: str) -> list[tuple[str, int]]:
        """Listen on each address of `host` (see `listen`); return addresses and ports. Raises OSError."""
        loop = asyncio.get_running_loop()
        await self._runner.setup()
        server = self._runner.server
        assert server is not None
        sockets = listen(host, port, port_setting=port_setting)
        self._listeners = [
            await loop.create_server(
                lambda: AdminConnection(server, self._connections, loop=loop),
                sock=one,
                backlog=ACCEPTED_AT_ONCE,
            )
            for one in sockets
        ]
        extend_backlog(sockets)
        return [one.getsockname()[:2] for one in sockets]

    async def stop(self) -> None:
        """Close the port and its connections."""
        for listener in self._listeners:
            listener.close()
        await self._runner.cleanup()
