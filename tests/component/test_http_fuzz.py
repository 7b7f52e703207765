"""Check 36: any HTTP input gets a documented answer, never a 500, and nothing stalls."""

import json
import random
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from harness import client
from harness.contract import run_schemathesis
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
from harness.raw import exchange

_CLOSE = b"Connection: close"
_FORM_TYPE = b"Content-Type: multipart/form-data; boundary=b"
_SENDERS = 8  # what is cut short is waited for until the server's time is over
_ACCEPTED_SHARE = 0.2
_SHORT = {"header_timeout_ms": 300, "body_timeout_ms": 300, "idle_timeout_ms": 300}


def _form() -> bytes:
    head = b'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n'
    return head + picture() + b"\r\n--b--\r\n"


def _get(path: str, method: str = "GET") -> bytes:
    return request(_CLOSE, b"X-Mine: a", line=f"{method} {path} HTTP/1.1".encode())


_ROUTES = ("/v1/detect", "/v1/model", "/healthz", "/openapi.json", "/", "/assets/main.js", "/nowhere")
_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE")
_WORDS = (
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b"\0",
        b" ",
        b"\t",
        b":",
        b";",
        b",",
        b"%",
        b"%00",
        b"..",
        b"//",
        b"\xff",
        b"0x",
    ),
    *(
        b"Host: other\r\n",
        b"Content-Length: 5\r\n",
        b"Content-Length: 99999999999\r\n",
        b"Expect: 100-continue\r\n",
    ),
    *(
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: Upgrade\r\nUpgrade: websocket\r\n",
        b"HTTP/1.0",
        b"HTTP/9",
    ),
    *(b"Content-Encoding: gzip\r\n", b"Accept: image/png\r\n", b"X-Request-Timeout-Ms: 0\r\n", b"X-A: b\r\n"),
    *(
        b"Cookie: a[=;;\r\n",
        b"Range: bytes=0-\r\n",
        b"Authorization: Bearer x\r\n",
        b"0\r\n\r\n",
        b"--b",
        b"a" * 5_000,
    ),
)


def _good(rng: random.Random) -> bytes:
    """A right request of any kind."""
    return rng.choice(
        (
            lambda: sized(picture(), _CLOSE, b"Accept: image/jpeg"),
            lambda: sized(picture(), _CLOSE, b"X-Request-Timeout-Ms: 900", b"X-Request-Id: a"),
            lambda: chunked(chunks(picture(), size=rng.randint(20, 900)), _CLOSE),
            lambda: sized(_form(), _CLOSE, _FORM_TYPE),
            lambda: _get(rng.choice(_ROUTES[1:6])),
        )
    )()


def _mutated(rng: random.Random) -> bytes:
    """A right request with 0 to 4 changes, most of them in its head."""
    data = bytearray(_good(rng))
    for _ in range(rng.choice((0, 1, 1, 1, 2, 4))):
        head = data.find(b"\r\n\r\n") + 4
        start = rng.randrange(head if rng.random() < 0.7 else len(data))
        end = start + rng.choice((1, 1, 2, 8))
        match rng.randrange(6):
            case 0:
                data[start] ^= 1 << rng.randrange(8)
            case 1:
                data[start:start] = rng.choice(_WORDS)
            case 2:
                del data[start:end]
            case 3:
                data[start:end] = rng.randbytes(end - start)
            case 4:  # a line twice, elsewhere
                lines = bytes(data[:head]).split(b"\r\n")
                data[start:start] = rng.choice(lines) + b"\r\n"
            case 5:  # a word at the start of a field, where it is a whole line
                at = data.find(b"\r\n", start) + 2
                data[at:at] = rng.choice(_WORDS)
    return bytes(data)


def _documented(url: str) -> set[int]:
    """All statuses of the document."""
    paths = client.get(url + "/openapi.json").json()["paths"]
    statuses = {
        int(status)
        for path in paths.values()
        for operation in path.values()
        for status in operation["responses"]
    }
    return statuses | {204, 308, 404}  # OPTIONS, a slash at the end, and paths that it does not have


def _fuzz(address: tuple[str, int], rng: random.Random, count: int) -> tuple[Counter[int], dict[int, bytes]]:
    """Send mutations on connections of their own: first statuses, 0 for none, and an example of each."""
    cases = [_mutated(rng) for _ in range(count)]
    for route in _ROUTES:
        cases += [_get(route, method) for method in _METHODS]

    def status(data: bytes) -> int:
        seen = exchange(address, data, deadline_seconds=5)
        final = [status for status in seen.statuses if status >= 200]
        return final[0] if final else 0

    with ThreadPoolExecutor(_SENDERS) as senders:
        statuses = list(senders.map(status, cases))
    return Counter(statuses), dict(zip(statuses, cases, strict=True))


@pytest.mark.serial
@pytest.mark.acceptance(36)
@pytest.mark.timeout(180)
def test_raw_mutations_get_documented_answers(start, rng, record_figure, long_run):
    count = 20_000 if long_run else 3_000
    server = start(engine="stub", env=DEBUG_LOOP, **_SHORT)
    workers, documented = server.worker_pids(), _documented(server.url)
    statuses, examples = _fuzz(server.address, rng, count)
    sent = sum(statuses.values())
    record_figure("raw mutations", json.dumps(dict(sorted(statuses.items()))), bar="no 500", sample=sent)
    stall = slowest_turn_seconds(server.logs())
    record_figure("slowest turn (0: under 0.1 s)", stall, bar="<= 0.25 s", unit="s", sample=sent)
    unexpected = {status: examples[status] for status in statuses if status not in {*documented, 0}}
    assert not unexpected
    assert sent >= count
    assert statuses[200] >= _ACCEPTED_SHARE * sent
    assert_well(server, workers=workers)


class _Planted(BaseHTTPRequestHandler):
    """Serves the real document, and a 500 for one header in some."""

    document: ClassVar[bytes] = b""

    def do_GET(self) -> None:
        broken = self.path != "/openapi.json"
        body = b"{}" if broken else self.document
        self.send_response(500 if broken else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_TRACE = do_QUERY = do_GET

    def log_message(self, *_arguments: Any) -> None:
        """Quiet."""


@contextmanager
def _planted(document: bytes) -> Iterator[tuple[str, int]]:
    handler = type("_Served", (_Planted,), {"document": document, "timeout": 0.5})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as bad:
        thread = threading.Thread(target=bad.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield ("127.0.0.1", bad.server_address[1])
        finally:
            bad.shutdown()
            thread.join()


@pytest.mark.acceptance(36)
@pytest.mark.control
@pytest.mark.timeout(120)
def test_a_planted_500_is_found(start, rng, seed, tmp_path):
    document = client.get(start(engine="stub").url + "/openapi.json").body
    with _planted(document) as address:
        statuses, _examples = _fuzz(address, rng, 100)
        assert statuses[500] > 0
        ended = run_schemathesis(f"http://127.0.0.1:{address[1]}/openapi.json", seed, tmp_path, seconds=15)
    assert ended.returncode == 1
    assert "500" in ended.stdout
