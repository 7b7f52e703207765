"""Refuses requests that aiohttp's parser accepts but that a proxy may interpret differently."""

import re
from collections.abc import Callable, Sequence

from aiohttp import HttpVersion10, HttpVersion11, StreamReader, hdrs
from aiohttp.http_exceptions import BadHttpMessage, HttpProcessingError, LineTooLong
from aiohttp.http_parser import HttpParser, RawRequestMessage
from aiohttp.web_protocol import MAX_MSG_QUEUE_SIZE

# Limits without line ends: the request line, a header field with its name and value, and the whole head
LINE_BYTES = 8_192
FIELD_BYTES = 16_384
HEAD_BYTES = 32_768
FIELDS = 100
_HEAD_END = b"\r\n\r\n"
_LONGEST_NAME = 40  # characters of a field's name in a refusal
_UNSAFE_IN_NAME = re.compile(rb"[^A-Za-z0-9_-]")
# Limits on the framing of a chunked body. A chunk of one byte needs five more bytes; the rest is for
# trailers.
_FRAMING_BYTES = 16_384
_FRAMING_BYTES_A_BODY_BYTE = 8
_SLICE_BYTES = 8_192
# llhttp treats 2^64 - 1 as a missing length.
_LARGEST_LENGTH = 1 << 62
_HOST = re.compile(r"[A-Za-z0-9._~%:\[\]-]*")

_Messages = Sequence[tuple[RawRequestMessage, StreamReader]]


class HeadTooLarge(HttpProcessingError):
    """The head of a request exceeds a limit; `message` names the limit and the field, if any."""

    def __init__(self, message: str) -> None:
        super().__init__(code=431, message=message)


class StrictParser:
    """aiohttp's request parser with stricter rules.

    A violation raises HttpProcessingError; aiohttp's protocol then sends one response and closes the
    connection. If a body is being read, `on_broken_body` is called with it. The wrapped parser must enforce
    LINE_BYTES and FIELD_BYTES itself, so that it never stores more of an unterminated line.
    """

    def __init__(
        self, parser: HttpParser[RawRequestMessage], on_broken_body: Callable[[StreamReader], None]
    ) -> None:
        self._parser = parser
        self._on_broken_body = on_broken_body
        self._head = bytearray()  # the received part of the next head
        self._body: StreamReader | None = None
        self._body_bytes = 0  # declared length of the current body
        self._is_chunked = False
        self._is_paused = False
        self._rest = b""
        self._overhead_bytes = 0
        self._waiting = 0
        self._is_consumed_early = False

    # --- called by aiohttp's protocol ---

    def feed_data(self, data: bytes) -> tuple[_Messages, bool, bytes]:
        """Parse received bytes; see aiohttp's HttpParser."""
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

    # --- called by the connection ---

    @property
    def has_partial_head(self) -> bool:
        """Whether a part of the next head has been received."""
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
            # If a chunked body ended in this part, the part may contain more than the next head.
            is_alone = not was_in_body and len(data) - position <= self._body_bytes
            found += [(_last_if_upgrade(message, is_alone=is_alone), body) for message, body in messages]
            if is_upgraded:
                return found, True, tail + data[position:]
            is_held = self._is_paused if self._is_in_body else self._waiting >= MAX_MSG_QUEUE_SIZE
            if position >= len(data) or is_held:
                self._rest = data[position:]
                return found, False, b""

    def _part_size(self, data: bytes, position: int) -> int:
        """Return how many bytes to parse: never beyond the end of a head or of a body of known length."""
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
            # aiohttp counts a message as waiting when its body is complete, even if it was consumed before.
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
    """Return the message such that the connection closes after it if it requests an upgrade.

    The server declines all upgrades, but a proxy may not interpret the following bytes as HTTP, and llhttp
    drops a part of them. An exception is the HTTP/2 upgrade that Java's client offers with each request: the
    connection stays open if nothing but the body of this request has been received.
    """
    if not message.upgrade:
        return message
    is_offer = message.headers.get(hdrs.UPGRADE, "").lower() == "h2c" and not message.chunked
    return message if is_offer and is_alone else message._replace(should_close=True)


def _excess(head: bytes | bytearray) -> str | None:
    """Return a message about the limit that a complete or partial head exceeds; None if it exceeds none."""
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
    """Raise HttpProcessingError for a head that a proxy may interpret differently."""
    headers = message.headers
    if message.version not in (HttpVersion10, HttpVersion11):
        raise BadHttpMessage("The HTTP version is not supported")
    is_of_server = message.method == hdrs.METH_OPTIONS and message.path == "*"
    is_path = message.path.startswith("/") and "#" not in message.path
    if message.method == hdrs.METH_CONNECT or not (is_path or is_of_server):
        raise BadHttpMessage("The request target is not a path")
    codings = headers.getall(hdrs.TRANSFER_ENCODING, [])
    if codings and (len(codings) > 1 or codings[0].lower() != "chunked" or message.version != HttpVersion11):
        raise BadHttpMessage("The transfer coding is not supported")
    if int(headers.get(hdrs.CONTENT_LENGTH, "0")) > _LARGEST_LENGTH:
        raise BadHttpMessage("The Content-Length is too large")
    if not all(_HOST.fullmatch(host) for host in headers.getall(hdrs.HOST, [])):
        raise BadHttpMessage("The Host field is invalid")
    expectations = headers.getall(hdrs.EXPECT, [])
    if any(expectation.strip().lower() != "100-continue" for expectation in expectations):
        raise BadHttpMessage("The expectation is not supported")
    # If the head began in the same part as the end of a chunked body, its exact bytes are not known.
    fields = [b"%b: %b" % field for field in message.raw_headers]
    if excess := _excess(b"\r\n".join([message.path.encode(errors="surrogateescape"), *fields])):
        raise HeadTooLarge(excess)
