"""Frames arrive as they were sent, however the pipe splits them; anything else breaks the pipe."""

import json
import socket
import struct
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posecluster_inference.worker.wire import BrokenPipeFrame, Frame, FrameReader, pack_head, receive, send

json_values = st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.floats(allow_nan=False)
heads = st.dictionaries(st.text(max_size=8), json_values | st.lists(json_values, max_size=3), max_size=4)
DEEP = b'{"a": ' + b"[" * 60_000  # as deep as a head may be long; Python's parser gives up
frames_strategy = st.lists(st.tuples(heads, st.binary(max_size=300)), max_size=4)


def _bytes(frames: list[Frame]) -> bytes:
    return b"".join(pack_head(head, len(payload)) + payload for head, payload in frames)


def _raw(head: bytes, payload_length: int = 0, head_length: int | None = None) -> bytes:
    return struct.pack("!II", len(head) if head_length is None else head_length, payload_length) + head


@pytest.fixture
def pipe() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.settimeout(10)
    theirs.settimeout(10)
    with ours, theirs:
        yield ours, theirs


@given(frames=frames_strategy, data=st.data())
def test_frames_survive_any_chunking(frames: list[Frame], data: st.DataObject) -> None:
    stream = _bytes(frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    reader, found = FrameReader(), list[Frame]()
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += reader.feed(stream[start:end])
    assert found == frames


def test_frames_survive_single_bytes() -> None:
    frames: list[Frame] = [({"event": "ready"}, b""), ({"a": [1, 2.5, None]}, b"\x00" * 40), ({}, b"x")]
    reader, found = FrameReader(), list[Frame]()
    for byte in _bytes(frames):
        found += reader.feed(bytes([byte]))
    assert found == frames


def test_a_frame_is_given_only_when_its_last_byte_is_there() -> None:
    stream = _bytes([({"a": 1}, b"payload")])
    reader = FrameReader()
    assert list(reader.feed(stream[:-1])) == []
    assert list(reader.feed(stream[-1:])) == [({"a": 1}, b"payload")]


@pytest.mark.parametrize(
    "stream",
    [
        _raw(b"", head_length=(1 << 16) + 1),
        _raw(b"", head_length=0xFFFFFFFF),
        _raw(b"{}", payload_length=(1 << 28) + 1),
        _raw(b"not json"),
        _raw(b""),
        _raw(b"[1]"),
        _raw(b'"text"'),
        _raw(b"\xff\xfe\xfd"),
        _raw(b'{"a": ' + b"9" * 5_000 + b"}"),
        _raw(DEEP),
        b"HTTP/1.1 200 OK\r\n",
    ],
    ids=[
        "head",
        "huge head",
        "payload",
        "text",
        "empty",
        "list",
        "string",
        "no utf-8",
        "digits",
        "too deep",
        "http",
    ],
)
def test_an_invalid_frame_breaks_the_pipe(stream: bytes) -> None:
    with pytest.raises(BrokenPipeFrame):
        list(FrameReader().feed(stream))


@given(chunks=st.lists(st.binary(max_size=64), max_size=6))
def test_noise_gives_frames_or_breaks_the_pipe(chunks: list[bytes]) -> None:
    reader = FrameReader()
    try:
        for chunk in chunks:
            for head, payload in reader.feed(chunk):
                assert isinstance(head, dict)
                assert isinstance(payload, bytes)
    except BrokenPipeFrame:
        pass


def test_frames_before_the_broken_one_are_given() -> None:
    reader = FrameReader().feed(_bytes([({"a": 1}, b"good")]) + _raw(b"bad!"))
    assert next(reader) == ({"a": 1}, b"good")
    with pytest.raises(BrokenPipeFrame):
        next(reader)


def test_a_head_is_json_text() -> None:
    text = pack_head({"a": "é\n"}, 7)
    assert struct.unpack_from("!II", text) == (len(text) - 8, 7)
    assert json.loads(text[8:]) == {"a": "é\n"}


def test_both_sides_of_a_pipe_understand_each_other(pipe: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pipe
    payload = bytes(range(256)) * 8_192  # more than the pipe holds
    sender = threading.Thread(target=send, args=(ours, {"n": 1}, payload))
    sender.start()
    assert receive(theirs) == ({"n": 1}, payload)
    sender.join(10)
    send(theirs, {"n": 2})
    assert list(FrameReader().feed(ours.recv(1_024))) == [({"n": 2}, b"")]


@pytest.mark.parametrize("kept", [0, 3, 8, 12, -1])
def test_a_pipe_that_closes_is_the_end(pipe: tuple[socket.socket, socket.socket], kept: int) -> None:
    ours, theirs = pipe
    ours.sendall(_bytes([({"a": 1}, b"payload")])[:kept])
    ours.close()
    assert receive(theirs) is None


@pytest.mark.parametrize("broken", [_raw(b"", head_length=1 << 20), _raw(DEEP)], ids=["head", "too deep"])
def test_a_worker_refuses_an_invalid_frame(pipe: tuple[socket.socket, socket.socket], broken: bytes) -> None:
    ours, theirs = pipe
    ours.sendall(broken)
    with pytest.raises(BrokenPipeFrame):
        receive(theirs)
