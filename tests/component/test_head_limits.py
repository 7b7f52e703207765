"""Check 38: limits on the request line, the header fields and the whole head are exact and named."""

import json
from collections.abc import Iterator

import pytest

from harness.hostile_requests import (
    CLOSE,
    NEXT,
    REPEATS,
    assert_well,
    get,
    strict_server,
)
from harness.raw import RawConnection, exchange
from harness.server import ServerProcess


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with strict_server(tmp_path_factory.mktemp("server")) as started:
        yield started


_LINE, _FIELD, _HEAD, _FIELDS = 8_192, 16_384, 32_768, 100


def _refused(data: bytes, server: ServerProcess) -> str:
    """Send what must be refused for its size with a request behind; the detail of the refusal."""
    seen = exchange(server.address, data + NEXT, deadline_seconds=3)
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
    for _ in range(REPEATS):
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
    more += [b"X: a"] * (fields - len((b"Host", *more, CLOSE)))
    rest = total - len(get(*more, CLOSE, target=target)) - len(b"X-Rest: \r\n") * 2
    if total:
        more += [b"X-Rest: " + b"a" * (rest // 2), b"X-Rest: " + b"a" * (rest - rest // 2)]
    return get(*more, CLOSE, target=target)


@pytest.mark.acceptance(38)
@pytest.mark.hostile("H-5", "H-7")
def test_limits_of_the_head_are_exact(server):
    def statuses(data: bytes) -> list[int]:
        seen = exchange(server.address, data, deadline_seconds=3)
        assert seen.closed
        return seen.statuses

    for _ in range(REPEATS):
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
            get(b"Cookie: session=" + b"secret-canary" * 2_000),
            "The header field Cookie has more than 16384 bytes: send less in it.",
        ),
        (
            get(b"Cookie: session=" + b"secret-canary" * 20_000),
            "The header field Cookie has more than 16384 bytes: send less in it.",
        ),
        (
            get(b"!#$%&'*+.^`|~: " + b"a" * 20_000),
            "A header field has more than 16384 bytes: send less in it.",
        ),
        (
            get(
                b"Authorization: Bearer " + b"a" * 15_000, b"Cookie: " + b"b" * 16_000, b"X: " + b"c" * 5_000
            ),
            "The head of the request has more than 32768 bytes. The header field Cookie is its longest: "
            "send less.",
        ),
        (get(*[b"X: a"] * 100), "The request has more than 100 header fields: send fewer."),
        (get(*[b"X: a"] * 10_000), "The request has more than 100 header fields: send fewer."),
    ],
    ids=["line", "field", "field beyond the head", "name", "head", "101 fields", "10,000 fields"],
)
def test_the_refusal_of_a_head_names_the_field_and_the_limit(server, data, detail):
    for _ in range(REPEATS):
        assert _refused(data, server) == detail
    assert "canary" not in server.logs()
    assert_well(server)


@pytest.mark.acceptance(38)
@pytest.mark.control
@pytest.mark.parametrize("path", [b"/", b"/docs", b"/healthz", b"/v1/model"])
def test_heads_with_single_sign_on_and_mesh_fields_are_accepted(server, path):
    cookies = b"; ".join(b"_oauth2_proxy_%d=%s" % (part, b"A" * 4_000) for part in range(3))
    token = b"Authorization: Bearer " + b"e" * 8_000
    certificate = b"X-Forwarded-Client-Cert: Hash=ab;Cert=%22" + b"C" * 6_000
    seen = exchange(
        server.address,
        get(b"Cookie: " + cookies, token, certificate, CLOSE, target=path),
        deadline_seconds=3,
    )
    assert seen.statuses == [200]


@pytest.mark.acceptance(38)
@pytest.mark.hostile("H-7")
@pytest.mark.parametrize(
    "data",
    [
        lambda: get(b"X-Mine: " + b"a" * (1 << 20)),
        lambda: get(b"a" * (1 << 20) + b": b"),
        lambda: get(b"X-Mine:" + b" " * (1 << 20) + b"a"),
        lambda: b"\r\n" * (1 << 19) + NEXT,
        lambda: b"GET " + b" " * (1 << 20) + b"/healthz HTTP/1.1\r\nHost: t\r\n\r\n",
    ],
    ids=["field", "name", "spaces before a value", "empty lines", "spaces in the line"],
)
def test_a_head_of_a_mebibyte_is_refused(server, data):
    before = server.rss()
    for _ in range(REPEATS):
        seen = exchange(server.address, data(), deadline_seconds=3)
        assert seen.statuses == [431]
        assert seen.closed
    assert server.rss() - before < 4 << 20
    assert_well(server)
