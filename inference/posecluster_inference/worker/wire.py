"""Frames on the private pipe of a worker: a JSON head and raw bytes, both length-prefixed.

The head is JSON and not pickle, because a worker passes untrusted bytes to native decoders. A compromised
worker must not be able to run code in the server process.
"""

import json
import socket
import struct
from collections.abc import Iterator
from typing import Any

_write = json.JSONEncoder(separators=(",", ":")).encode  # json.dumps would create an encoder for each frame
_LENGTHS = struct.Struct("!II")
_MAX_HEAD_BYTES = 1 << 16
# A drawn picture of the largest allowed size, encoded as PNG, is much smaller than this.
_MAX_PAYLOAD_BYTES = 1 << 28

Head = dict[str, Any]
Frame = tuple[Head, bytes]


class BrokenPipeFrame(Exception):
    """The other side sent an invalid frame; the pipe cannot be used any more."""


def pack_head(head: Head, payload_length: int) -> bytes:
    """Return the bytes of a frame that precede its payload."""
    text = _write(head).encode()
    return _LENGTHS.pack(len(text), payload_length) + text


def _unpack_lengths(prefix: bytes | bytearray) -> tuple[int, int]:
    head_length, payload_length = _LENGTHS.unpack_from(prefix)
    if head_length > _MAX_HEAD_BYTES or payload_length > _MAX_PAYLOAD_BYTES:
        raise BrokenPipeFrame("a frame is too long")
    return head_length, payload_length


def _parse_head(text: bytes | bytearray) -> Head:
    try:
        head = json.loads(text.decode())
    except (ValueError, RecursionError) as error:
        raise BrokenPipeFrame("a frame's head is not JSON") from error
    if not isinstance(head, dict):
        raise BrokenPipeFrame("a frame's head is not an object")
    return head


class FrameReader:
    """Assembles frames from received bytes; used by the server."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Add received bytes and yield each complete frame; raises BrokenPipeFrame."""
        buffer = self._buffer
        buffer += data
        while len(buffer) >= _LENGTHS.size:
            head_length, payload_length = _unpack_lengths(buffer)
            body = _LENGTHS.size + head_length
            end = body + payload_length
            if len(buffer) < end:
                return
            head = _parse_head(buffer[_LENGTHS.size : body])
            payload = bytes(memoryview(buffer)[body:end])
            del buffer[:end]
            yield head, payload


def send(pipe: socket.socket, head: Head, payload: bytes = b"") -> None:
    """Write one frame, blocking until it is written; used by workers."""
    pipe.sendall(pack_head(head, len(payload)))
    if payload:
        pipe.sendall(payload)


def receive(pipe: socket.socket) -> Frame | None:
    """Wait for one frame; return None if the pipe is closed. Used by workers. Raises BrokenPipeFrame."""
    prefix = _receive_exactly(pipe, _LENGTHS.size)
    if prefix is None:
        return None
    head_length, payload_length = _unpack_lengths(prefix)
    head = _receive_exactly(pipe, head_length)
    payload = _receive_exactly(pipe, payload_length)
    if head is None or payload is None:
        return None
    return _parse_head(head), bytes(payload)


def _receive_exactly(pipe: socket.socket, length: int) -> bytearray | None:
    buffer = bytearray(length)
    view = memoryview(buffer)
    received = 0
    while received < length:
        count = pipe.recv_into(view[received:])
        if count == 0:
            return None
        received += count
    return buffer
