"""Check 38: bytes that follow a request: pipelined requests, and offers to upgrade the connection."""

from collections.abc import Iterator

import pytest

from engines.stub_engine import Command, command_png
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
    strict_server,
)
from harness.raw import RawConnection, exchange
from harness.server import ServerProcess

_EXPECT = b"Expect: 100-continue"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with strict_server(tmp_path_factory.mktemp("server")) as started:
        yield started


@pytest.mark.acceptance(38)
@pytest.mark.hostile("H-6")
@pytest.mark.parametrize(("behind", "answers"), [(8, 9), (5_000, 1)])
def test_requests_behind_a_slow_one_are_held_back(server, record_figure, behind, answers):
    """A few pipelined requests are answered in order; thousands stay unread, and are not answered."""
    before, grown = server.rss(), 0
    for index in range(REPEATS):
        with RawConnection(server.address) as connection:
            body = command_png(Command.OK, 300, b"slow %d %d" % (behind, index))
            connection.send(request(length_field(body), _EXPECT))
            assert connection.read(3, limit_bytes=20).data.startswith(b"HTTP/1.1 100 ")
            connection.send(body[:-1])  # the last byte follows with the pipelined requests
            connection.send(body[-1:] + get() * (behind - 1) + get(CLOSE))
            assert connection.read(0.1).data == b""  # no later request is answered first
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
def test_an_upgrade_is_declined_and_bytes_after_it_are_never_read(server, fields):
    for _ in range(REPEATS):
        for data in (get(*fields) + NEXT, sized(picture(), *fields) + NEXT):
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
            for data in (
                request(length_field(body), *_JAVA_FIELDS),
                body,
            ):  # in two pieces, as Java sends them
                connection.send(data)
            (answer,) = connection.read(3, responses=1).responses
            assert answer.status == 200
            assert "connection" not in answer.headers
        for path in (b"/healthz", b"/docs", b"/nowhere"):
            connection.send(get(*_JAVA_FIELDS, target=path))
            (answer,) = connection.read(3, responses=1).responses
            assert answer.status == (404 if path == b"/nowhere" else 200)
        connection.send(get(CLOSE))
        assert connection.read(3).statuses == [200]
    assert_well(server)


@pytest.mark.hostile("H-15")
@pytest.mark.parametrize("behind", [NEXT, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\0\0\0\4\0"])
def test_bytes_after_an_upgrade_offer_with_a_chunked_body_are_never_read(server, behind):
    for _ in range(REPEATS):
        seen = exchange(
            server.address, chunked(chunks(picture()), *_JAVA_FIELDS) + behind, deadline_seconds=3
        )
        assert seen.statuses == [200]
        assert seen.closed
    assert_well(server)
