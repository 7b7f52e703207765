"""Check 38: a request that could be read in two ways is refused and its connection closed.

Each hostile request is sent five times, in one piece with a valid request right behind it, which must never
be answered. A valid form of it, the control, differs only in what makes the request hostile.
"""

from collections.abc import Callable, Iterator

import pytest

from harness.hostile_requests import (
    CLOSE,
    NEXT,
    REPEATS,
    assert_well,
    chunked,
    chunks,
    get,
    length_field,
    picture,
    request,
    sized,
    slowest_turn_seconds,
    strict_server,
)
from harness.raw import RawConnection, exchange
from harness.server import ServerProcess

_EXPECT = b"Expect: 100-continue"
_FLOOD = 200_000

# Row -> name -> (hostile, valid). Each is called for new bytes; the valid one asks to close the connection.
Line = tuple[Callable[[], bytes], Callable[[], bytes]]
_PLAIN_SIZED = lambda: sized(picture(), CLOSE)  # noqa: E731
_PLAIN_CHUNKED = lambda: chunked(chunks(picture()), CLOSE)  # noqa: E731
_PLAIN_GET = lambda: get(b"X-Mine: a b", CLOSE)  # noqa: E731


def _with_lengths(*lengths: bytes) -> Callable[[], bytes]:
    return lambda: request(*(b"Content-Length: " + length for length in lengths)) + picture()


def _with_codings(*codings: bytes, version: bytes = b"HTTP/1.1") -> Callable[[], bytes]:
    return lambda: (
        request(*(b"Transfer-Encoding: " + coding for coding in codings), line=b"POST /v1/detect " + version)
        + chunks(picture())
    )


def _framed(framed: Callable[[bytes], bytes]) -> Callable[[], bytes]:
    return lambda: chunked(framed(picture()))


def _raw(head: bytes) -> Callable[[], bytes]:
    return lambda: head


_LINES: dict[str, dict[str, Line]] = {
    "H-1": {
        "two equal lengths": (lambda: sized(body := picture(), length_field(body)), _PLAIN_SIZED),
        "two lengths": (_with_lengths(b"300", b"3"), _PLAIN_SIZED),
        "list of lengths": (_with_lengths(b"300, 300"), _PLAIN_SIZED),
        "length and chunked": (
            lambda: chunked(body := chunks(picture()), length_field(body)),
            _PLAIN_CHUNKED,
        ),
        "length and identity": (lambda: sized(picture(), b"Transfer-Encoding: identity"), _PLAIN_SIZED),
        "length and no coding": (lambda: sized(picture(), b"Transfer-Encoding:"), _PLAIN_SIZED),
        "two codings": (_with_codings(b"chunked", b"chunked"), _PLAIN_CHUNKED),
        "two fields of codings": (_with_codings(b"identity", b"chunked"), _PLAIN_CHUNKED),
        "xchunked": (_with_codings(b"xchunked"), _PLAIN_CHUNKED),
        "identity, chunked": (_with_codings(b"identity, chunked"), _PLAIN_CHUNKED),
        "gzip, chunked": (_with_codings(b"gzip, chunked"), _PLAIN_CHUNKED),
        "chunked, identity": (_with_codings(b"chunked, identity"), _PLAIN_CHUNKED),
        "empty member": (_with_codings(b",chunked"), _PLAIN_CHUNKED),
        "vertical tab": (_with_codings(b"\x0bchunked"), _PLAIN_CHUNKED),
        "quoted": (_with_codings(b'"chunked"'), _PLAIN_CHUNKED),
        "parameter": (_with_codings(b"chunked;q=1"), _PLAIN_CHUNKED),
        "in HTTP/1.0": (_with_codings(b"chunked", version=b"HTTP/1.0"), _PLAIN_CHUNKED),
    },
    "H-2": {
        "bare LF after the line": (_raw(b"GET /healthz HTTP/1.1\nHost: t\r\n\r\n"), _PLAIN_GET),
        "bare LF in a field": (_raw(b"GET /healthz HTTP/1.1\r\nHost: t\nX: y\r\n\r\n"), _PLAIN_GET),
        "bare LF at the end": (_raw(b"GET /healthz HTTP/1.1\r\nHost: t\r\n\n"), _PLAIN_GET),
        "only LF": (_raw(b"GET /healthz HTTP/1.1\nHost: t\n\n"), _PLAIN_GET),
        "bare LF after a chunk size": (
            _framed(lambda body: chunks(body).replace(b"\r\n", b"\n", 1)),
            _PLAIN_CHUNKED,
        ),
        "bare LF after a chunk": (_framed(lambda body: chunks(body)[:-7] + b"\n0\r\n\r\n"), _PLAIN_CHUNKED),
        "bare LF after the last chunk": (_framed(lambda body: chunks(body)[:-2] + b"\n"), _PLAIN_CHUNKED),
        "folding": (lambda: get(b"X-Mine: a\r\n b"), _PLAIN_GET),
        "folding by tab": (lambda: get(b"X-Mine: a\r\n\tb"), _PLAIN_GET),
        "folded first field": (_raw(b"GET /healthz HTTP/1.1\r\n X: y\r\nHost: t\r\n\r\n"), _PLAIN_GET),
        "NUL in a value": (lambda: get(b"X-Mine: a\0b"), _PLAIN_GET),
        "NUL in a name": (lambda: get(b"X-Mi\0ne: a"), _PLAIN_GET),
        "NUL in the path": (lambda: get(target=b"/heal\0thz"), _PLAIN_GET),
        "CR in a value": (lambda: get(b"X-Mine: a\rb"), _PLAIN_GET),
        "CR before the end": (lambda: get(b"X-Mine: a\r"), _PLAIN_GET),
        "escape in a value": (lambda: get(b"X-Mine: \x1b[31m"), _PLAIN_GET),
        "space before colon": (lambda: get(b"X-Mine : a"), _PLAIN_GET),
        "space before colon of the length": (
            lambda: request(b"Content-Length : %d" % len(body := picture())) + body,
            _PLAIN_SIZED,
        ),
        "tab before colon": (lambda: get(b"X-Mine\t: a"), _PLAIN_GET),
        "no colon": (lambda: get(b"X-Mine"), _PLAIN_GET),
        "empty name": (lambda: get(b": a"), _PLAIN_GET),
        "Arabic digits": (_with_lengths("٣٠".encode()), _PLAIN_SIZED),
        "full-width digit": (_with_lengths("３".encode()), _PLAIN_SIZED),
        "Latin-1 digit": (_with_lengths(b"\xb2"), _PLAIN_SIZED),
        "plus": (_with_lengths(b"+30"), _PLAIN_SIZED),
        "hexadecimal": (_with_lengths(b"0x1f"), _PLAIN_SIZED),
        "underscore": (_with_lengths(b"1_0"), _PLAIN_SIZED),
        "negative": (_with_lengths(b"-1"), _PLAIN_SIZED),
        "empty length": (_with_lengths(b""), _PLAIN_SIZED),
        "length of 2^64": (_with_lengths(b"18446744073709551616"), _PLAIN_SIZED),
        "length of 2^64 - 1": (_with_lengths(b"18446744073709551615"), _PLAIN_SIZED),
        "foreign digit in the version": (lambda: get(version="HTTP/1.١".encode()), _PLAIN_GET),
    },
    "H-3": {
        "one long extension": (
            _framed(lambda body: chunks(body, extension=b";" + b"a" * _FLOOD)),
            lambda: chunked(chunks(picture(), extension=b";a=b"), CLOSE),
        ),
        "many extensions": (
            _framed(lambda body: chunks(body, size=1, extension=b";" + b"a" * 1_000)),
            lambda: chunked(chunks(picture(), size=1, extension=b";a"), CLOSE),
        ),
        "endless zeros": (_framed(lambda body: b"0" * _FLOOD + chunks(body)), _PLAIN_CHUNKED),
        "LF in an extension": (_framed(lambda body: chunks(body, extension=b";a\nb")), _PLAIN_CHUNKED),
        "size 2^64": (_framed(lambda body: b"10000000000000000\r\n" + body), _PLAIN_CHUNKED),
        "negative size": (_framed(lambda body: b"-" + chunks(body)), _PLAIN_CHUNKED),
        "signed size": (_framed(lambda body: b"+" + chunks(body)), _PLAIN_CHUNKED),
        "0x size": (_framed(lambda body: b"0x" + chunks(body)), _PLAIN_CHUNKED),
        "no size": (_framed(lambda body: b"\r\n" + chunks(body)), _PLAIN_CHUNKED),
        "space before the size": (_framed(lambda body: b" " + chunks(body)), _PLAIN_CHUNKED),
        "foreign digit in the size": (_framed(lambda body: "٣".encode() + chunks(body)), _PLAIN_CHUNKED),
        "chunk longer than its size": (
            _framed(lambda body: chunks(body).replace(body, body + b"x")),
            _PLAIN_CHUNKED,
        ),
        "trailer without colon": (_framed(lambda body: chunks(body, trailer=b"X\r\n")), _PLAIN_CHUNKED),
        "trailer with a length": (
            _framed(lambda body: chunks(body, trailer=b"Content-Length: 3\r\n")),
            lambda: chunked(chunks(picture(), trailer=b"X-Mine: y\r\n"), CLOSE),
        ),
        "trailer with a coding": (
            _framed(lambda body: chunks(body, trailer=b"Transfer-Encoding: chunked\r\n")),
            _PLAIN_CHUNKED,
        ),
        "trailer with NUL": (_framed(lambda body: chunks(body, trailer=b"X: \0\r\n")), _PLAIN_CHUNKED),
    },
    "H-4": {
        "two hosts": (lambda: get(b"Host: other"), _PLAIN_GET),
        "the same host twice": (lambda: get(b"Host: test"), _PLAIN_GET),
        "two hosts in one": (lambda: request(line=NEXT[:21], host=b"Host: a, b"), _PLAIN_GET),
        "no host": (lambda: request(line=NEXT[:21], host=b""), _PLAIN_GET),
        "a path as host": (lambda: request(line=NEXT[:21], host=b"Host: a/b"), _PLAIN_GET),
    },
    "H-7": {
        "endless trailers": (
            _framed(lambda body: chunks(body, trailer=b"X: y\r\n" * 10_000)),
            _PLAIN_CHUNKED,
        ),
    },
    "H-15": {
        "HTTP/0.9 with a version": (lambda: get(version=b"HTTP/0.9"), _PLAIN_GET),
        "HTTP/0.9": (_raw(b"GET /healthz\r\n\r\n"), _PLAIN_GET),
        "HTTP/2 preface": (_raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"), _PLAIN_GET),
        "HTTP/2.0": (lambda: get(version=b"HTTP/2.0"), _PLAIN_GET),
        "HTTP/1.2": (lambda: get(version=b"HTTP/1.2"), _PLAIN_GET),
        "TLS hello": (
            _raw(bytes.fromhex("16030100c8010000c40303") + bytes(range(190)) + b"\r\n\r\n"),
            _PLAIN_GET,
        ),
        "SSH": (_raw(b"SSH-2.0-OpenSSH_9.9\r\n"), _PLAIN_GET),
        "PROXY protocol": (_raw(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"), _PLAIN_GET),
    },
}
_CASES = [
    pytest.param(row, name, marks=pytest.mark.hostile(row), id=f"{row} {name}")
    for row, lines in _LINES.items()
    for name in lines
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with strict_server(tmp_path_factory.mktemp("server")) as started:
        yield started


@pytest.mark.acceptance(38)
@pytest.mark.parametrize(("row", "name"), _CASES)
def test_ambiguous_requests_are_refused_once_and_closed(server, row, name):
    workers = server.worker_pids()
    hostile, _plain = _LINES[row][name]
    for _ in range(REPEATS):
        seen = exchange(server.address, hostile() + NEXT, deadline_seconds=3)
        assert seen.statuses == [400]
        assert seen.closed
    assert_well(server, workers=workers)


@pytest.mark.acceptance(38)
@pytest.mark.control
@pytest.mark.parametrize(("row", "name"), _CASES)
def test_the_valid_form_of_each_hostile_request_is_answered(server, row, name):
    _hostile, plain = _LINES[row][name]
    seen = exchange(server.address, plain(), deadline_seconds=3)
    assert seen.statuses == [200]
    assert seen.closed


_CHUNK_FAULTS = [
    name
    for row in ("H-2", "H-3", "H-7")
    for name, (hostile, _plain) in _LINES[row].items()
    if b"Transfer-Encoding: chunked\r\n\r\n" in hostile()
]


@pytest.mark.acceptance(38)
@pytest.mark.hostile("H-3")
@pytest.mark.parametrize("name", _CHUNK_FAULTS)
def test_a_body_that_breaks_while_it_is_read_is_refused_at_once(server, name):
    """The server has accepted the head (100 Continue), so that the fault meets a request in progress."""
    hostile = next(lines[name][0] for lines in _LINES.values() if name in lines)
    for _ in range(REPEATS):
        head, _blank, body = hostile().partition(b"\r\n\r\n")
        with RawConnection(server.address) as connection:
            connection.send(head + b"\r\n" + _EXPECT + b"\r\n\r\n")
            assert connection.read(3, limit_bytes=20).data.startswith(b"HTTP/1.1 100 ")
            connection.send(body + NEXT)
            seen = connection.read(3)
        assert seen.statuses == [400]
        assert seen.closed
        assert seen.seconds < 2  # not the body's time limit
    assert_well(server)


@pytest.mark.acceptance(38)
@pytest.mark.hostile("H-1")
def test_a_broken_body_of_an_answered_request_gets_no_second_answer(server):
    for _ in range(REPEATS):
        with RawConnection(server.address) as connection:
            connection.send(request(b"Transfer-Encoding: chunked", line=b"POST /nowhere HTTP/1.1"))
            assert connection.read(3, responses=1).statuses == [404]
            connection.send(b"nonsense\r\n" + NEXT)
            seen = connection.read(3)
        assert seen.data == b""
        assert seen.closed
    assert_well(server)


@pytest.mark.acceptance(38)
def test_refusals_are_one_line_without_the_callers_bytes(server, record_figure):
    logs_before = len(server.logs())
    refused = [
        exchange(server.address, request(b"X-Canary\x0b: canary-7d1f", line=line), deadline_seconds=3)
        for line in (b"GET /canary-7d1f HTTP/1.1", b"CANARY-7d1f / HTTP/1.1")
        for _ in range(REPEATS)
    ]
    assert_well(server)
    lines = server.logs()[logs_before:].splitlines()
    assert len([line for line in lines if "Request refused" in line]) == len(refused)
    assert "anary" not in "\n".join(lines)
    for seen in refused:
        assert seen.responses[0].headers["server"] == "posecluster"
    record_figure(
        "slowest turn of the loop", slowest_turn_seconds(server.logs()), bar="<= 0.25 s", unit="s", sample=10
    )
