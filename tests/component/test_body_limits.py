"""Check 13: the limit on a body's bytes is exact, however the body is sent."""

import time
from collections.abc import Callable, Iterator

import pytest

from harness import client
from harness.hostile_requests import (
    DEBUG_LOOP,
    assert_well,
    chunked,
    chunks,
    picture,
    request,
    sized,
    slowest_turn_seconds,
)
from harness.raw import Exchange, RawConnection, exchange
from harness.server import ServerProcess, start_server

_LIMIT = 1 << 20
_REFUSED_SECONDS = 1.0
_BOUNDARY = b"bound"
_TYPE = b"Content-Type: multipart/form-data; boundary=" + _BOUNDARY


def _padded(length: int) -> bytes:
    """A right picture of just that many bytes: what trails a PNG's end is ignored."""
    return picture().ljust(length, b"\0")


def _form(length: int) -> bytes:
    """A form with one picture, of just that many bytes in all."""
    start = b'--%s\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n' % _BOUNDARY
    end = b"\r\n--%s--\r\n" % _BOUNDARY
    return start + _padded(length - len(start) - len(end)) + end


# name -> a whole request whose body, without chunk headers, has so many bytes
_WAYS: dict[str, Callable[[int], bytes]] = {
    "declared": lambda length: sized(_padded(length)),
    "chunked": lambda length: chunked(chunks(_padded(length), size=65_000)),
    "in parts": lambda length: sized(_form(length), _TYPE),
    "in parts, chunked": lambda length: chunked(chunks(_form(length), size=65_000), _TYPE),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("limits")
    with start_server(
        folder=folder, engine="stub", max_body_bytes=_LIMIT, cache_entries=0, env=DEBUG_LOOP
    ) as one:
        yield one


def _send(server: ServerProcess, data: bytes, seconds: float = 5) -> Exchange:
    return exchange(server.address, data, deadline_seconds=seconds, responses=1)


@pytest.mark.serial
@pytest.mark.acceptance(13)
@pytest.mark.parametrize("way", _WAYS)
def test_a_body_at_the_limit_is_accepted_and_one_byte_more_is_refused(server, way, record_figure, long_run):
    repeats = 100 if long_run else 5
    for length in (_LIMIT - 1, _LIMIT, _LIMIT + 1):
        _send(server, _WAYS[way](length))  # buffers of first large bodies stay
    before, slowest = server.rss(), 0.0
    for _ in range(repeats):
        assert _send(server, _WAYS[way](_LIMIT - 1)).statuses == [200]
        assert _send(server, _WAYS[way](_LIMIT)).statuses == [200]
        started = time.monotonic()
        seen = _send(server, _WAYS[way](_LIMIT + 1))
        slowest = max(slowest, time.monotonic() - started)
        assert seen.statuses == [413]
        assert b'"body_too_large"' in seen.data
    grown = (server.rss() - before) / (1 << 20)
    record_figure("refusal", slowest, bar="<= 1 s", unit="s", sample=repeats)
    record_figure(f"memory, {way}", grown, bar="<= 1 MiB", unit="MiB", sample=repeats)
    assert slowest <= _REFUSED_SECONDS
    assert grown <= 1
    assert_well(server)


@pytest.mark.acceptance(13)
@pytest.mark.control
def test_with_a_higher_limit_one_byte_more_is_accepted(start):
    server = start(engine="stub", max_body_bytes=1 << 27)
    for way in _WAYS.values():
        assert _send(server, way(_LIMIT + 1)).statuses == [200]


@pytest.mark.acceptance(13)
def test_the_default_limit_is_ten_mebibytes(start):
    server = start(engine="stub")
    assert _send(server, _WAYS["declared"](10_485_760)).statuses == [200]
    assert _send(server, _WAYS["declared"](10_485_761)).statuses == [413]
    assert _send(server, _WAYS["chunked"](10_485_760)).statuses == [200]
    assert _send(server, _WAYS["chunked"](10_485_761)).statuses == [413]


@pytest.mark.acceptance(13)
@pytest.mark.hostile("H-13")
def test_a_declared_excess_is_refused_unread(server):
    for _ in range(5):
        head = request(b"Content-Length: %d" % (_LIMIT + 1), b"Expect: 100-continue")
        with RawConnection(server.address) as connection:
            connection.send(head)
            seen = connection.read(3)
        assert seen.statuses == [413]  # and no 100
        assert seen.closed
    # the plain form is asked to go on
    body = picture()
    with RawConnection(server.address) as connection:
        connection.send(request(b"Content-Length: %d" % len(body), b"Expect: 100-continue"))
        assert connection.read(3, limit_bytes=20).statuses == [100]
        connection.send(body)
        assert connection.read(3, responses=1).statuses == [200]
    assert_well(server)


def test_http_1_0_gets_no_interim_answer(server):
    """RFC 9110, section 10.1.1: an expectation in an HTTP/1.0 request is ignored."""
    with RawConnection(server.address) as connection:
        connection.send(sized(picture(), b"Expect: 100-continue", line=b"POST /v1/detect HTTP/1.0"))
        assert connection.read(3).statuses == [200]


@pytest.mark.acceptance(13)
def test_many_chunks_of_one_byte_do_not_stall_the_server(server, record_figure, long_run):
    count = 1_000_000 if long_run else 200_000
    data = chunked(chunks(_padded(count), size=1))
    _send(server, data, seconds=30)
    before = server.rss()
    for _ in range(2):
        started = time.monotonic()
        assert _send(server, data, seconds=30).statuses == [200]
        taken = time.monotonic() - started
    grown = (server.rss() - before) / (1 << 20)
    record_figure("one-byte chunks", taken, bar="bounded", unit="s", sample=count)
    stall = slowest_turn_seconds(server.logs())
    record_figure("slowest turn (0: under 0.1 s)", stall, bar="<= 0.25 s", unit="s", sample=count)
    assert grown <= 1
    assert_well(server)


@pytest.mark.acceptance(13)
@pytest.mark.hostile("H-10")
@pytest.mark.parametrize(
    "coding", ["gzip", "br", "zstd", "deflate", "x-gzip", "gzip, gzip", "identity, gzip", "GZIP", "unknown"]
)
def test_coded_bodies_are_refused_unread(server, coding):
    """A gzip bomb of 1 GiB would be as short; its content is never read."""
    for fields in ([coding], ["identity", coding]):
        lines = [b"Content-Encoding: " + field.encode() for field in fields]
        started = time.monotonic()
        seen = _send(server, sized(b"\x1f\x8b\x08" + bytes(1_000_000), *lines))
        assert seen.statuses == [415]
        assert b'"unsupported_encoding"' in seen.data
        assert time.monotonic() - started <= _REFUSED_SECONDS
    assert _send(server, sized(picture(), b"Content-Encoding: identity")).statuses == [200]
    assert_well(server)


def _part(*fields: bytes, content: bytes) -> bytes:
    return b"\r\n".join([b"--" + _BOUNDARY, *fields, b"", content, b""])


_FILE = b'Content-Disposition: form-data; name="f"; filename="f"'
_END = b"--" + _BOUNDARY + b"--\r\n"


@pytest.mark.acceptance(13)
@pytest.mark.hostile("H-10")
@pytest.mark.parametrize(
    "field",
    [b"Content-Encoding: gzip", b"Content-Transfer-Encoding: base64"],
    ids=["gzip", "base64"],
)
def test_coded_parts_are_refused(server, field):
    seen = _send(server, sized(_part(_FILE, field, content=picture()) + _END, _TYPE))
    assert seen.statuses == [415]
    assert b'"unsupported_encoding"' in seen.data
    assert _send(server, sized(_part(_FILE, content=picture()) + _END, _TYPE)).statuses == [200]
    assert_well(server)


_BAD_FORMS: dict[str, Callable[[], tuple[bytes, bytes]]] = {
    "endless part": lambda: (_part(_FILE, content=bytes(900_000)), _TYPE),
    "another boundary": lambda: (_part(_FILE, content=picture()) + _END, _TYPE + b"x"),
    "no boundary": lambda: (_part(_FILE, content=picture()) + _END, b"Content-Type: multipart/form-data"),
    "boundary of 71": lambda: (picture(), b"Content-Type: multipart/form-data; boundary=" + b"a" * 71),
    "bytes as boundary": lambda: (picture(), b"Content-Type: multipart/form-data; boundary=\xff\xfe"),
    "two boundaries": lambda: (_part(_FILE, content=picture()) + _END, _TYPE + b"; boundary=b"),
    "mixed": lambda: (_part(_FILE, content=picture()) + _END, _TYPE.replace(b"form-data", b"mixed")),
    "nested": lambda: (
        _part(_FILE, b"Content-Type: multipart/mixed; boundary=in", content=picture()) + _END,
        _TYPE,
    ),
    "_charset_": lambda: (
        _part(b'Content-Disposition: form-data; name="_charset_"', content=b"utf-7")
        + _part(_FILE, content=picture())
        + _END,
        _TYPE,
    ),
    "NUL in the name": lambda: (
        _part(_FILE.replace(b'filename="f"', b'filename="a\0b"'), content=picture()) + _END,
        _TYPE,
    ),
    "two files": lambda: (_part(_FILE, content=picture()) * 2 + _END, _TYPE),
    "line end in the name": lambda: (
        _part(_FILE.replace(b'filename="f"', b'filename="a%0Ab"'), content=picture()) + _END,
        _TYPE,
    ),
    "no file": lambda: (_part(b'Content-Disposition: form-data; name="f"', content=b"x") + _END, _TYPE),
}
_TOO_MUCH: dict[str, Callable[[], tuple[bytes, bytes]]] = {
    "10,000 parts": lambda: (_part(_FILE, content=b"x") * 10_000 + _END, _TYPE),
    "101 parts": lambda: (
        _part(_FILE, content=picture())
        + _part(b'Content-Disposition: form-data; name="a"', content=b"x") * 100
        + _END,
        _TYPE,
    ),
    "900 KB of part headers": lambda: (
        _part(_FILE, b"X-Mine: " + b"a" * 900_000, content=picture()) + _END,
        _TYPE,
    ),
    "many part headers": lambda: (_part(_FILE, *[b"X-Mine: a"] * 50_000, content=picture()) + _END, _TYPE),
}


@pytest.mark.acceptance(13)
@pytest.mark.parametrize(
    ("name", "make"),
    [
        *(pytest.param(name, make, marks=pytest.mark.hostile("H-8")) for name, make in _BAD_FORMS.items()),
        *(pytest.param(name, make, marks=pytest.mark.hostile("H-9")) for name, make in _TOO_MUCH.items()),
    ],
)
def test_broken_forms_are_refused(server, name, make):
    for repeat in range(6):
        if repeat == 1:  # buffers of a first large body stay
            before = server.rss()
        body, content_type = make()
        started = time.monotonic()
        seen = _send(server, sized(body, content_type))
        assert time.monotonic() - started <= _REFUSED_SECONDS
        assert seen.statuses == [400], name
        assert b'"malformed"' in seen.data
    assert server.rss() - before <= 1 << 20
    assert_well(server)


@pytest.mark.acceptance(13)
@pytest.mark.hostile("H-9")
def test_part_headers_of_a_mebibyte_are_refused(start):
    server = start(engine="stub", env=DEBUG_LOOP)
    body = _part(_FILE, b"X-Mine: " + b"a" * (1 << 20), content=picture()) + _END
    assert _send(server, sized(body, _TYPE)).statuses == [400]
    assert _send(server, sized(_part(_FILE, content=picture()) * 10_000 + _END, _TYPE)).statuses == [400]
    assert_well(server)


@pytest.mark.acceptance(13)
@pytest.mark.control
@pytest.mark.hostile("H-8", "H-9")
def test_a_form_at_its_limits_is_right(server):
    extra = _part(b'Content-Disposition: form-data; name="a"', content=b"x") * 99
    long_field = b"X-Mine: " + b"a" * 3_900
    seen = _send(server, sized(_part(_FILE, long_field, content=picture()) + extra + _END, _TYPE))
    assert seen.statuses == [200]


@pytest.mark.hostile("H-17")
def test_hostile_text_bodies_are_refused(server):
    """JSON a hundred thousand deep, base64 of half a picture; what is over the limit is not read."""
    for body, refused in (
        (b"[" * 100_000, (415, "unsupported_format")),
        (b'{"a":' * 100_000, (400, "malformed")),
        (b'{"image":' + b"[" * 900_000, (400, "malformed")),
        (b"iVBORw0KGgo" * 1_000, (422, "undecodable")),
    ):
        for kind in ("application/json", "text/plain", "application/octet-stream"):
            reply = client.post(server.url + "/v1/detect", body, headers={"Content-Type": kind})
            assert (reply.status, reply.reason) == refused
    large = b"[" * (20 << 20)
    assert _send(server, sized(large, b"Content-Type: application/json")).statuses == [413]
    assert client.post(server.url + "/v1/detect", b"").status == 400
    assert_well(server)
