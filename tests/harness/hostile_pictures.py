"""Hostile pictures in addition to the gallery's, made in memory; each function names its row.

None needs a decoder to be made except where a real picture is inside, which is the caller's.
"""

import struct
import zlib

from harness.picture_parts import (
    JPEG_END,
    JPEG_START,
    PNG_END,
    WEBP_ANIMATED,
    WEBP_ANIMATION,
    exif,
    jpeg_frame,
    jpeg_segment,
    png_file,
    png_header,
    png_pixels,
    webp_canvas,
    webp_chunk,
    webp_file,
    webp_frame,
)
from harness.pictures import png_chunk

_FRAME_MARKERS = (0xC0, 0xC1, 0xC2)


def frame_start(jpeg: bytes) -> int:
    """Offset of a JPEG's frame header; raises ValueError if it has none."""
    position = 2
    while position + 4 <= len(jpeg):
        marker, length = jpeg[position + 1], int.from_bytes(jpeg[position + 2 : position + 4])
        if marker in _FRAME_MARKERS:
            return position
        position += 2 + length
    raise ValueError("no frame header")


def two_frames(jpeg: bytes) -> bytes:
    """I-7: a second, smaller frame header right after the first."""
    start = frame_start(jpeg)
    end = start + 2 + int.from_bytes(jpeg[start + 2 : start + 4])
    return jpeg[:end] + jpeg_frame(8, 8) + jpeg[end:]


def frame_changed(jpeg: bytes, *, marker: int = 0xC0, bits: int = 8) -> bytes:
    """I-7: the same JPEG under another frame marker (0xC3 is lossless) or another sample depth."""
    start = frame_start(jpeg)
    return (
        jpeg[: start + 1] + bytes([marker]) + jpeg[start + 2 : start + 4] + bytes([bits]) + jpeg[start + 5 :]
    )


def huge_jpeg(width: int, height: int, *, marker: int = 0xC0) -> bytes:
    """I-6, I-14: a JPEG of that size with next to nothing in it."""
    scan = jpeg_segment(0xDA, b"\x01\x01\x00\x00\x3f\x00")
    return JPEG_START + jpeg_frame(width, height, marker=marker, components=1) + scan + b"\0" * 8 + JPEG_END


def jpeg_2000_broken() -> list[bytes]:
    """I-9: what CVE-2025-53644 is about: a JPEG 2000 whose header cannot be read.

    OpenCV 4.10 and 4.11 went on with a picture that their JPEG 2000 library had never made. As
    codestream, as file, and behind the first bytes of a JPEG.
    """
    size = struct.pack(">HIIIIIIIIH", 0, 64, 64, 0, 0, 64, 64, 0, 0, 3)
    codestream = b"\xff\x4f\xff\x51" + struct.pack(">H", 38) + size
    boxes = b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0\0\0\x14ftypjp2 \0\0\0\0jp2 "
    whole = boxes + struct.pack(">I", 8 + len(codestream)) + b"jp2c" + codestream
    return [codestream, whole, b"\xff\xd8" + codestream, b"\xff\xd8\xff\xe0\0\x02" + codestream + JPEG_END]


def second_header() -> bytes:
    """I-3: a PNG whose second IHDR declares far more than the first."""
    return png_file(png_header(), png_header(30_000, 30_000), png_pixels(), PNG_END)


def more_pixels(rows: int = 4_000) -> bytes:
    """I-3: an 8 x 8 PNG with so many rows of pixels."""
    return png_file(png_header(), png_pixels(b"\0" * 9 * rows), PNG_END)


def text_chunks(base: bytes, count: int = 4_000) -> bytes:
    """I-4: the same PNG with that many text chunks."""
    return base[:33] + png_chunk(b"tEXt", b"k\0v") * count + base[33:]


def bad_huffman_webp() -> list[bytes]:
    """I-10: lossless WebPs whose Huffman codes are over-full, incomplete, or far longer than they may be.

    The last is the shape behind CVE-2023-4863: code lengths that each are allowed, in a code that
    needs a larger table than a decoder that trusts it has.
    """
    one_length = [0b1] * 19  # nineteen codes of one bit
    over_full = _lossless(_code_lengths([1] * 19))
    incomplete = _lossless(_code_lengths([3, *[0] * 18]) + one_length)
    # lengths 14 and 15 only: one bit distinguishes them, and every symbol gets a long code
    longest = [0] * 19
    for length in (14, 15):
        longest[_LENGTH_ORDER.index(length)] = 1
    unbalanced = _lossless((_code_lengths(longest) + [0] + [1, 0] * 140) * 5)
    return [over_full, incomplete, unbalanced]


# the order in which a lossless WebP gives the lengths of its code-length code (RFC 9649, 3.7.2.1.2)
_LENGTH_ORDER = (17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)


def _code_lengths(lengths: list[int]) -> list[int]:
    """Bits of a normal code: its kind, how many lengths follow (less four), three bits each."""
    return [0, *_bits(len(lengths) - 4, 4), *(bit for length in lengths for bit in _bits(length, 3))]


def _bits(value: int, count: int) -> list[int]:
    return [value >> index & 1 for index in range(count)]


def _lossless(codes: list[int]) -> bytes:
    """A 64 x 64 lossless WebP: no transform, no colour cache, one group of codes."""
    bits = [*_bits(63, 14), *_bits(63, 14), 0, *_bits(0, 3), 0, 0, 0, *codes, *[0, 1] * 400]
    data = bytes(
        sum(bit << index for index, bit in enumerate(bits[start : start + 8]))
        for start in range(0, len(bits), 8)
    )
    return webp_file(webp_chunk(b"VP8L", b"\x2f" + data))


def many_frames(bitstream: bytes, width: int, height: int, count: int = 10_000) -> bytes:
    """I-10: an animated WebP that shows the same whole bitstream chunk that many times."""
    frame = webp_frame(width, height, bitstream)
    begin = webp_canvas(width, height, WEBP_ANIMATED), webp_chunk(b"ANIM", WEBP_ANIMATION)
    return webp_file(*begin, frame * count)


def large_png(width: int, height: int) -> bytes:
    """I-14: an RGB PNG of that size, made of one repeated row; 25 megapixels take 0.3 s and 100 KiB."""
    row = b"\0" + bytes(index * 7 % 256 for index in range(width * 3))
    packer = zlib.compressobj(1)
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    return png_file(png_header(width, height, colour=2), png_chunk(b"IDAT", data), PNG_END)


# I-16: nothing of these may ever come back or be logged
SECRETS = {
    "script": b"<script>alert('zqx-script')</script>",
    "zero bytes": b"zqx-before\0zqx-after",
    "lines": b"zqx-line\r\nSet-Cookie: zqx=1\r\n\x1b[31mzqx-red",
    "long": b"zqx-long-" * 700,
    "place": b"zqx-52-31-12-N-13-24-36-E",
}
SECRET_MARK = b"zqx"


def private_exif(orientation: int = 1) -> bytes:
    """I-16: EXIF whose description, maker, author, software, copyright and place are `SECRETS`."""
    tags = dict(zip((0x010E, 0x010F, 0x013B, 0x0131), SECRETS.values(), strict=False))
    return exif(orientation, tags, {0x001D: SECRETS["place"], 0x001B: SECRETS["script"]})


def private_jpeg(jpeg: bytes) -> bytes:
    """I-16: the same JPEG with `private_exif`, an XMP packet and a comment."""
    xmp = b"http://ns.adobe.com/xap/1.0/\0<x>" + SECRETS["script"] + b"</x>"
    added = jpeg_segment(0xE1, b"Exif\0\0" + private_exif()) + jpeg_segment(0xE1, xmp)
    return jpeg[:2] + added + jpeg_segment(0xFE, SECRETS["lines"]) + jpeg[2:]


def private_png(png: bytes) -> bytes:
    """I-16: the same PNG with `private_exif` and text chunks."""
    added = png_chunk(b"eXIf", private_exif())
    for name, secret in SECRETS.items():
        added += png_chunk(b"tEXt", name.encode() + b"\0" + secret)
        added += png_chunk(b"zTXt", name.encode() + b"\0\0" + zlib.compress(secret))
    return png[:33] + added + png[33:]


def private_webp(bitstream: bytes, width: int, height: int) -> bytes:
    """I-16: a WebP of that bitstream chunk with `private_exif` and XMP."""
    return webp_file(
        webp_canvas(width, height, 0x08 | 0x04),
        bitstream,
        webp_chunk(b"EXIF", private_exif()),
        webp_chunk(b"XMP ", SECRETS["script"]),
    )
