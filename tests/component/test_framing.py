"""Check 38: a request that could be read in two ways is refused and its connection closed.

Each line is sent five times, in one piece with a good request right behind it, which must never be
answered. Its plain form, the control, differs in just what makes the line hostile, and is right.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from engines.stub_engine import Command, command_png
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
from harness.raw import RawConnection, exchange
from harness.server import ServerProcess, environment, run_to_end, start_server

_REPEATS = 5
_NEXT = request(line=b"GET /healthz HTTP/1.1")
_CLOSE = b"Connection: close"
_ASK = b"Expect: 100-continue"
_FLOOD = 200_000


def _get(*fields: bytes, version: bytes = b"HTTP/1.1", target: bytes = b"/healthz") -> bytes:
    return request(*fields, line=b"GET %s %s" % (target, version))


def _length(body: bytes) -> bytes:
    return b"Content-Length: %d" % len(body)


# row -> name -> (hostile, plain); each is called for fresh bytes, and the plain one says close
Line = tuple[Callable[[], bytes], Callable[[], bytes]]
_PLAIN_SIZED = lambda: sized(picture(), _CLOSE)  # noqa: E731
_PLAIN_CHUNKED = lambda: chunked(chunks(picture()), _CLOSE)  # noqa: E731
_PLAIN_GET = lambda: _get(b"X-Mine: a b", _CLOSE)  # noqa: E731


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
        "two equal lengths": (lambda: sized(body := picture(), _length(body)), _PLAIN_SIZED),
        "two lengths": (_with_lengths(b"300", b"3"), _PLAIN_SIZED),
        "list of lengths": (_with_lengths(b"300, 300"), _PLAIN_SIZED),
        "length and chunked": (
            lambda: chunked(body := chunks(picture()), _length(body)),
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
        "folding": (lambda: _get(b"X-Mine: a\r\n b"), _PLAIN_GET),
        "folding by tab": (lambda: _get(b"X-Mine: a\r\n\tb"), _PLAIN_GET),
        "folded first field": (_raw(b"GET /healthz HTTP/1.1\r\n X: y\r\nHost: t\r\n\r\n"), _PLAIN_GET),
        "NUL in a value": (lambda: _get(b"X-Mine: a\0b"), _PLAIN_GET),
        "NUL in a name": (lambda: _get(b"X-Mi\0ne: a"), _PLAIN_GET),
        "NUL in the path": (lambda: _get(target=b"/heal\0thz"), _PLAIN_GET),
        "CR in a value": (lambda: _get(b"X-Mine: a\rb"), _PLAIN_GET),
        "CR before the end": (lambda: _get(b"X-Mine: a\r"), _PLAIN_GET),
        "escape in a value": (lambda: _get(b"X-Mine: \x1b[31m"), _PLAIN_GET),
        "space before colon": (lambda: _get(b"X-Mine : a"), _PLAIN_GET),
        "space before colon of the length": (
            lambda: request(b"Content-Length : %d" % len(body := picture())) + body,
            _PLAIN_SIZED,
        ),
        "tab before colon": (lambda: _get(b"X-Mine\t: a"), _PLAIN_GET),
        "no colon": (lambda: _get(b"X-Mine"), _PLAIN_GET),
        "empty name": (lambda: _get(b": a"), _PLAIN_GET),
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
        "foreign digit in the version": (lambda: _get(version="HTTP/1.١".encode()), _PLAIN_GET),
    },
    "H-3": {
        "one long extension": (
            _framed(lambda body: chunks(body, extension=b";" + b"a" * _FLOOD)),
            lambda: chunked(chunks(picture(), extension=b";a=b"), _CLOSE),
        ),
        "many extensions": (
            _framed(lambda body: chunks(body, size=1, extension=b";" + b"a" * 1_000)),
            lambda: chunked(chunks(picture(), size=1, extension=b";a"), _CLOSE),
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
            lambda: chunked(chunks(picture(), trailer=b"X-Mine: y\r\n"), _CLOSE),
        ),
        "trailer with a coding": (
            _framed(lambda body: chunks(body, trailer=b"Transfer-Encoding: chunked\r\n")),
            _PLAIN_CHUNKED,
        ),
        "trailer with NUL": (_framed(lambda body: chunks(body, trailer=b"X: \0\r\n")), _PLAIN_CHUNKED),
    },
    "H-4": {
        "two hosts": (lambda: _get(b"Host: other"), _PLAIN_GET),
        "the same host twice": (lambda: _get(b"Host: test"), _PLAIN_GET),
        "two hosts in one": (lambda: request(line=_NEXT[:21], host=b"Host: a, b"), _PLAIN_GET),
        "no host": (lambda: request(line=_NEXT[:21], host=b""), _PLAIN_GET),
        "a path as host": (lambda: request(line=_NEXT[:21], host=b"Host: a/b"), _PLAIN_GET),
    },
    "H-7": {
        "endless trailers": (
            _framed(lambda body: chunks(body, trailer=b"X: y\r\n" * 10_000)),
            _PLAIN_CHUNKED,
        ),
    },
    "H-15": {
        "HTTP/0.9 with a version": (lambda: _get(version=b"HTTP/0.9"), _PLAIN_GET),
        "HTTP/0.9": (_raw(b"GET /healthz\r\n\r\n"), _PLAIN_GET),
        "HTTP/2 preface": (_raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"), _PLAIN_GET),
        "HTTP/2.0": (lambda: _get(version=b"HTTP/2.0"), _PLAIN_GET),
        "HTTP/1.2": (lambda: _get(version=b"HTTP/1.2"), _PLAIN_GET),
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
    with ExitStack() as stack:
        yield stack.enter_context(
            start_server(
                folder=tmp_path_factory.mktemp("framing"),
                engine="stub",
                header_timeout_ms=1_000,
                idle_timeout_ms=5_000,
                body_timeout_ms=5_000,
                env=DEBUG_LOOP,
            )
        )


@pytest.mark.acceptance(38)
@pytest.mark.parametrize(("row", "name"), _CASES)
def test_ambiguous_requests_are_refused_once_and_closed(server, row, name):
    workers = server.worker_pids()
    hostile, _plain = _LINES[row][name]
    for _ in range(_REPEATS):
        seen = exchange(server.address, hostile() + _NEXT, deadline_seconds=3)
        assert seen.statuses == [400]
        assert seen.closed
    assert_well(server, workers=workers)


@pytest.mark.acceptance(38)
@pytest.mark.control
@pytest.mark.parametrize(("row", "name"), _CASES)
def test_their_plain_forms_are_right(server, row, name):
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
    """The head is asked for its body first, so that the fault meets a request at work."""
    hostile = next(lines[name][0] for lines in _LINES.values() if name in lines)
    for _ in range(_REPEATS):
        head, _blank, body = hostile().partition(b"\r\n\r\n")
        with RawConnection(server.address) as connection:
            connection.send(head + b"\r\n" + _ASK + b"\r\n\r\n")
            assert connection.read(3, limit_bytes=20).data.startswith(b"HTTP/1.1 100 ")
            connection.send(body + _NEXT)
            seen = connection.read(3)
        assert seen.statuses == [400]
        assert seen.closed
        assert seen.seconds < 2  # not the body's time limit
    assert_well(server)


@pytest.mark.acceptance(38)
@pytest.mark.hostile("H-1")
def test_a_broken_body_of_an_answered_request_gets_no_second_answer(server):
    for _ in range(_REPEATS):
        with RawConnection(server.address) as connection:
            connection.send(request(b"Transfer-Encoding: chunked", line=b"POST /nowhere HTTP/1.1"))
            assert connection.read(3, responses=1).statuses == [404]
            connection.send(b"nonsense\r\n" + _NEXT)
            seen = connection.read(3)
        assert seen.data == b""
        assert seen.closed
    assert_well(server)


_LINE, _FIELD, _HEAD, _FIELDS = 8_192, 16_384, 32_768, 100


def _refused(data: bytes, server: ServerProcess) -> str:
    """Send what must be refused for its size with a request behind; the detail of the refusal."""
    seen = exchange(server.address, data + _NEXT, deadline_seconds=3)
    assert seen.statuses == [431]
    assert seen.closed
    problem = json.loads(seen.responses[0].body)
    assert problem["reason"] == "malformed"
    return str(problem["detail"])


@pytest.mark.acceptance(38)
@pytest.mark.hostile("H-5")
@pytest.mark.parametrize(
    ("head", "named"),
    [
        (b"GET /" + b"a" * (_LINE + 1), "The request line has more than 8192 bytes"),
        (
            b"GET /healthz HTTP/1.1\r\nHost: t\r\nX-Mine: " + b"a" * (_FIELD + 1),
            "The header field X-Mine has more than 16384 bytes",
        ),
        (
            b"GET /healthz HTTP/1.1\r\nHost: t\r\n" + b"a" * (_FIELD + 1),
            f"The header field {'a' * 40} has more than 16384 bytes",
        ),
    ],
    ids=["line", "value", "name"],
)
def test_lines_and_fields_dribbled_past_their_limit_are_refused(server, head, named):
    for _ in range(_REPEATS):
        with RawConnection(server.address) as connection:
            for start in range(0, len(head), 64):
                if not connection.send(head[start : start + 64]):
                    break
            seen = connection.read(3)
        assert seen.statuses == [431]
        assert named in json.loads(seen.responses[0].body)["detail"]
        assert seen.closed
    assert_well(server)


def _long(*, line: int = 0, field: int = 0, total: int = 0, fields: int = 0) -> bytes:
    """A request whose line, one field, head or number of fields has just that size."""
    target = b"/healthz?" + b"a" * (line - len(b"GET /healthz? HTTP/1.1"))
    more = [b"X-Mine: " + b"a" * (field - len(b"X-Mine: "))] if field else []
    more += [b"X: a"] * (fields - len((b"Host", *more, _CLOSE)))
    rest = total - len(_get(*more, _CLOSE, target=target)) - len(b"X-Rest: \r\n") * 2
    if total:
        more += [b"X-Rest: " + b"a" * (rest // 2), b"X-Rest: " + b"a" * (rest - rest // 2)]
    return _get(*more, _CLOSE, target=target)


@pytest.mark.acceptance(38)
@pytest.mark.hostile("H-5", "H-7")
def test_limits_of_the_head_are_exact(server):
    def statuses(data: bytes) -> list[int]:
        seen = exchange(server.address, data, deadline_seconds=3)
        assert seen.closed
        return seen.statuses

    for _ in range(_REPEATS):
        assert statuses(_long(line=_LINE)) == [200]
        assert statuses(_long(line=_LINE + 1)) == [431]
        assert statuses(_long(field=_FIELD)) == [200]
        assert statuses(_long(field=_FIELD + 1)) == [431]
        assert statuses(_long(total=_HEAD)) == [200]
        assert statuses(_long(total=_HEAD + 1)) == [431]
        assert statuses(_long(fields=_FIELDS)) == [200]
        assert statuses(_long(fields=_FIELDS + 1)) == [431]


@pytest.mark.acceptance(38)
@pytest.mark.hostile("H-7")
@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (_long(line=_LINE + 1), "The request line has more than 8192 bytes: send a shorter address."),
        (
            _get(b"Cookie: session=" + b"secret-canary" * 2_000),
            "The header field Cookie has more than 16384 bytes: send less in it.",
        ),
        (
            _get(b"Cookie: session=" + b"secret-canary" * 20_000),
            "The header field Cookie has more than 16384 bytes: send less in it.",
        ),
        (
            _get(b"!#$%&'*+.^`|~: " + b"a" * 20_000),
            "A header field has more than 16384 bytes: send less in it.",
        ),
        (
            _get(
                b"Authorization: Bearer " + b"a" * 15_000, b"Cookie: " + b"b" * 16_000, b"X: " + b"c" * 5_000
            ),
            "The head of the request has more than 32768 bytes. The header field Cookie is its longest: "
            "send less.",
        ),
        (_get(*[b"X: a"] * 100), "The request has more than 100 header fields: send fewer."),
        (_get(*[b"X: a"] * 10_000), "The request has more than 100 header fields: send fewer."),
    ],
    ids=["line", "field", "field beyond the head", "name", "head", "101 fields", "10,000 fields"],
)
def test_a_refused_head_is_told_the_field_and_the_limit(server, data, detail):
    for _ in range(_REPEATS):
        assert _refused(data, server) == detail
    assert "canary" not in server.logs()
    assert_well(server)


@pytest.mark.acceptance(38)
@pytest.mark.control
@pytest.mark.parametrize("path", [b"/", b"/docs", b"/healthz", b"/v1/model"])
def test_what_single_sign_on_and_meshes_send_passes(server, path):
    cookies = b"; ".join(b"_oauth2_proxy_%d=%s" % (part, b"A" * 4_000) for part in range(3))
    token = b"Authorization: Bearer " + b"e" * 8_000
    certificate = b"X-Forwarded-Client-Cert: Hash=ab;Cert=%22" + b"C" * 6_000
    seen = exchange(
        server.address,
        _get(b"Cookie: " + cookies, token, certificate, _CLOSE, target=path),
        deadline_seconds=3,
    )
    assert seen.statuses == [200]


@pytest.mark.acceptance(38)
@pytest.mark.hostile("H-7")
@pytest.mark.parametrize(
    "data",
    [
        lambda: _get(b"X-Mine: " + b"a" * (1 << 20)),
        lambda: _get(b"a" * (1 << 20) + b": b"),
        lambda: _get(b"X-Mine:" + b" " * (1 << 20) + b"a"),
        lambda: b"\r\n" * (1 << 19) + _NEXT,
        lambda: b"GET " + b" " * (1 << 20) + b"/healthz HTTP/1.1\r\nHost: t\r\n\r\n",
    ],
    ids=["field", "name", "spaces before a value", "empty lines", "spaces in the line"],
)
def test_a_head_of_a_mebibyte_is_refused(server, data):
    before = server.rss()
    for _ in range(_REPEATS):
        seen = exchange(server.address, data(), deadline_seconds=3)
        assert seen.statuses == [431]
        assert seen.closed
    assert server.rss() - before < 4 << 20
    assert_well(server)


@pytest.mark.acceptance(38)
@pytest.mark.hostile("H-6")
@pytest.mark.parametrize(("behind", "answers"), [(8, 9), (5_000, 1)])
def test_requests_behind_a_slow_one_are_held_back(server, record_figure, behind, answers):
    """A few that follow are answered in order; thousands wait outside, and then get no turn."""
    before, grown = server.rss(), 0
    for index in range(_REPEATS):
        with RawConnection(server.address) as connection:
            body = command_png(Command.OK, 300, b"slow %d %d" % (behind, index))
            connection.send(request(_length(body), _ASK))
            assert connection.read(3, limit_bytes=20).data.startswith(b"HTTP/1.1 100 ")
            connection.send(body[:-1])  # the rest comes late, while its request is at work
            connection.send(body[-1:] + _get() * (behind - 1) + _get(_CLOSE))
            assert connection.read(0.1).data == b""  # nobody overtakes the slow one
            grown = max(grown, server.rss() - before)
            seen = connection.read(10)
        assert seen.statuses == [200] * answers
        assert seen.closed
    record_figure("memory of pipelined requests", grown / (1 << 20), bar="<= 4 MiB", unit="MiB", sample=5)
    assert grown <= 4 << 20
    assert_well(server)


@pytest.mark.acceptance(38)
@pytest.mark.hostile("H-15")
@pytest.mark.parametrize(
    "fields",
    [
        (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQCAAAAAA"),
        (
            b"Connection: Upgrade",
            b"Upgrade: websocket",
            b"Sec-WebSocket-Version: 13",
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        ),
    ],
    ids=["h2c", "websocket"],
)
def test_an_upgrade_is_declined_and_what_follows_is_never_read(server, fields):
    for _ in range(_REPEATS):
        for data in (_get(*fields) + _NEXT, sized(picture(), *fields) + _NEXT):
            seen = exchange(server.address, data, deadline_seconds=3)
            assert seen.statuses == [200]
            assert seen.closed
            assert seen.responses[0].headers["connection"] == "close"
    assert_well(server)


# as Java 17's java.net.http.HttpClient sends them with every request to an http address
_JAVA_FIELDS = (
    b"Connection: Upgrade, HTTP2-Settings",
    b"HTTP2-Settings: AAEAAEAAAAIAAAAAAAMAAAAAAAQBAAAAAAUAAEAAAAYABgAA",
    b"Upgrade: h2c",
    b"User-Agent: Java-http-client/17.0.15",
)


@pytest.mark.hostile("H-15")
def test_an_offer_of_http_2_leaves_the_connection_open(server):
    with RawConnection(server.address) as connection:
        for _ in range(3):
            body = picture()
            for data in (request(_length(body), *_JAVA_FIELDS), body):  # in two pieces, as Java sends them
                connection.send(data)
            (answer,) = connection.read(3, responses=1).responses
            assert answer.status == 200
            assert "connection" not in answer.headers
        for path in (b"/healthz", b"/docs", b"/nowhere"):
            connection.send(_get(*_JAVA_FIELDS, target=path))
            (answer,) = connection.read(3, responses=1).responses
            assert answer.status == (404 if path == b"/nowhere" else 200)
        connection.send(_get(_CLOSE))
        assert connection.read(3).statuses == [200]
    assert_well(server)


@pytest.mark.hostile("H-15")
@pytest.mark.parametrize("behind", [_NEXT, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\0\0\0\4\0"])
def test_what_follows_an_offer_with_a_chunked_body_is_never_read(server, behind):
    for _ in range(_REPEATS):
        seen = exchange(
            server.address, chunked(chunks(picture()), *_JAVA_FIELDS) + behind, deadline_seconds=3
        )
        assert seen.statuses == [200]
        assert seen.closed
    assert_well(server)


@pytest.mark.acceptance(38)
def test_refusals_are_one_line_without_the_callers_bytes(server, record_figure):
    logs_before = len(server.logs())
    refused = [
        exchange(server.address, request(b"X-Canary\x0b: canary-7d1f", line=line), deadline_seconds=3)
        for line in (b"GET /canary-7d1f HTTP/1.1", b"CANARY-7d1f / HTTP/1.1")
        for _ in range(_REPEATS)
    ]
    assert_well(server)
    lines = server.logs()[logs_before:].splitlines()
    assert len([line for line in lines if "Refused" in line]) == len(refused)
    assert "anary" not in "\n".join(lines)
    for seen in refused:
        assert seen.responses[0].headers["server"] == "posecluster"
    record_figure(
        "slowest turn of the loop", slowest_turn_seconds(server.logs()), bar="<= 0.25 s", unit="s", sample=10
    )


# --- floors ---

_OLD_AIOHTTP = (
    "import sys, aiohttp; aiohttp.__version__ = '3.14.0'; "
    "from posecluster_inference.__main__ import main; sys.exit(main(['serve']))"
)


@pytest.mark.acceptance(38)
@pytest.mark.parametrize("variable", ["PYTHONOPTIMIZE", "AIOHTTP_NO_EXTENSIONS"])
def test_an_environment_below_the_floor_stops_the_start(variable):
    ended = run_to_end("serve", env={variable: "1"}, engine="stub")
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert variable in line


@pytest.mark.acceptance(38)
def test_an_old_aiohttp_stops_the_start():
    ended = subprocess.run(
        [sys.executable, "-c", _OLD_AIOHTTP],
        env=environment({"engine": "stub"}),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert "aiohttp 3.14.0" in line


@pytest.mark.acceptance(38)
def test_an_old_opencv_stops_the_start(tmp_path):
    (tmp_path / "cv2.py").write_text("__version__ = '4.11.0'\n", encoding="utf-8")
    path = f"{tmp_path}:{environment({})['PYTHONPATH']}"
    ended = run_to_end("serve", env={"PYTHONPATH": path}, engine="stub")
    assert ended.returncode == 1
    assert "opencv-python-headless 4.11.0" in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr
