"""However a stream of requests is split, the strict parser gives the same requests and refusals."""

import asyncio
from collections.abc import Iterator
from itertools import pairwise

import pytest
from aiohttp import StreamReader
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser
from hypothesis import given
from hypothesis import strategies as st

from posecluster_inference.server.http import strict_parser
from posecluster_inference.server.http.strict_parser import StrictParser

HOST = b"Host: t\r\n"
GET = b"GET /a HTTP/1.1\r\n" + HOST + b"\r\n"
SIZED = b"POST /b HTTP/1.1\r\n" + HOST + b"Content-Length: 20\r\n\r\n" + b"\r\n\r\n0123456789abcdef"
CHUNKED = (
    b"POST /c HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n4\r\n\r\n\r\n\r\n0\r\nX: y\r\n\r\n"
)
OFFER = b"GET /d HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n"


def long_head(field: bytes, times: int = 1) -> bytes:
    return b"GET / HTTP/1.1\r\n" + HOST + field * times + b"\r\n"


REFUSED = {
    "cookie": long_head(b"Cookie: " + b"a" * strict_parser.FIELD_BYTES + b"\r\n"),
    "fields": long_head(b"X: y\r\n", strict_parser.FIELDS),
    "head": long_head(b"X-Long: " + b"a" * 9_000 + b"\r\n", 4),
    "line": b"GET /" + b"a" * strict_parser.LINE_BYTES + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    "bare line end": b"GET / HTTP/1.1\n" + HOST + b"\r\n",
}


class Seen:
    """What a parser gave: requests with their bodies, and the refusal that ended it."""

    def __init__(self, parts: Iterator[bytes]) -> None:
        loop = asyncio.get_running_loop()
        parser = HttpRequestParser(
            BaseProtocol(loop),
            loop,
            1 << 16,
            max_line_size=strict_parser.LINE_BYTES,
            max_field_size=strict_parser.FIELD_BYTES,
            max_headers=strict_parser.HEAD_BYTES,
            max_msg_queue_size=32,
        )
        strict = StrictParser(parser, lambda body: None)
        self.refusal = ""
        self.last = False
        requests: list[tuple[str, StreamReader]] = []
        try:
            for part in parts:
                messages, _is_upgraded, _tail = strict.feed_data(part)
                for message, body in messages:
                    strict.message_consumed()
                    self.last |= message.should_close
                    requests.append((message.path, body))
        except HttpProcessingError as error:
            is_ours = isinstance(error, strict_parser.HeadTooLarge)
            self.refusal = error.message if is_ours else type(error).__name__
        self.requests = [(path, body.read_nowait() if body.total_bytes else b"") for path, body in requests]
        self.is_in_head = strict.has_partial_head


def pieces(data: bytes, cuts: list[int]) -> Iterator[bytes]:
    ends = sorted({0, len(data), *(cut % len(data) for cut in cuts)})
    return (data[start:end] for start, end in pairwise(ends))


@given(
    stream=st.lists(st.sampled_from([GET, SIZED, CHUNKED, b"\r\n" + GET]), min_size=1, max_size=5),
    last=st.sampled_from([*REFUSED]),
    cuts=st.lists(st.integers(0, 100_000), max_size=12),
)
async def test_splitting_the_stream_does_not_change_the_result(
    stream: list[bytes], last: str, cuts: list[int]
) -> None:
    whole, cut = Seen(iter(stream)), Seen(pieces(b"".join(stream), cuts))
    assert cut.requests == whole.requests
    assert len(cut.requests) == len(stream)
    assert (cut.refusal, cut.is_in_head) == (whole.refusal, whole.is_in_head) == ("", False)
    assert Seen(pieces(b"".join(stream) + REFUSED[last], cuts)).refusal


@pytest.mark.parametrize("size", [1, 7, 1_000, 8_192, 8_193, 1 << 20])
@pytest.mark.parametrize(
    ("name", "refusal"),
    [
        ("cookie", "The header field Cookie has more than 16384 bytes: send less in it."),
        ("fields", "The request has more than 100 header fields: send fewer."),
        (
            "head",
            "The head of the request has more than 32768 bytes. The header field X-Long is its longest: "
            "send less.",
        ),
        ("line", "The request line has more than 8192 bytes: send a shorter address."),
        ("bare line end", "BadStatusLine"),
    ],
)
async def test_the_refusal_names_the_limit_however_the_head_comes(name: str, refusal: str, size: int) -> None:
    for before in (b"", GET, SIZED):
        data = before + REFUSED[name]
        seen = Seen(data[start : start + size] for start in range(0, len(data), size))
        assert seen.refusal == refusal


@pytest.mark.parametrize("before", [b"", GET, SIZED, CHUNKED])
@pytest.mark.parametrize("behind", [b"", GET, GET[:1], b"PRI * HTTP/2.0\r\n"])
async def test_an_offer_of_http_2_ends_the_connection_if_something_may_be_lost(
    before: bytes, behind: bytes
) -> None:
    in_one_piece = Seen(iter([before + OFFER + behind]))
    assert in_one_piece.last == bool(behind or before is CHUNKED) or in_one_piece.refusal
    one_by_one = Seen(iter([part for part in (before, OFFER, GET) if part]))
    assert not one_by_one.last
    assert [path for path, _body in one_by_one.requests][-2:] == ["/d", "/a"]


async def test_a_partly_received_head_is_noticed() -> None:
    assert not Seen(iter([GET])).is_in_head
    assert Seen(iter([GET[:-1]])).is_in_head
    assert Seen(iter([SIZED, GET[:5]])).is_in_head
    assert not Seen(iter([SIZED[:-1]])).is_in_head
