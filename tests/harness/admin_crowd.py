"""Slow clients of an admin port, and probes beside them."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from harness.raw import RawConnection, exchange

_STEP_SECONDS = 0.05


def get(path: str, *headers: str) -> bytes:
    """Bytes of a GET request."""
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: test", *headers, "", ""]).encode()


@dataclass(slots=True)
class Crowd:
    """Open connections that send nothing, a part of a head, or nothing after one request."""

    address: tuple[str, int]
    connections: list[RawConnection]

    def alive(self) -> int:
        """How many the server has not closed."""
        return sum(not one.peer_closed() for one in self.connections)

    def seconds_until_gone(self, limit_seconds: float) -> float:
        """Wait until the server has closed all; `limit_seconds` if it has not by then."""
        start = time.monotonic()
        while (passed := time.monotonic() - start) < limit_seconds:
            if not self.alive():
                return passed
            time.sleep(_STEP_SECONDS)
        return limit_seconds

    def slowest_probe(self, path: str, *, probes: int = 20) -> float:
        """The longest time of a probe on a connection of its own, in seconds."""
        slowest = 0.0
        for _ in range(probes):
            start = time.monotonic()
            seen = exchange(self.address, get(path, "Connection: close"), responses=1)
            slowest = max(slowest, time.monotonic() - start)
            assert len(seen.statuses) == 1, seen
        return slowest


@contextmanager
def crowd(address: tuple[str, int], path: str, *, size: int) -> Iterator[Crowd]:
    """`size` slow clients of each kind; those that idle have got an answer to one request for `path`."""
    with ExitStack() as stack:
        made = Crowd(address, [])
        for first in (b"", b"GET / HTTP/1.1\r\nHost: t", get(path)):
            for _ in range(size):
                one = stack.enter_context(RawConnection(address))
                made.connections.append(one)
                one.send(first)
                if first == get(path):
                    assert len(one.read(5, responses=1).statuses) == 1
        yield made
