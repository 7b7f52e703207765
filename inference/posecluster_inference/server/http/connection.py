"""A client connection: aiohttp's protocol with additional time limits and a limit on connections."""

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
from posecluster_inference.server.http.answer_budget import AnswerBudget
from posecluster_inference.server.http.pace import Pace, Progress
from posecluster_inference.server.http.problems import problem, raw_problem

logger = logging.getLogger(__name__)

# One read gets a whole ordinary photograph. Reads of chunked bodies are smaller because each chunk takes
# time, and one connection must not block the loop, even with 200,000 chunks of one byte.
_READ_BYTES = 163_840
_READ_CHUNKED_BYTES = 65_536
# Unread responses stay in the kernel and count as memory of the pod. Linux would buffer up to 4 MiB per
# connection, and the time limit for unread responses would start only after that. Linux doubles this value.
_SEND_BUFFER_BYTES = 65_536
# The rest of a refused body is read and discarded until its end, a pause of this length, or the limit on its
# pace. Closing immediately would reset the connection, and a client that is still sending would not get the
# response.
_LINGER_SECONDS = 0.8
_SHORT_LINGER_SECONDS = 0.1  # for a body that was refused as too slow
_LEAST_READ_BYTES = 65_536  # a client must read this much of a response in each `write_seconds`
_AGE_SPREAD = 0.2
# Refused clients move first, because they have the most to gain. They do not move at once: a client that
# retries in a loop would then open a connection for each of its requests.
_REFUSED_AGE_SHARE = 1 / 3
SERVER_NAME = "posecluster"  # without a version, which could help attackers
# Pipelined requests that may wait on a connection; no client library sends more. If there are more, the
# connection is closed after the current response, so that thousands of cheap requests do not delay other
# clients.
_PIPELINED = 8
TURNED_AWAY = 64  # excess connections that get a response at the same time; others are only closed


class Count:
    """A counter with a way to wait until it is zero."""

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
        """Wait until the counter is zero."""
        await self._none.wait()


@dataclass(slots=True, kw_only=True)
class ConnectionLimits:
    """Limits and counters that all client connections share. Times are in seconds.

    `age_seconds` 0 disables the limit on the age, and `busy_age_seconds` 0 the one of a busy server.
    `pace` applies to a refused body, which is read and discarded, and to the reading of a response.
    `in_flight` counts requests from their complete head to their written response.
    `no_place` creates the refusal of a connection that exceeds `max_connections`.
    """

    max_connections: int
    header_seconds: float
    idle_seconds: float
    write_seconds: float
    age_seconds: float
    busy_age_seconds: float
    pace: Pace
    answers: AnswerBudget
    no_place: Callable[[], Refusal]
    open: Count = field(default_factory=Count)
    in_flight: Count = field(default_factory=Count)
    turned_away: Count = field(default_factory=Count)


class ClientConnection(web.RequestHandler):
    """One connection to the client port.

    The client must send the first head within `header_seconds` of connecting, and each further head within
    `header_seconds` of its first byte. A response that is not read for `write_seconds`, or more slowly than
    `pace`, ends the connection.
    """

    __slots__ = (
        "_age_spread",
        "_answered_body",
        "_head_timer",
        "_held_answer",
        "_in_flight",
        "_in_request",
        "_is_slow",
        "_limits",
        "_opened",
        "_reading",
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
            access_log=None,  # type: ignore[arg-type]  # None disables the log
            max_line_size=strict_parser.LINE_BYTES,
            max_field_size=strict_parser.FIELD_BYTES,
            max_headers=strict_parser.HEAD_BYTES,  # the strict parser checks the real limit
            lingering_time=0,  # `_drop` discards a refused body
            auto_decompress=False,
            read_bufsize=_READ_BYTES,
        )
        assert self._parser is not None
        self._strict = strict_parser.StrictParser(self._parser, self._end_broken_body)
        self._parser = self._strict  # type: ignore[assignment]  # has the methods that aiohttp calls
        self._limits = limits
        self._head_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._unwritten_bytes = 0
        self._reading: Progress | None = None
        self._held_answer: tuple[str, int] | None = None
        self._in_request = False
        self._in_flight = False
        self._answered_body: StreamReader | None = None
        self._is_slow = False
        self._turned_away = False
        self._opened = 0.0
        self._age_spread = random.uniform(1 - _AGE_SPREAD, 1 + _AGE_SPREAD)  # noqa: S311

    # --- called by the middleware ---

    def request_started(self) -> None:
        """Record that the head of a request is complete."""
        self._in_request = self._in_flight = True
        self._limits.in_flight.enter()
        _cancel(self._head_timer)
        self._head_timer = None

    def hold_answer(self, caller: str, size_bytes: int) -> None:
        """Count the answer to this request until it is written; raises Refusal."""
        if self._in_flight:  # otherwise the connection is lost
            self._limits.answers.take(caller, size_bytes)
            self._held_answer = caller, size_bytes

    def request_finished(self, body: StreamReader) -> None:
        """Record that the response to a request is about to be written."""
        self._in_request = False
        self._answered_body = body
        if self._strict.has_partial_head:
            self._await_head()

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Write the response; aiohttp calls this after the handler."""
        try:
            result = await super().finish_response(request, resp, start_time)
        finally:
            self._leave_flight()
        await self._drop(request.content)
        return result

    async def _drop(self, body: StreamReader) -> None:
        """Read and discard the rest of an answered request's body."""
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
        if self._held_answer is not None:
            self._limits.answers.give_back(*self._held_answer)
            self._held_answer = None

    def linger_less(self) -> None:
        """Wait only briefly for the rest of this request's body."""
        self._is_slow = True

    @property
    def is_old(self) -> bool:
        """Whether the connection should close after its next response, so that new pods get traffic."""
        return self._is_older_than(self._limits.age_seconds)

    def may_move(self, *, is_refused: bool) -> bool:
        """Return whether a busy server may close the connection, so that its client reaches another pod.

        `is_refused`: this request was refused for lack of capacity. Pipelined requests that wait would be
        lost, so their connection stays open.
        """
        if self._messages or self._strict.has_partial_head:
            return False
        share = _REFUSED_AGE_SHARE if is_refused else 1.0
        return self._is_older_than(self._limits.busy_age_seconds * share)

    def _is_older_than(self, seconds: float) -> bool:
        return bool(seconds) and self._loop.time() - self._opened > seconds * self._age_spread

    @property
    def is_crowded(self) -> bool:
        """Whether more pipelined requests wait than the server answers on one connection."""
        return len(self._messages) > _PIPELINED

    # --- called by the event loop ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        limits = self._limits
        if limits.open.value >= limits.max_connections:
            self._turn_away(transport)
            return
        limits.open.enter()
        self._opened = self._loop.time()
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        transport.max_size = _READ_CHUNKED_BYTES  # type: ignore[attr-defined]  # asyncio's own name
        # A response counts as written when the kernel has all of it. With asyncio's default the last 64 KiB
        # would have no time limit, and could keep the whole response in memory.
        transport.set_write_buffer_limits(high=0)
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
            self._reading = Progress(self._limits.pace, self._loop.time())
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
        assert self._reading is not None
        now = self._loop.time()
        if read_bytes >= _LEAST_READ_BYTES and self._reading.received(read_bytes, now) > now:
            self._await_reader()  # a large response and a slow client
        else:
            self._abort()

    def _await_head(self) -> None:
        self._head_timer = self._loop.call_later(self._limits.header_seconds, self._abort)

    def _abort(self) -> None:
        self._head_timer = None
        if self.transport is not None:
            self.transport.abort()

    # --- called for requests that the parser refuses ---

    def _end_broken_body(self, body: StreamReader) -> None:
        if body is self._answered_body:
            self.force_close()
        else:
            body.set_exception(web.RequestPayloadError("The framing of the body is invalid"))
            body.feed_eof()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Respond with a problem and log one line without the parser's message, which quotes the request."""
        if not isinstance(exc, HttpProcessingError):
            return super().handle_error(request, status, exc, message)
        if isinstance(exc, strict_parser.HeadTooLarge):
            refusal = Refusal(Reason.MALFORMED, exc.message, status=431)
        else:
            refusal = Refusal(
                Reason.MALFORMED, "This is not a well-formed HTTP/1.1 request: let an HTTP library write it."
            )
        logger.info(
            "Request refused",
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
