"""Send raw bytes to a server and read its responses, for requests that no HTTP library would send.

    seen = exchange(server.address, b"GET / HTTP/1.1\\r\\n\\r\\n", deadline_seconds=3)
    assert seen.statuses == [400]
    assert seen.closed

Every call ends by its deadline. Blocking: in an async test call it through `asyncio.to_thread`.
"""

import socket
import time
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

_READ_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class RawResponse:
    """One answer as it came; header names in lower case, the last one wins."""

    status: int
    headers: dict[str, str]
    body: bytes
    complete: bool


@dataclass(slots=True)
class Exchange:
    """What came back: all bytes, whether the server closed (or reset) the connection, and when."""

    data: bytes
    closed: bool
    reset: bool
    seconds: float
    responses: list[RawResponse] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.responses = parse_responses(self.data)

    @property
    def statuses(self) -> list[int]:
        """Status codes in order, 1xx too."""
        return [response.status for response in self.responses]


class RawConnection:
    """A connected socket; every wait has a limit."""

    def __init__(
        self, address: tuple[str, int], *, timeout_seconds: float = 5.0, receive_buffer: int = 0
    ) -> None:
        """Connect; `receive_buffer` in bytes, when small, makes an unread answer block the server soon."""
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(timeout_seconds)
        self.socket.connect(address)
        self.started_seconds = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def send(self, data: bytes, *, timeout_seconds: float = 5.0) -> bool:
        """Send all; False if the server closed, or took no more within the time."""
        self.socket.settimeout(timeout_seconds)
        try:
            self.socket.sendall(data)
        except OSError:
            return False
        return True

    def dribble(self, data: bytes, *, every_seconds: float, deadline_seconds: float) -> int:
        """Send a byte at a time until all are sent, the server closes or the time is over; bytes sent."""
        end = time.monotonic() + deadline_seconds
        for index in range(len(data)):
            if time.monotonic() >= end or self.peer_closed() or not self.send(data[index : index + 1]):
                return index
            time.sleep(every_seconds)
        return len(data)

    def peer_closed(self) -> bool:
        """Whether the server has closed or reset; bytes that wait to be read hide a close behind them."""
        self.socket.settimeout(0)
        try:
            return self.socket.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    def finish_sending(self) -> None:
        """Close our direction only."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    def read(
        self, deadline_seconds: float = 5.0, *, responses: int | None = None, limit_bytes: int = 1 << 24
    ) -> Exchange:
        """Read until the server closes, `responses` complete answers are there, or the time is over."""
        start = time.monotonic()
        data = bytearray()
        closed = reset = False
        while not closed and (left := start + deadline_seconds - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                part = self.socket.recv(_READ_BYTES)
            except TimeoutError:
                break
            except OSError:
                closed = reset = True
                break
            closed = not part
            data += part
            if len(data) > limit_bytes:
                break
            if responses is not None and _complete(bytes(data)) >= responses:
                break
        return Exchange(bytes(data), closed, reset, time.monotonic() - start)

    def close(self) -> None:
        """Close; never raises."""
        with suppress(OSError):
            self.socket.close()

    def reset(self) -> None:
        """Close with RST instead of FIN."""
        with suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.close()


def exchange(
    address: tuple[str, int],
    data: bytes,
    *,
    deadline_seconds: float = 5.0,
    responses: int | None = None,
    finish: bool = False,
) -> Exchange:
    """Connect, send `data`, read as `RawConnection.read` does, close. `finish`: half-close after sending."""
    with RawConnection(address, timeout_seconds=deadline_seconds) as connection:
        connection.send(data, timeout_seconds=deadline_seconds)
        if finish:
            connection.finish_sending()
        return connection.read(deadline_seconds, responses=responses)


def post(path: str, body: bytes, *headers: str, host: str = "test") -> bytes:
    """Bytes of an ordinary POST, with more header lines such as "Connection: close"."""
    lines = [f"POST {path} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def parse_responses(data: bytes) -> list[RawResponse]:
    """The answers in `data`, in order; stops at an invalid status line. The last may be incomplete."""
    found = []
    while data.startswith(b"HTTP/1."):
        head, blank, rest = data.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        status = int(lines[0].split(" ")[1])
        pairs = (line.partition(":") for line in lines[1:])
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        body, data, complete = _body(status, headers, rest)
        found.append(RawResponse(status, headers, body, complete and bool(blank)))
    return found


def _complete(data: bytes) -> int:
    return sum(response.complete and response.status >= 200 for response in parse_responses(data))


def _body(status: int, headers: dict[str, str], rest: bytes) -> tuple[bytes, bytes, bool]:
    """Split what follows a head into body, remainder and whether the body is whole."""
    if status < 200 or status in {204, 304}:
        return b"", rest, True
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return _chunked(rest)
    if "content-length" in headers:
        length = int(headers["content-length"])
        return rest[:length], rest[length:], len(rest) >= length
    return rest, b"", True


def _chunked(rest: bytes) -> tuple[bytes, bytes, bool]:
    body = b""
    while True:
        line, found, after = rest.partition(b"\r\n")
        if not found:
            return body, b"", False
        size = int(line.split(b";")[0], 16)
        if size == 0:
            return body, after.removeprefix(b"\r\n"), after.startswith(b"\r\n")
        if len(after) < size + 2:
            return body + after[:size], b"", False
        body, rest = body + after[:size], after[size + 2 :]
