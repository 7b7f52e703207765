"""Refuses what aiohttp's parser lets through, but a proxy before us may read differently."""

import re
from collections.abc import Callable, Sequence

from aiohttp import HttpVersion10, HttpVersion11, StreamReader, hdrs
from aiohttp.http_exceptions import BadHttpMessage, HttpProcessingError, LineTooLong
from aiohttp.http_parser import HttpParser, RawRequestMessage
from aiohttp.web_protocol import MAX_MSG_QUEUE_SIZE

# Without line ends: the request line, and a field with its name, colon and value. The head is all of it.
LINE_BYTES = 8_192
FIELD_BYTES = 16_384
HEAD_BYTES = 32_768
FIELDS = 100
_HEAD_END = b"\r\n\r\n"
_LONGEST_NAME = 40  # of a field, in a refusal
_UNSAFE_IN_NAME = re.compile(rb"[^A-Za-z0-9_-]")
# Around a chunk's content of n bytes: a chunk of one byte needs five more; the rest is for trailers.
_FRAMING_BYTES = 16_384
_FRAMING_BYTES_A_BODY_BYTE = 8
_SLICE_BYTES = 8_192
# llhttp treats 2^64 - 1 as no length at all
_LARGEST_LENGTH = 1 << 62
_HOST = re.compile(r"[A-Za-z0-9._~%:\[\]-]*")

_Messages = Sequence[tuple[RawRequestMessage, StreamReader]]


class HeadTooLarge(HttpProcessingError):
    """A request's head that crosses a limit; `message` names the limit and, where there is one, the field."""

    def __init__(self, message: str) -> None:
        super().__init__(code=431, message=message)


class StrictParser:
    """aiohttp's request parser with stricter rules.

    All of them raise HttpProcessingError, to which aiohttp's protocol answers once and closes. A
    body that was being read then ends in `on_broken_body`. Of a head, the parser itself must enforce
    LINE_BYTES and FIELD_BYTES, so that it never keeps more of a line that does not end.
    """

    def __init__(
        self, parser: HttpParser[RawRequestMessage], on_broken_body: Callable[[StreamReader], None]
    ) -> None:
        self._parser = parser
        self._on_broken_body = on_broken_body
        self._head = bytearray()  # of the next request, as far as it is here
        self._body: StreamReader | None = None
        self._body_bytes = 0  # of a body whose length is known
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
        return len(self._head) > 0

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
            size = self._part_size(data, position)
            was_in_body = self._is_in_body
            messages, is_upgraded, tail = self._feed_part(data[position : position + size])
            position += size
            # behind the end of a chunked body, the same part may have held more than a head
            is_alone = not was_in_body and len(data) - position <= self._body_bytes
            found += [(_last_if_upgrade(message, is_alone=is_alone), body) for message, body in messages]
            if is_upgraded:
                return found, True, tail + data[position:]
            is_held = self._is_paused if self._is_in_body else self._waiting >= MAX_MSG_QUEUE_SIZE
            if position >= len(data) or is_held:
                self._rest = data[position:]
                return found, False, b""

    def _part_size(self, data: bytes, position: int) -> int:
        """Return how much to parse at once: of a head or a body of known length, no byte beyond its end."""
        if self._is_in_body:
            assert self._body is not None
            rest = 0 if self._is_chunked else self._body_bytes - self._body.total_bytes
            return rest or _SLICE_BYTES
        before = bytes(self._head[-len(_HEAD_END) + 1 :])
        end = (before + data[position : position + _SLICE_BYTES]).find(_HEAD_END)
        return _SLICE_BYTES if end < 0 else end + len(_HEAD_END) - len(before)

    def _feed_part(self, part: bytes) -> tuple[_Messages, bool, bytes]:
        body, was_in_body = self._body, self._is_in_body
        before = body.total_bytes if body is not None else 0
        if not was_in_body:
            self._head += part
        try:
            messages, is_upgraded, tail = self._parser.feed_data(part)
        except LineTooLong:
            if was_in_body:
                raise
            raise HeadTooLarge(_excess(self._head) or "The head of the request is too long.") from None
        if self._is_consumed_early and body is not None and body.is_eof():
            # aiohttp counts a message as waiting once its body is whole, whether or not it was consumed
            self._is_consumed_early = False
            self._parser.message_consumed()
            more, is_upgraded, tail = self._parser.feed_data(b"") if not is_upgraded else ((), True, tail)
            messages = [*messages, *more]
        if messages or len(self._head) > HEAD_BYTES:
            if excess := _excess(self._head):
                raise HeadTooLarge(excess)
            self._head.clear()
        for message, payload in messages:
            check_head(message)
            self._body, self._is_chunked = payload, message.chunked
            self._body_bytes = int(message.headers.get(hdrs.CONTENT_LENGTH, "0"))
        self._waiting += len(messages)
        if messages or was_in_body != self._is_in_body:
            self._overhead_bytes = 0
        elif self._is_in_body and self._is_chunked:
            assert self._body is not None
            self._overhead_bytes += len(part) - (self._body.total_bytes - before)
            if self._overhead_bytes > _FRAMING_BYTES + _FRAMING_BYTES_A_BODY_BYTE * self._body.total_bytes:
                raise BadHttpMessage("Chunk extensions or trailers are too long")
        return messages, is_upgraded, tail


def _last_if_upgrade(message: RawRequestMessage, *, is_alone: bool) -> RawRequestMessage:
    """Mark a head as its connection's last if it asks for an upgrade: we decline all of them.

    What follows is not HTTP to everyone, and llhttp drops a part of it. Only the offer of HTTP/2 that
    Java's client makes with each request leaves the connection open, if no more than its body is there.
    """
    if not message.upgrade:
        return message
    is_offer = message.headers.get(hdrs.UPGRADE, "").lower() == "h2c" and not message.chunked
    return message if is_offer and is_alone else message._replace(should_close=True)


def _excess(head: bytes | bytearray) -> str | None:
    """Say which limit a head crosses that may be incomplete, and in which field; None if it crosses none."""
    line, *fields = bytes(head).strip(b"\r\n").split(b"\r\n")
    longest = max(fields, key=len, default=b"")
    if len(line) > LINE_BYTES:
        return f"The request line has more than {LINE_BYTES} bytes: send a shorter address."
    if len(longest) > FIELD_BYTES:
        return f"{_named(longest)} has more than {FIELD_BYTES} bytes: send less in it."
    if len(fields) > FIELDS:
        return f"The request has more than {FIELDS} header fields: send fewer."
    if len(head) > HEAD_BYTES:
        return (
            f"The head of the request has more than {HEAD_BYTES} bytes. {_named(longest)} is its longest: "
            "send less."
        )
    return None


def _named(field: bytes) -> str:
    name = _UNSAFE_IN_NAME.sub(b"", field.partition(b":")[0][:_LONGEST_NAME]).decode()
    return f"The header field {name}" if name else "A header field"


def check_head(message: RawRequestMessage) -> None:
    """Refuse what a proxy may read differently; raises HttpProcessingError."""
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
    # a head that began in the same part as the end of a chunked body is not known byte for byte
    fields = [b"%b: %b" % field for field in message.raw_headers]
    if excess := _excess(b"\r\n".join([message.path.encode(errors="surrogateescape"), *fields])):
        raise HeadTooLarge(excess)
