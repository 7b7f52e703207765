"""For tests of hostile requests: heads and bodies as bytes, and invariants after each of them.

The server has to run with `DEBUG_LOOP` in its environment: asyncio then logs each turn of the loop
that took over 0.1 s, which shows a stall more precisely than a probe from outside.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from engines.stub_engine import Command, command_png
from harness import client
from harness.faults import is_right
from harness.server import ServerProcess, start_server

DEBUG_LOOP = {"PYTHONASYNCIODEBUG": "1"}
STALL_SECONDS = 0.25
REPEATS = 5
CLOSE = b"Connection: close"
_SLOW_TURN = re.compile(r"Executing .* took ([0-9.]+) seconds")
_numbers = count()


def picture() -> bytes:
    """A picture for the stub engine that no request had before."""
    return command_png(Command.OK, 0, b"hostile %d" % next(_numbers))


def request(*fields: bytes, line: bytes = b"POST /v1/detect HTTP/1.1", host: bytes = b"Host: test") -> bytes:
    """A head: `line`, `host` if not empty, the fields, the blank line."""
    return b"\r\n".join([line, *([host] if host else []), *fields, b"", b""])


def get(*fields: bytes, version: bytes = b"HTTP/1.1", target: bytes = b"/healthz") -> bytes:
    """A whole GET request."""
    return request(*fields, line=b"GET %s %s" % (target, version))


NEXT = get()  # a valid request to send behind a hostile one


def length_field(body: bytes) -> bytes:
    """The Content-Length field of a body."""
    return b"Content-Length: %d" % len(body)


def sized(body: bytes, *fields: bytes, line: bytes = b"POST /v1/detect HTTP/1.1") -> bytes:
    """A whole request with Content-Length."""
    return request(length_field(body), *fields, line=line) + body


def chunked(framed_body: bytes, *fields: bytes) -> bytes:
    """A whole request with Transfer-Encoding; `framed_body` is sent unchanged."""
    return request(b"Transfer-Encoding: chunked", *fields) + framed_body


def chunks(body: bytes, *, size: int = 0, extension: bytes = b"", trailer: bytes = b"") -> bytes:
    """Frame a body in chunks of `size` bytes (0: one chunk)."""
    step = size or len(body)
    parts = (body[start : start + step] for start in range(0, len(body), step))
    framed = b"".join(b"%x%s\r\n%s\r\n" % (len(part), extension, part) for part in parts)
    return framed + b"0\r\n" + trailer + b"\r\n"


@contextmanager
def strict_server(folder: Path) -> Iterator[ServerProcess]:
    """A server with the stub engine, short limits for slow clients and `DEBUG_LOOP`."""
    with start_server(
        folder=folder,
        engine="stub",
        header_timeout_ms=1_000,
        idle_timeout_ms=5_000,
        body_timeout_ms=5_000,
        env=DEBUG_LOOP,
    ) as server:
        yield server


def assert_well(server: ServerProcess, *, workers: list[int] | None = None) -> None:
    """Check what must hold after a hostile request: the next valid one is answered, nothing restarted.

    No answer was a 500, no turn of the loop took over 0.25 s, and no traceback is in the log.
    """
    number = next(_numbers)
    reply = client.post(server.url + "/v1/detect", command_png(Command.OK, 0, b"good %d" % number))
    assert is_right(reply, Command.OK, 0, b"good %d" % number), reply
    assert server.metrics("http_requests_total", code="500") == 0
    logs = server.logs()
    assert "Traceback" not in logs
    assert slowest_turn_seconds(logs) <= STALL_SECONDS
    if workers is not None:
        assert server.worker_pids() == workers


def slowest_turn_seconds(logs: str) -> float:
    """The longest turn of the server's loop according to its log; 0 if none took over 0.1 s."""
    return max((float(match) for match in _SLOW_TURN.findall(logs)), default=0.0)
