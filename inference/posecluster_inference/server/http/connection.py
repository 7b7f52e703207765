"""A client's connection: aiohttp's protocol with the timers and the cap that it lacks."""

import asyncio
import logging
import random
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from aiohttp import StreamReader, hdrs, web
from aiohttp.http_exceptions import HttpProcessingError

from posecluster_inference.errors import Reason, Refusal
from posecluster_inference.server.http import strict_parser
from posecluster_inference.server.http.pace import Pace, Progress
from posecluster_inference.server.http.problems import problem, raw_problem

logger = logging.getLogger(__name__)

# Read at once: an ordinary photograph whole. Of a chunked body less, because it costs by the chunk and
# one connection must not hold the loop, 200,000 chunks of a byte included.
_READ_BYTES = 163_840
_READ_CHUNKED_BYTES = 65_536
# Answers that nobody reads stay in the kernel, where they count as the pod's memory; Linux would take
# 4 MiB a connection, and only then would the timer of an unread answer start. Linux doubles this.
_SEND_BUFFER_BYTES = 65_536
# A refused body is read and dropped while it keeps its pace, to its end or to a pause of this length: closing
# at once would reset the connection, and a caller that is still sending would never see why.
_LINGER_SECONDS = 0.8
_SHORT_LINGER_SECONDS = 0.1  # for a body that was too slow already
_LEAST_READ_BYTES = 65_536  # of an answer, each time that the limit on an unread one passes
_AGE_SPREAD = 0.2
SERVER_NAME = "posecluster"  # no versions for strangers
# Requests that wait behind the one being answered. No client library sends more ahead; with more, that
# answer is the connection's last, or thousands of cheap requests would take turns from everybody.
_PIPELINED = 8
TURNED_AWAY = 64  # connections over the cap that are told so; any more are just closed


class Count:
    """A number of things, and a way to wait until there are none."""

    def __init__(self) -> None:
        self.value = 0
        self._none = asyncio.Event()
        self._none.set()

    def enter(self) -> None:
        self.value += 1
        self._none.clear()

    def leave(self) -> None:
        self.value -= 1
        if self.value == 0:
            self._none.set()

    async def none(self) -> None:
        """Wait until there are none."""
        await self._none.wait()


@dataclass(slots=True, kw_only=True)
class ConnectionLimits:
    """What all client connections share; times in seconds, an age of 0 is off.

    `pace` is that of a refused body, which is read and dropped.
    `in_flight` counts requests from their whole head to their written answer.
    `no_place` makes the refusal of a connection over the cap.
    """

    max_connections: int
    header_seconds: float
    idle_seconds: float
    write_seconds: float
    age_seconds: float
    pace: Pace
    no_place: Callable[[], Refusal]
    open: Count = field(default_factory=Count)
    in_flight: Count = field(default_factory=Count)
    turned_away: Count = field(default_factory=Count)


class ClientConnection(web.RequestHandler):
    """One connection to the client port.

    A new connection must send its first head, and each later head once its first byte is here,
    within `header_seconds`; an answer that stays unread for `write_seconds` ends the connection.
    """

    __slots__ = (
        "_age_limit",
        "_answered_body",
        "_head_timer",
        "_in_flight",
        "_in_request",
        "_is_slow",
        "_limits",
        "_strict",
        "_turned_away",
        "_unwritten_bytes",
        "_write_timer",
    )

    def __init__(
        self, server: web.Server, limits: ConnectionLimits, *, loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__(
            server,
            loop=loop,
            keepalive_timeout=limits.idle_seconds,
            access_log=None,  # type: ignore[arg-type]  # aiohttp's way to switch it off
            max_line_size=strict_parser.LINE_BYTES,
            max_field_size=strict_parser.FIELD_BYTES,
            max_headers=strict_parser.HEAD_BYTES,  # the strict parser counts them, to name the limit
            lingering_time=0,  # a refused body is dropped by `_drop`
            auto_decompress=False,
            read_bufsize=_READ_BYTES,
        )
        assert self._parser is not None
        self._strict = strict_parser.StrictParser(self._parser, self._end_broken_body)
        self._parser = self._strict  # type: ignore[assignment]  # has what is called of it
        self._limits = limits
        self._head_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._unwritten_bytes = 0
        self._in_request = False
        self._in_flight = False
        self._answered_body: StreamReader | None = None
        self._is_slow = False
        self._turned_away = False
        self._age_limit = 0.0

    # --- called by the middleware ---

    def request_started(self) -> None:
        """The whole head is here."""
        self._in_request = self._in_flight = True
        self._limits.in_flight.enter()
        _cancel(self._head_timer)
        self._head_timer = None

    def request_finished(self, body: StreamReader) -> None:
        """Its answer is about to be written."""
        self._in_request = False
        self._answered_body = body
        if self._strict.has_partial_head:
            self._await_head()

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Write the answer (aiohttp's step after the handler)."""
        try:
            result = await super().finish_response(request, resp, start_time)
        finally:
            self._leave_flight()
        await self._drop(request.content)
        return result

    async def _drop(self, body: StreamReader) -> None:
        """Read what is left of an answered request's body."""
        progress = Progress(self._limits.pace, self._loop.time())
        end = self._loop.time() + _SHORT_LINGER_SECONDS if self._is_slow else progress.deadline
        with suppress(TimeoutError, ConnectionError, web.RequestPayloadError, HttpProcessingError):
            while not body.is_eof() and not self._force_close:
                async with asyncio.timeout_at(min(end, self._loop.time() + _LINGER_SECONDS)):
                    size = len(await body.readany())
                if not self._is_slow:
                    end = progress.received(size, self._loop.time())

    def _leave_flight(self) -> None:
        if self._in_flight:
            self._in_flight = False
            self._limits.in_flight.leave()

    def linger_less(self) -> None:
        """What is left of this request's body is not worth waiting for."""
        self._is_slow = True

    @property
    def is_old(self) -> bool:
        """True when the next answer should be this connection's last, so that new pods get a share."""
        return bool(self._limits.age_seconds) and self._loop.time() > self._age_limit

    @property
    def is_crowded(self) -> bool:
        """True when more requests wait on this connection than are ever answered on it."""
        return len(self._messages) > _PIPELINED

    # --- called by the event loop ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        limits = self._limits
        if limits.open.value >= limits.max_connections:
            self._turn_away(transport)
            return
        limits.open.enter()
        spread = random.uniform(1 - _AGE_SPREAD, 1 + _AGE_SPREAD)  # noqa: S311
        self._age_limit = self._loop.time() + limits.age_seconds * spread
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        transport.max_size = _READ_CHUNKED_BYTES  # type: ignore[attr-defined]  # asyncio's own name
        super().connection_made(transport)
        self._await_head()

    def _turn_away(self, transport: asyncio.Transport) -> None:
        self._turned_away = True
        self._limits.turned_away.enter()
        refusal = self._limits.no_place()
        if self._limits.turned_away.value > TURNED_AWAY:
            transport.abort()
            return
        transport.write(raw_problem(refusal))
        transport.write_eof()
        self._write_timer = self._loop.call_later(_LINGER_SECONDS, transport.abort)

    def data_received(self, data: bytes) -> None:
        if self._turned_away:
            return
        if not self._in_request and self._head_timer is None:
            self._await_head()
        super().data_received(data)
        if self.transport is not None:
            size = _READ_CHUNKED_BYTES if self._strict.is_in_chunks else _READ_BYTES
            self.transport.max_size = size  # type: ignore[attr-defined]  # asyncio's own name

    def connection_lost(self, exc: BaseException | None) -> None:
        _cancel(self._head_timer)
        self._head_timer = None
        _cancel(self._write_timer)
        self._write_timer = None
        if self._turned_away:
            self._limits.turned_away.leave()
            return
        self._limits.open.leave()
        self._leave_flight()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._write_timer is None:
            self._await_reader()

    def resume_writing(self) -> None:
        _cancel(self._write_timer)
        self._write_timer = None
        super().resume_writing()

    def _await_reader(self) -> None:
        assert isinstance(self.transport, asyncio.Transport)
        self._unwritten_bytes = self.transport.get_write_buffer_size()
        self._write_timer = self._loop.call_later(self._limits.write_seconds, self._check_reader)

    def _check_reader(self) -> None:
        if not isinstance(self.transport, asyncio.Transport):
            return
        read_bytes = self._unwritten_bytes - self.transport.get_write_buffer_size()
        if read_bytes >= _LEAST_READ_BYTES:
            self._await_reader()  # a large answer, and a slow reader
        else:
            self._abort()

    def _await_head(self) -> None:
        self._head_timer = self._loop.call_later(self._limits.header_seconds, self._abort)

    def _abort(self) -> None:
        self._head_timer = None
        if self.transport is not None:
            self.transport.abort()

    # --- called for what the parser refuses ---

    def _end_broken_body(self, body: StreamReader) -> None:
        if body is self._answered_body:
            self.force_close()
        else:
            body.set_exception(web.RequestPayloadError("The body is not framed as its head says"))
            body.feed_eof()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer in our form and log one line: the parser's message quotes the caller's bytes."""
        if not isinstance(exc, HttpProcessingError):
            return super().handle_error(request, status, exc, message)
        if isinstance(exc, strict_parser.HeadTooLarge):
            refusal = Refusal(Reason.MALFORMED, exc.message, status=431)
        else:
            refusal = Refusal(Reason.MALFORMED, "This is not a well-formed HTTP/1.1 request.")
        logger.info(
            "Refused",
            extra={"fields": {"status": refusal.status, "reason": refusal.reason, "caller": request.remote}},
        )
        response = problem(refusal)
        response.headers[hdrs.SERVER] = SERVER_NAME
        response.headers[hdrs.CONNECTION] = "close"
        response.force_close()
        return response


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
