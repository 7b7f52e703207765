"""Parts of JPEG, PNG and WebP files, and EXIF, to build files that no encoder writes."""

import struct
import zlib
from collections.abc import Mapping

from harness.pictures import png_chunk

JPEG_START, JPEG_END = b"\xff\xd8", b"\xff\xd9"
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
PNG_END = png_chunk(b"IEND", b"")
WEBP_ANIMATED, WEBP_EXIF, WEBP_XMP, WEBP_PROFILE = 0x02, 0x08, 0x04, 0x20
WEBP_ANIMATION = bytes(6)  # content of an ANIM chunk
_TIFF_TYPE_BYTES = {2: 1, 3: 2, 4: 4, 7: 1}  # ASCII, SHORT, LONG, UNDEFINED


def jpeg_segment(marker: int, content: bytes) -> bytes:
    """A marker with its length and content."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def jpeg_frame(
    width: int = 20, height: int = 10, *, marker: int = 0xC0, bits: int = 8, components: int = 3
) -> bytes:
    """A frame header (SOF0 by default)."""
    content = struct.pack(">BHHB", bits, height, width, components) + b"\x01\x11\x00" * components
    return jpeg_segment(marker, content)


def png_header(
    width: int = 8,
    height: int = 8,
    *,
    bits: int = 8,
    colour: int = 0,
    rest: tuple[int, int, int] = (0, 0, 0),
) -> bytes:
    """An IHDR chunk; `rest` is compression, filtering and interlacing."""
    return png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, *rest))


def png_pixels(raw: bytes = b"\0" * 72) -> bytes:
    """An IDAT chunk; by default that of an 8 x 8 grey picture."""
    return png_chunk(b"IDAT", zlib.compress(raw))


def png_file(*chunks: bytes) -> bytes:
    """A PNG of these chunks."""
    return PNG_MAGIC + b"".join(chunks)


def webp_chunk(kind: bytes, content: bytes) -> bytes:
    """A RIFF chunk, padded to an even length."""
    return kind + struct.pack("<I", len(content)) + content + bytes(len(content) & 1)


def webp_file(*chunks: bytes) -> bytes:
    """A WebP of these chunks."""
    content = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(content)) + content


def three_bytes(number: int) -> bytes:
    """24 bits, as VP8X and ANMF have them."""
    return struct.pack("<I", number)[:3]


def webp_canvas(width: int, height: int, flags: int = 0) -> bytes:
    """A VP8X chunk."""
    place = three_bytes(width - 1) + three_bytes(height - 1)
    return webp_chunk(b"VP8X", bytes([flags, 0, 0, 0]) + place)


def webp_frame(width: int, height: int, bitstream: bytes, *, left: int = 0, top: int = 0) -> bytes:
    """An ANMF chunk around a whole bitstream chunk; `left` and `top` are even."""
    place = three_bytes(left // 2) + three_bytes(top // 2) + three_bytes(width - 1) + three_bytes(height - 1)
    return webp_chunk(b"ANMF", place + three_bytes(100) + b"\0" + bitstream)


def exif(orientation: int, texts: Mapping[int, bytes], place: Mapping[int, bytes] | None = None) -> bytes:
    """A TIFF structure with an orientation, text tags of IFD0 and text tags of the GPS directory."""
    entries = [(0x0112, 3, 1, struct.pack(">H", orientation))]
    entries += [(tag, 2, len(text) + 1, text + b"\0") for tag, text in texts.items()]
    entries += [(0x8825, 4, 1, bytes(4))] if place else []
    start = 8
    first = _directory(entries, start)
    if place:
        entries[-1] = (0x8825, 4, 1, struct.pack(">I", start + len(first)))
        first = _directory(entries, start)
        values = [(tag, 2, len(text) + 1, text + b"\0") for tag, text in place.items()]
        first += _directory(values, start + len(first))
    return b"MM\0*" + struct.pack(">I", start) + first


def _directory(entries: list[tuple[int, int, int, bytes]], offset: int) -> bytes:
    entries = sorted(entries)
    rows, data = b"", b""
    data_start = offset + 2 + 12 * len(entries) + 4
    for tag, kind, count, value in entries:
        if count * _TIFF_TYPE_BYTES[kind] > 4:
            value, where = struct.pack(">I", data_start + len(data)), value
            data += where + bytes(len(where) & 1)
        rows += struct.pack(">HHI", tag, kind, count) + value.ljust(4, b"\0")
    return struct.pack(">H", len(entries)) + rows + bytes(4) + data
