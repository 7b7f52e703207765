"""Refuses what aiohttp's parser lets through, but a proxy before us may read differently."""

import re
from collections.abc import Callable, Sequence

from aiohttp import HttpVersion10, HttpVersion11, StreamReader, hdrs
from aiohttp.http_exceptions import BadHttpMessage, HttpProcessingError, LineTooLong
from aiohttp.http_parser import HttpParser, RawRequestMessage

LINE_BYTES = 4_096
FIELD_BYTES = 4_096
FIELDS = 64

# Bytes of a head that the parser skips uncounted are spaces and empty lines; it never gets this long.
_HEAD_BYTES = LINE_BYTES + FIELDS * (FIELD_BYTES + 4) + 16_384
# Around a chunk's content of n bytes: a chunk of one byte needs five more; the rest is for trailers.
_FRAMING_BYTES = 16_384
_FRAMING_BYTES_A_BODY_BYTE = 8
_SLICE_BYTES = 8_192
# llhttp treats 2^64 - 1 as no length at all
_LARGEST_LENGTH = 1 << 62
_HOST = re.compile(r"[A-Za-z0-9._~%:\[\]-]*")

_Messages = Sequence[tuple[RawRequestMessage, StreamReader]]


class StrictParser:
    """aiohttp's request parser with stricter rules.

    All of them raise HttpProcessingError, to which aiohttp's protocol answers once and closes. A
    body that was being read then ends in `on_broken_body`.
    """

    def __init__(
        self, parser: HttpParser[RawRequestMessage], on_broken_body: Callable[[StreamReader], None]
    ) -> None:
        self._parser = parser
        self._on_broken_body = on_broken_body
        self._body: StreamReader | None = None
        self._is_chunked = False
        self._is_paused = False
        self._rest = b""
        self._overhead_bytes = 0
        self._waiting = 0
        self._is_consumed_early = False

    # --- what aiohttp's protocol calls ---

    def feed_data(self, data: bytes) -> tuple[_Messages, bool, bytes]:
        """Parse what came; see aiohttp."""
        try:
            return self._feed(data)
        except HttpProcessingError:
            if self._is_in_body:
                assert self._body is not None
                self._on_broken_body(self._body)
            raise

    def pause_reading(self) -> None:
        self._is_paused = True
        self._parser.pause_reading()

    def message_consumed(self) -> None:
        self._waiting -= 1
        if self._waiting == 0 and self._is_in_body:
            self._is_consumed_early = True
        else:
            self._parser.message_consumed()

    def set_upgraded(self, is_upgraded: bool) -> None:
        self._parser.set_upgraded(is_upgraded)

    # --- what the connection asks ---

    @property
    def has_partial_head(self) -> bool:
        """True when the first bytes of a further request are here, and not the whole of its head."""
        return not self._is_in_body and self._overhead_bytes > 0

    @property
    def is_in_chunks(self) -> bool:
        return self._is_chunked and self._is_in_body

    # --- the rules ---

    @property
    def _is_in_body(self) -> bool:
        return self._body is not None and not self._body.is_eof()

    def _feed(self, data: bytes) -> tuple[_Messages, bool, bytes]:
        data, self._rest = self._rest + data, b""
        self._is_paused = False
        found: list[tuple[RawRequestMessage, StreamReader]] = []
        position = 0
        while True:
            # a body of known length has no framing to count
            size = len(data) if self._is_in_body and not self._is_chunked else _SLICE_BYTES
            messages, is_upgraded, tail = self._feed_slice(data[position : position + size])
            found += messages
            position += size
            if is_upgraded:
                return found, True, tail + data[position:]
            if position >= len(data) or (self._is_paused and self._is_in_body):
                self._rest = data[position:]
                return found, False, b""

    def _feed_slice(self, part: bytes) -> tuple[_Messages, bool, bytes]:
        body, was_in_body = self._body, self._is_in_body
        before = body.total_bytes if body is not None else 0
        messages, is_upgraded, tail = self._parser.feed_data(part)
        if self._is_consumed_early and body is not None and body.is_eof():
            # aiohttp counts a message as waiting once its body is whole, whether or not it was consumed
            self._is_consumed_early = False
            self._parser.message_consumed()
            more, is_upgraded, tail = self._parser.feed_data(b"") if not is_upgraded else ((), True, tail)
            messages = [*messages, *more]
        checked = [(check_head(message), payload) for message, payload in messages]
        self._waiting += len(checked)
        if checked:
            message, self._body = checked[-1]
            self._is_chunked = message.chunked
        if checked or was_in_body != self._is_in_body:
            self._overhead_bytes = 0
        else:
            received = body.total_bytes - before if body is not None else 0
            self._overhead_bytes += len(part) - received
            self._check_overhead()
        return checked, is_upgraded, tail

    def _check_overhead(self) -> None:
        if not self._is_in_body:
            if self._overhead_bytes > _HEAD_BYTES:
                raise LineTooLong(b"", _HEAD_BYTES)
        elif self._is_chunked:
            assert self._body is not None
            allowed = _FRAMING_BYTES + _FRAMING_BYTES_A_BODY_BYTE * self._body.total_bytes
            if self._overhead_bytes > allowed:
                raise BadHttpMessage("Chunk extensions or trailers are too long")


def check_head(message: RawRequestMessage) -> RawRequestMessage:
    """Return the head, marked as its connection's last if it asks for an upgrade.

    What follows an upgrade that we decline is not HTTP to everyone, and llhttp drops a part of it.
    Raises HttpProcessingError.
    """
    headers = message.headers
    if message.version not in (HttpVersion10, HttpVersion11):
        raise BadHttpMessage("Not a version that is served")
    is_of_server = message.method == hdrs.METH_OPTIONS and message.path == "*"
    is_path = message.path.startswith("/") and "#" not in message.path
    if message.method == hdrs.METH_CONNECT or not (is_path or is_of_server):
        raise BadHttpMessage("Not a path")
    codings = headers.getall(hdrs.TRANSFER_ENCODING, [])
    if codings and (len(codings) > 1 or codings[0].lower() != "chunked" or message.version != HttpVersion11):
        raise BadHttpMessage("Not the one transfer coding that is served")
    if int(headers.get(hdrs.CONTENT_LENGTH, "0")) > _LARGEST_LENGTH:
        raise BadHttpMessage("Not a length")
    if not all(_HOST.fullmatch(host) for host in headers.getall(hdrs.HOST, [])):
        raise BadHttpMessage("Not a host")
    expectations = headers.getall(hdrs.EXPECT, [])
    if any(expectation.strip().lower() != "100-continue" for expectation in expectations):
        raise BadHttpMessage("Not an expectation that is met")
    if any(len(name) + len(value) > FIELD_BYTES for name, value in message.raw_headers):
        raise LineTooLong(b"", FIELD_BYTES)
    return message._replace(should_close=True) if message.upgrade else message
