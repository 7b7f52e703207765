"""JPEG: reads the size and checks that the file is complete by walking its markers (ITU T.81, annex B).

The walk skips the same bytes as libjpeg (fill bytes, garbage between segments, restart markers) and refuses
the same files as `read_markers` of libjpeg-turbo, so that both find the same frame header.
"""

import re
from collections.abc import Iterator
from struct import Struct

from posecluster_inference.errors import Reason, Refusal
from posecluster_inference.pictures.limits import SizeLimit, undecodable

MAGIC = b"\xff\xd8\xff"

# A progressive photograph has about ten scans. For each scan, however small, the decoder processes all
# pixels. Large pictures may therefore have fewer scans: 20 scans of 25 megapixels take 0.3 s.
_MAX_SCANS = 100
_MAX_SCANS_OF_LARGEST = 20
# An ICC profile has at most 255 segments, and a body of 10 MiB contains 160 segments of maximum size.
_MAX_SEGMENTS = 2_048

_EOI, _SOS = 0xD9, 0xDA
_DECODED_FRAMES = frozenset({0xC0, 0xC1, 0xC2})
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# DHT, DAC, DQT, DNL, DRI, APP0-15 and COM, which all contain their length
_SKIPPED = frozenset({0xC4, 0xCC, 0xDB, 0xDC, 0xDD, 0xFE, *range(0xE0, 0xF0)})

# Excludes stuffed zeros, fill bytes, TEM and RST0-7, which have no content and may occur anywhere.
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")
_WINDOW = 1 << 18
# Less than 2 % of the bytes of photographs are 0xFF. Many of them make the search ten times slower.
_FREE_BYTES = 1 << 20
_FREE_SPAN = 1 << 10
_MAX_DENSITY = 8

_LENGTH = Struct(">H")
_FRAME = Struct(">HBHHB")


def measure(data: bytes, limit: SizeLimit) -> tuple[int, int]:
    """Return width and height of the only frame of a complete JPEG file.

    Accepts baseline, extended and progressive Huffman frames with 8 bits and 1, 3 or 4 components, and with
    up to 100 scans, or 20 at the largest size. Raises Refusal: 413 by `limit`, 422 for any other fault.
    """
    size: tuple[int, int] | None = None
    scans = 0
    for marker, position in _markers(data):
        if marker == _EOI:
            if size is None or scans == 0:
                raise undecodable("The JPEG has no picture in it: send the whole file.")
            return size
        if marker in _FRAMES:
            if size is not None:
                raise undecodable("The JPEG declares two frames: save it again with one.")
            size = _frame_size(data, position, limit)
        elif marker == _SOS:
            scans += 1
            if size is None:
                raise undecodable("The JPEG has pixel data before its frame header: save it again.")
            most = min(_MAX_SCANS, _MAX_SCANS_OF_LARGEST * limit.max_pixels // (size[0] * size[1]))
            if scans > most:
                raise undecodable(f"The JPEG has over {most} scans: save it as a baseline JPEG.")
        elif marker not in _SKIPPED:
            raise undecodable("The JPEG has a misplaced marker: save it again.")
    raise undecodable(f"The JPEG has over {_MAX_SEGMENTS} segments: save it without metadata.")


def declared(data: bytes, limit: SizeLimit) -> tuple[int, int] | None:
    """Return width and height from the beginning of a file; None if it does not contain them.

    Raises Refusal (413) by `limit`.
    """
    try:
        for marker, position in _markers(data):
            if marker in _FRAMES:
                return _frame_size(data, position, limit)
    except Refusal as refusal:
        if refusal.reason is Reason.PICTURE_TOO_LARGE:
            raise
    return None


def segments(data: bytes, kind: int) -> Iterator[tuple[int, int]]:
    """Yield start and end of each segment with marker `kind` before the first scan; raises Refusal."""
    for marker, position in _markers(data):
        if marker in (_SOS, _EOI):
            return
        if marker == kind:
            yield position + _LENGTH.size, _after_segment(data, position)


def _markers(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield each marker of a file and the offset after it; raises Refusal if the file is cut off."""
    position = 2
    for _ in range(_MAX_SEGMENTS):
        position = _after_next_marker(data, position)
        yield data[position - 1], position
        position = _after_segment(data, position)


def _after_next_marker(data: bytes, position: int) -> int:
    """Return the offset after the next marker, in linear time; refuses files full of 0xFF bytes."""
    while position < len(data):
        window_end = position + _WINDOW
        match = _MARKER.search(data, position, window_end + 1)
        searched = match.start() if match else window_end
        if searched > _FREE_BYTES and searched - position > _FREE_SPAN:
            looks_like_markers = data.count(b"\xff", position, searched)
            if looks_like_markers * _MAX_DENSITY > searched - position:
                raise undecodable("The JPEG consists of fill bytes: send a photograph.")
        if match:
            return match.end()
        position = window_end
    raise _cut_off()


def _after_segment(data: bytes, position: int) -> int:
    if position + 2 > len(data):
        raise _cut_off()
    length: int = _LENGTH.unpack_from(data, position)[0]
    if length < 2:
        raise undecodable("The JPEG has a segment of impossible length: save it again.")
    return position + length


def _frame_size(data: bytes, position: int, limit: SizeLimit) -> tuple[int, int]:
    if position + _FRAME.size > len(data):
        raise _cut_off()
    length, precision, height, width, components = _FRAME.unpack_from(data, position)
    limit.check(width, height)
    if data[position - 1] not in _DECODED_FRAMES:
        raise undecodable(
            "The JPEG is lossless, hierarchical or arithmetic coded: save it as a baseline JPEG."
        )
    if precision != 8:
        raise undecodable(f"The JPEG has {precision} bits a sample: save it with 8.")
    if components not in (1, 3, 4):
        raise undecodable(f"The JPEG has {components} components: save it as grey, colour or CMYK.")
    if length != _FRAME.size + 3 * components:
        raise undecodable("The JPEG has a frame header of wrong length: save it again.")
    return width, height


def _cut_off() -> Refusal:
    return undecodable(
        "The JPEG has no end marker: the file is cut off, or the program that wrote it omitted the marker. "
        "Send the whole file, or save it again as JPEG."
    )
