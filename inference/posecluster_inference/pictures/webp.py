"""WebP: reads the size, checks the chunks, and removes all but the first frame.

Layout: RFC 9649 (container, VP8X, ANMF, VP8L header) and RFC 6386, section 9.1 (VP8 frame header).
"""

from collections.abc import Iterator
from struct import Struct

from posecluster_inference.errors import Refusal
from posecluster_inference.pictures.limits import SizeLimit, undecodable

_FIRST_CHUNK = 12
_FLAGS = 20
# Enough for 10,000 frames and metadata. A worker walks over all chunks to find the EXIF chunk.
_MAX_CHUNKS = 20_000
_MAX_CHUNKS_BEFORE_PICTURE = 1_000

_CHUNK = Struct("<4sI")
_VP8X_BYTES = 10
_ANMF_BYTES = 16
_ANIMATED, _HAS_PROFILE, _HAS_XMP = 0x02, 0x20, 0x04

_BITSTREAMS = frozenset({b"VP8 ", b"VP8L"})
# Chunks that a decoder needs, by group; only the first chunk of each group is retained.
_STILL = {b"VP8X": "canvas", b"ALPH": "alpha", b"VP8 ": "picture", b"VP8L": "picture", b"EXIF": "exif"}
_MOVING = {b"VP8X": "canvas", b"ANIM": "animation", b"ANMF": "picture", b"EXIF": "exif"}


def declared(data: bytes, limit: SizeLimit) -> tuple[int, int]:
    """Return width and height of the canvas from the beginning of a file.

    Raises Refusal: 413 by `limit`, 422 for a damaged header.
    """
    if len(data) < _FIRST_CHUNK + _CHUNK.size:
        raise _cut_off()
    kind, start, end = _first_chunk(data)
    if kind == b"VP8X":
        size = _canvas_size(data, start, end)
    elif kind in _BITSTREAMS:
        size = _bitstream_size(kind, data, start, end)
    else:
        raise undecodable("The WebP does not begin with a picture: save it again.")
    limit.check(*size)
    return size


def measure(data: bytes, limit: SizeLimit) -> tuple[int, int]:
    """Return width and height of the canvas, after checking that the first frame fits it.

    Raises Refusal: 413 by `limit`, 422 for a file that is cut off or inconsistent.
    """
    size = declared(data, limit)
    kind, _start, end = _first_chunk(data)
    riff_end = 8 + int.from_bytes(data[4:8], "little")
    if not end <= riff_end <= len(data):
        raise _cut_off()
    if kind == b"VP8X":
        _check_first_frame(data, end, riff_end, size)
    return size


def first_frame(data: bytes) -> bytes:
    """Return the WebP with only its first frame, transparency and EXIF data.

    `data` must have passed `measure`. Profiles, XMP, unknown chunks, later frames and trailing bytes are
    removed; without any, `data` is returned unchanged. An animation remains an animation with a single frame,
    because this frame may cover only a part of the canvas. Raises Refusal (422) for more than 20,000 chunks.
    """
    if data[_FIRST_CHUNK : _FIRST_CHUNK + 4] != b"VP8X":
        return data
    groups = _MOVING if data[_FLAGS] & _ANIMATED else _STILL
    kept: dict[str, bytes] = {}
    for kind, start, end in chunks(data):
        group = groups.get(kind)
        if group is not None and group not in kept:
            kept[group] = data[start - _CHUNK.size : end] + bytes((end - start) & 1)
    if sum(map(len, kept.values())) == len(data) - _FIRST_CHUNK:
        return data
    canvas = bytearray(kept["canvas"])
    canvas[_CHUNK.size] &= ~(_HAS_PROFILE | _HAS_XMP)
    kept["canvas"] = bytes(canvas)
    content = b"WEBP" + b"".join(kept.values())
    return chunk(b"RIFF", content)


def chunk(kind: bytes, content: bytes) -> bytes:
    """Return a RIFF chunk, padded to an even length."""
    return _CHUNK.pack(kind, len(content)) + content + bytes(len(content) & 1)


def chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, payload start and payload end of each chunk; raises Refusal if one is cut off."""
    return _chunks(data, _FIRST_CHUNK, 8 + int.from_bytes(data[4:8], "little"), _MAX_CHUNKS)


def _first_chunk(data: bytes) -> tuple[bytes, int, int]:
    kind, length = _CHUNK.unpack_from(data, _FIRST_CHUNK)
    start = _FIRST_CHUNK + _CHUNK.size
    return kind, start, start + length


def _chunks(data: bytes, position: int, stop: int, most: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, start and end of each payload; raises Refusal if a chunk extends beyond `stop`."""
    for _ in range(most):
        if position + _CHUNK.size > stop:
            return
        kind, length = _CHUNK.unpack_from(data, position)
        start = position + _CHUNK.size
        end = start + length
        if end > stop:
            raise _cut_off()
        yield kind, start, end
        # A payload of odd size is padded by one byte.
        position = end + (length & 1)
    raise undecodable(f"The WebP has over {most} chunks: save it as a still picture.")


def _check_first_frame(data: bytes, position: int, riff_end: int, canvas: tuple[int, int]) -> None:
    animated = data[_FLAGS] & _ANIMATED
    announced = False
    for kind, start, end in _chunks(data, position, riff_end, _MAX_CHUNKS_BEFORE_PICTURE):
        if kind == b"ANIM":
            announced = True
        elif kind == b"ANMF" and animated:
            if not announced:
                raise undecodable("The WebP has a frame before its animation header: save it again.")
            _check_animation_frame(data, start, end, canvas)
            return
        elif kind in _BITSTREAMS:
            if animated or _bitstream_size(kind, data, start, end) != canvas:
                raise _contradiction()
            return
    raise undecodable("The WebP has no picture in it: send the whole file.")


def _check_animation_frame(data: bytes, start: int, end: int, canvas: tuple[int, int]) -> None:
    if end - start < _ANMF_BYTES:
        raise _cut_off()
    left, top = 2 * _three_bytes(data, start), 2 * _three_bytes(data, start + 3)
    width, height = 1 + _three_bytes(data, start + 6), 1 + _three_bytes(data, start + 9)
    if left + width > canvas[0] or top + height > canvas[1]:
        raise _contradiction()
    for kind, inner_start, inner_end in _chunks(data, start + _ANMF_BYTES, end, _MAX_CHUNKS_BEFORE_PICTURE):
        if kind in _BITSTREAMS:
            if _bitstream_size(kind, data, inner_start, inner_end) != (width, height):
                raise _contradiction()
            return
    raise undecodable("The WebP has an empty first frame: save it again.")


def _canvas_size(data: bytes, start: int, end: int) -> tuple[int, int]:
    if end - start != _VP8X_BYTES or end > len(data):
        raise undecodable("The WebP has a damaged header: send the whole file.")
    return 1 + _three_bytes(data, start + 4), 1 + _three_bytes(data, start + 7)


def _bitstream_size(kind: bytes, data: bytes, start: int, end: int) -> tuple[int, int]:
    head = data[start : min(end, start + 10)]
    if kind == b"VP8L":
        bits = int.from_bytes(head[1:5], "little")
        if len(head) < 5 or head[0] != 0x2F or bits >> 29:
            raise undecodable("The WebP has a damaged lossless header: send the file again.")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if len(head) < 10 or head[3:6] != b"\x9d\x01\x2a":
        raise undecodable("The WebP has a damaged frame header: send the file again.")
    tag = int.from_bytes(head[:3], "little")
    is_key_frame, profile, is_shown = not tag & 1, tag >> 1 & 7, tag >> 4 & 1
    if not is_key_frame or profile > 3 or not is_shown:
        raise undecodable("The WebP does not hold a still picture: save it again.")
    return int.from_bytes(head[6:8], "little") & 0x3FFF, int.from_bytes(head[8:10], "little") & 0x3FFF


def _three_bytes(data: bytes, position: int) -> int:
    return int.from_bytes(data[position : position + 3], "little")


def _contradiction() -> Refusal:
    return undecodable("The WebP holds a frame that does not fit its canvas: save it again.")


def _cut_off() -> Refusal:
    return undecodable("The WebP is cut off: send the whole file.")
