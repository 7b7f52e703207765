"""The time that the server adds for one client: a plain detection and a request, alternating.

    python -m bench.one_client PORT MODEL PICTURE SECONDS FIRST_NUMBER

They alternate so that a change in the machine's speed affects both. The client is a plain blocking socket,
which adds hardly any time. Prints one JSON line, in milliseconds: the medians of both,
and the median of the extra time of each request over the detection before it.
"""

import json
import re
import socket
import sys
import time
from pathlib import Path
from statistics import median

from bench.bare import detector
from bench.picture import unique

_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


def ask(connection: socket.socket, buffer: bytearray, body: bytes) -> float:
    """Post a picture and wait for its whole answer, which must be 200; returns the seconds."""
    head = f"POST /v1/detect HTTP/1.1\r\nHost: bench\r\nContent-Length: {len(body)}\r\n\r\n"
    request = head.encode() + body
    started = time.perf_counter()
    connection.sendall(request)
    received, wanted = 0, len(buffer)
    while received < wanted:
        received += connection.recv_into(memoryview(buffer)[received:])
        end = buffer.find(b"\r\n\r\n", 0, received)
        if wanted == len(buffer) and end >= 0:
            length = _LENGTH.search(buffer, 0, end)
            assert buffer.startswith(b"HTTP/1.1 200 "), bytes(buffer[:200])
            assert length is not None
            wanted = end + 4 + int(length[1])
    return time.perf_counter() - started


def main() -> None:
    port, model, picture = int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]).read_bytes()
    seconds, number = float(sys.argv[4]), int(sys.argv[5])
    buffer = bytearray(1 << 20)
    bare: list[float] = []
    served: list[float] = []
    with detector(model, picture) as once, socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            number += 1
            bare.append(once(number))
            served.append(ask(connection, buffer, unique(picture, number)))
    added = median(ours - its for ours, its in zip(served, bare, strict=True))
    figures = {"bare_ms": median(bare), "served_ms": median(served), "added_ms": added}
    print(json.dumps({name: value * 1000 for name, value in figures.items()}))


if __name__ == "__main__":
    main()
