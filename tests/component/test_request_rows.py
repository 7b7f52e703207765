"""Rows H-13 to H-22 of the hostile requests, as far as no other check covers them."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from engines.stub_engine import Command, command_png
from harness import client
from harness.hostile_requests import DEBUG_LOOP, assert_well, picture, request, sized
from harness.raw import Exchange, exchange
from harness.server import ServerProcess, start_server

_CLOSE = b"Connection: close"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("rows")
    with start_server(folder=folder, engine="stub", log_format="json", env=DEBUG_LOOP) as one:
        yield one


def _send(server: ServerProcess, data: bytes) -> Exchange:
    return exchange(server.address, data, deadline_seconds=5, responses=1)


_TARGETS = [
    *("//", "///", "//v1/detect", "/v1//detect", "/v1/../healthz", "/%2e%2e/healthz", "/v1/%2e%2e/healthz"),
    *("/%00", "/healthz%00", "/healthz%", "/healthz%zz", "/%ff%fe", "/%c0%af", "/%25%30%30", "/healthz//"),
    *("/healthz;a=b", "/\\", "/v1%2fdetect", "/v1/detect%20", "/..", "/.", "/%e2%80%ae", "/" + "a" * 8_192),
    *("*", "?a", "healthz", "x:80", "http://x/healthz", "https://x/healthz", "http:///healthz", "ftp://x/y"),
    *("http://[::1/healthz", "http://x:99999999/healthz", "http://u:p@x/healthz", "/healthz#a", "/#"),
]
_METHODS = [
    *("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "CONNECT"),
    *("PROPFIND", "M-SEARCH", "QUERY", "PRI", "SOURCE", "DESCRIBE", "FOO", "get", "A" * 5_000),
]


@pytest.mark.hostile("H-14")
@pytest.mark.parametrize("target", _TARGETS, ids=lambda target: target[:24])
def test_odd_targets_are_refused_whatever_the_method(server, target):
    for method in ("GET", "POST", "OPTIONS", "CONNECT", "HEAD"):
        if (method, target) == ("OPTIONS", "*"):
            continue  # asks about the server: test_routes
        line = f"{method} {target} HTTP/1.1".encode()
        seen = exchange(server.address, request(_CLOSE, b"Content-Length: 0", line=line))
        assert len(seen.statuses) == 1
        assert seen.statuses[0] in {400, 404, 405, 431}, line
        assert seen.closed
    assert_well(server)


@pytest.mark.hostile("H-14")
@pytest.mark.parametrize("method", _METHODS, ids=lambda method: method[:24])
def test_odd_methods_are_refused(server, method):
    for path, allowed in (("/v1/detect", {"POST"}), ("/healthz", {"GET", "HEAD"}), ("/nope", set())):
        if method in allowed or (allowed and method == "OPTIONS"):
            continue
        line = f"{method} {path} HTTP/1.1".encode()
        seen = exchange(server.address, request(_CLOSE, b"Content-Length: 0", line=line))
        (status,) = seen.statuses
        assert status in {400, 404, 405}
        if status == 405:
            assert set(seen.responses[0].headers["allow"].split(", ")) == allowed | {"OPTIONS"}
    assert_well(server)


@pytest.mark.hostile("H-16")
def test_thousands_of_bad_cookie_pairs_are_at_most_one_log_line(server):
    cookies = (b"a[=\x80;" * 800, b"=;" * 2_000, b"a b=c d;" * 500, b'"' * 4_000, b"$Version=\xff;" * 250)
    for cookie in cookies:
        before = len(server.logs())
        for head in (
            request(b"Cookie: " + cookie, line=b"GET /healthz HTTP/1.1"),
            sized(picture(), b"Cookie: " + cookie),
        ):
            assert _send(server, head).statuses == [200]
        written = server.logs()[before:]
        assert written.count("\n") <= 1
    assert_well(server)


@contextmanager
def _listening() -> Iterator[tuple[int, list[object]]]:
    """A port of the test, and the connections to it."""
    callers: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        over = threading.Event()

        def accept() -> None:
            while not over.is_set():
                try:
                    connection, caller = listener.accept()
                except TimeoutError:
                    continue
                callers.append(caller)
                connection.close()

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield listener.getsockname()[1], callers
        finally:
            over.set()
            thread.join()


@pytest.mark.hostile("H-18")
def test_a_picture_by_address_makes_no_connection(server):
    with _listening() as (port, callers):
        for address in (
            f"http://127.0.0.1:{port}/a.jpg",
            f"https://127.0.0.1:{port}/a.jpg",
            f"ftp://127.0.0.1:{port}/a.jpg",
            f"gopher://127.0.0.1:{port}/1",
            f"//127.0.0.1:{port}/a.jpg",
            "file:///etc/passwd",
            "data:image/png;base64,iVBORw0KGgo=",
            f"http://[::ffff:127.0.0.1]:{port}/",
        ):
            url = server.url + "/v1/detect"
            form = (
                '--b\r\nContent-Disposition: form-data; name="url"\r\n\r\n' + address + "\r\n--b--\r\n"
            ).encode()
            replies = [
                client.post(url, address.encode()),
                client.post(url, json.dumps({"url": address}).encode()),
                client.post(f"{url}?url={address}", b""),
                client.post(url, form, headers={"Content-Type": "multipart/form-data; boundary=b"}),
                client.post(url, b"url=" + address.encode(), headers={"Referer": address}),
            ]
            # a data URL holds a picture's bytes, here only their first
            refused = {400, 415, 422} if address.startswith("data:") else {400, 415}
            assert {reply.status for reply in replies} <= refused
        for sent in (b"X-Forwarded-Host", b"Forwarded", b"X-Original-URL", b"Proxy-Connection"):
            field = sent + b": 127.0.0.1:%d" % port
            assert _send(server, sized(picture(), field)).statuses == [200]
        assert callers == []
        # the control: a caller would be noticed
        socket.create_connection(("127.0.0.1", port), timeout=3).close()
        server.wait_until(lambda: len(callers) == 1, "our own call seen")
    assert_well(server)


@pytest.mark.hostile("H-19")
def test_forged_forwarding_fields_change_nothing(start):
    fields = (
        b"X-Forwarded-For: 192.0.2.%d",
        b"Forwarded: for=192.0.2.%d",
        b"X-Real-IP: 192.0.2.%d",
        b"True-Client-IP: 192.0.2.%d",
        b"X-Forwarded-Host: 192.0.2.%d",
    )
    server = start(engine="stub", rate_limit_per_minute=1, rate_limit_burst=len(fields))
    statuses = [_send(server, sized(picture(), field % 1)).statuses for field in fields]
    assert statuses == [[200]] * len(fields)
    for number, field in enumerate(fields, 2):
        assert _send(server, sized(picture(), field % number)).statuses == [429]
    assert "caller=127.0.0.1" in server.logs()
    assert "192.0.2." not in server.logs()


@pytest.mark.hostile("H-19")
@pytest.mark.control
def test_a_trusted_proxys_field_tells_callers_apart(start):
    server = start(engine="stub", rate_limit_per_minute=1, rate_limit_burst=1, trusted_proxies="127.0.0.0/8")
    for number, status in ((1, 200), (2, 200), (1, 429), (2, 429)):
        field = b"X-Forwarded-For: 203.0.113.9, 192.0.2.%d" % number  # the left one is the caller's own word
        assert _send(server, sized(picture(), field)).statuses == [status]


@pytest.mark.hostile("H-20")
@pytest.mark.parametrize(
    "value", [b"0", b"-1", b"", b"+5", b"1.5", b"1e3", b"abc", b"0x10", "٣".encode(), b"1 2", b"000"]
)
def test_deadlines_that_are_no_number_are_malformed(server, value):
    seen = _send(server, sized(picture(), b"X-Request-Timeout-Ms: " + value))
    assert seen.statuses == [400]
    assert b'"malformed"' in seen.data
    assert_well(server)


@pytest.mark.hostile("H-20")
@pytest.mark.parametrize("value", [b"9" * 18, b"9" * 4_000, b"86400001", b"0005000"])
def test_huge_deadlines_are_clamped(server, value):
    assert _send(server, sized(picture(), b"X-Request-Timeout-Ms: " + value)).statuses == [200]


@pytest.mark.hostile("H-21")
def test_only_one_known_token_passes(start, tmp_path):
    folder = tmp_path / "tokens"
    folder.mkdir()
    (folder / "alice").write_text("the-secret-canary-1\n", encoding="ascii")
    (folder / "bob").write_text("the-secret-canary-2", encoding="ascii")
    server = start(engine="stub", auth_tokens_dir=str(folder), env=DEBUG_LOOP)
    wrong = (
        [],
        [b"Authorization:"],
        [b"Authorization: Bearer"],
        [b"Authorization: Bearer "],
        [b"Authorization: Bearer unknown-canary"],
        [b"Authorization: Bearer the-secret-canary-1 x"],
        [b"Authorization: the-secret-canary-1"],
        [b"Authorization: Basic the-secret-canary-1"],
        [b"Authorization: Bearer the-secret-canary-1", b"Authorization: Bearer the-secret-canary-1"],
        [b"Authorization: Bearer the-secret-canary-1", b"Authorization: Bearer unknown-canary"],
        [b"Authorization: Bearer \xff\xfe-canary"],
        [b"Authorization: Bearer " + b"canary" * 600],
    )
    for fields in wrong:
        seen = _send(server, sized(picture(), *fields))
        assert seen.statuses == [401], fields
        assert seen.responses[0].headers["www-authenticate"].startswith("Bearer")
        assert b'"unauthorized"' in seen.data
    million = _send(server, sized(picture(), b"Authorization: Bearer " + b"canary" * 175_000))
    assert million.statuses in ([400], [431])
    right = (b"Authorization: Bearer the-secret-canary-1", b"authorization: bearer the-secret-canary-2")
    for field in right:
        assert _send(server, sized(picture(), field)).statuses == [200]
    # revoked without a restart
    (folder / "alice").unlink()
    server.wait_until(lambda: _send(server, sized(picture(), right[0])).statuses == [401], "rid of a token")
    assert _send(server, sized(picture(), right[1])).statuses == [200]
    assert "canary" not in server.logs()
    assert "Traceback" not in server.logs()


@pytest.mark.hostile("H-22")
def test_request_ids_are_cleaned(server):
    for given, echoed in (
        (b"abc-123_x.y:z/=+@", "abc-123_x.y:z/=+@"),
        (b"a" * 500, "a" * 128),
        (b"a b\tc\"d'e<f>g\\h", "abcdefgh"),
        ("naïve".encode(), "nave"),
        (b"a;b,c{d}$(e)`f`%0d%0aX:y", "abcdef0d0aX:y"),
    ):
        seen = _send(server, sized(picture(), b"X-Request-Id: " + given))
        assert seen.statuses == [200]
        assert seen.responses[0].headers["x-request-id"] == echoed
    for hostile in (b"a\x1b[31mred", b"a\nb: c", b"a\rb", b"a\0b"):
        seen = exchange(server.address, sized(picture(), b"X-Request-Id: " + hostile))
        assert seen.statuses == [400]
        assert seen.closed
        assert seen.responses[0].headers["connection"] == "close"
    refused = _send(server, sized(b"no picture", b"X-Request-Id: " + b"b" * 500 + b"canary"))
    assert refused.statuses == [415]
    assert "b" * 129 not in server.logs()
    assert "canary" not in server.logs()
    assert "\x1b" not in server.logs()
    assert_well(server)


@pytest.mark.hostile("H-14")
@pytest.mark.parametrize(
    "fields",
    [
        [b'Accept: ;;;q=x, */*;q=nan,"'],
        [b"Accept: " + b"image/png;q=0.1," * 250],
        [b"Accept: image/png;q=1e999, application/json;q=-5"],
        [b"Accept: \xff\xfe"],
        [b"Accept:"],
        [b"Content-Type: \xff/\xfe"],
        [b"Content-Type: ;"],
        [b"Content-Type: text/plain; charset=\xff"],
        [b"Content-Type: image/png; boundary=" + b"a" * 3_000],
        [b"Cache-Control: " + b"no-cache," * 400],
        [b"Range: bytes=0-x", b"If-Modified-Since: never", b'If-None-Match: "'],
        [b"Accept: " + b"," * 4_000] * 8,
        [b"X-HTTP-Method-Override: DELETE"],
        [b'Connection: x, y, "z', b"TE: trailers, deflate;q=0.5"],
    ],
)
def test_weird_values_of_ordinary_fields_change_nothing(server, fields):
    comment = repr(fields).encode()
    assert _send(server, sized(command_png(Command.OK, 0, comment), *fields)).statuses == [200]
    assert_well(server)


@pytest.mark.hostile("H-13")
@pytest.mark.parametrize("path", ["/v1/detect", "/v1/model", "/healthz", "/no-such-path"])
def test_an_expectation_that_nobody_meets_is_refused_on_every_path(server, path):
    """Control: the one that is met, in test_body_limits."""
    data = b"GET %s HTTP/1.1\r\nHost: x\r\nExpect: the-unexpected\r\n\r\n" % path.encode()
    assert _send(server, data).statuses == [400]
    assert_well(server)
