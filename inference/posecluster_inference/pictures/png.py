"""PNG: reads the size, checks the chunks, and removes those that the decoder does not need.

Layout and rules of chunks: PNG specification, third edition (W3C, 2025), section 5.
"""

import zlib
from collections.abc import Iterator
from itertools import chain
from struct import Struct

from posecluster_inference.errors import Reason, Refusal
from posecluster_inference.pictures.limits import SizeLimit, undecodable

MAGIC = b"\x89PNG\r\n\x1a\n"

# libpng writes chunks of 8 KiB, so a file of 10 MiB has 1,280.
_MAX_CHUNKS = 4_096
_MAX_CHUNK_BYTES = (1 << 31) - 1
IHDR_END = 33
_COLOUR_TYPE = 25

_CHUNK = Struct(">I4s")
_IHDR = Struct(">IIBBBBB")

# colour type: (samples per pixel, allowed bits per sample)
_COLOURS = {
    0: (1, (1, 2, 4, 8, 16)),
    2: (3, (8, 16)),
    3: (1, (1, 2, 4, 8)),
    4: (2, (8, 16)),
    6: (4, (8, 16)),
}
_PALETTE_COLOUR = 3
# first column, first row, column step, row step of each pass
_WHOLE = ((0, 0, 1, 1),)
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))

_KEPT = frozenset(
    {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"eXIf", b"gAMA", b"cHRM", b"sRGB", b"sBIT", b"bKGD"}
)
_PICTURE = frozenset({b"PLTE", b"IDAT", b"IEND"})

_INFLATE_IN = 1 << 16
_INFLATE_OUT = 1 << 20
# The time of decoding depends on the decompressed size, so this is also limited: the largest picture may have
# 8-bit RGBA, and a picture with 16 bits per sample may have half as many pixels.
_MAX_BITS_A_PIXEL = 32
# Maximum compression ratio of deflate (zlib documentation, "Maximum Compression Factor")
_MAX_RATIO = 1_032
# Some encoders add a few bytes. libpng decompresses all of them, at about 3 ms per MiB.
_HARMLESS_EXCESS = 16 << 20


def declared(data: bytes, limit: SizeLimit) -> tuple[int, int]:
    """Return width and height from the beginning of a PNG; raises Refusal (413 by `limit`, else 422)."""
    if len(data) < IHDR_END or _CHUNK.unpack_from(data, 8) != (_IHDR.size, b"IHDR"):
        raise undecodable("The PNG does not begin with its header: send the whole file.")
    width, height, depth, colour, compression, filtering, interlace = _IHDR.unpack_from(data, 16)
    limit.check(width, height)
    samples, depths = _COLOURS.get(colour, (0, ()))
    if depth not in depths or compression or filtering or interlace > 1:
        raise undecodable("The PNG has a header that the PNG standard does not allow: save it again.")
    if width * height * samples * depth > limit.max_pixels * _MAX_BITS_A_PIXEL:
        raise Refusal(
            Reason.PICTURE_TOO_LARGE,
            f"The PNG has {samples * depth} bits a pixel and is {width} x {height} pixels; with so many bits "
            f"at most {limit.max_pixels * _MAX_BITS_A_PIXEL // (samples * depth)} pixels are accepted: "
            "save it with 8 bits a sample.",
        )
    return width, height


def measure(data: bytes, limit: SizeLimit) -> tuple[int, int]:
    """Return width and height of a PNG that has all required chunks in order.

    An APNG is treated as its default image. Raises Refusal: 413 by `limit`, 422 for any other fault.
    """
    width, height = declared(data, limit)
    if zlib.crc32(data[12:29]) != int.from_bytes(data[29:33]):
        raise undecodable("The PNG has a damaged header: send the file again.")
    _check_order(data, needs_palette=data[_COLOUR_TYPE] == _PALETTE_COLOUR)
    return width, height


def critical(data: bytes) -> bytes:
    """Return the picture with only its pixels, palette, transparency, orientation and basic colour data.

    `data` must have passed `measure`. Text, colour profiles, APNG frames, unknown chunks and trailing bytes
    are removed; without any, `data` is returned unchanged. Raises Refusal (422) for more than 16 MiB of pixel
    data beyond the size that the header declares, because libpng would decompress all of it, up to 1 GiB per
    MiB.
    """
    pieces = [MAGIC]
    run_start = run_end = len(MAGIC)
    pixel_data = []
    for kind, start, end in chunks(data, len(MAGIC)):
        if kind == b"IDAT":
            pixel_data.append((start + 8, end - 4))
        if kind not in _KEPT:
            pieces.append(data[run_start:run_end])
            run_start = end
        run_end = end
    _check_pixel_data(data, pixel_data)
    if run_start == len(MAGIC) and run_end == len(data):
        return data
    pieces.append(data[run_start:run_end])
    return b"".join(pieces)


def chunks(data: bytes, position: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, start and end of each chunk from `position` to IEND; raises Refusal if IEND is missing."""
    for _ in range(_MAX_CHUNKS):
        if position + 12 > len(data):
            raise undecodable("The PNG is cut off before its end chunk: send the whole file.")
        length, kind = _CHUNK.unpack_from(data, position)
        end = position + 12 + length
        if length > _MAX_CHUNK_BYTES or end > len(data):
            raise undecodable("The PNG is cut off inside a chunk: send the whole file.")
        yield kind, position, end
        if kind == b"IEND":
            return
        position = end
    raise undecodable(f"The PNG has over {_MAX_CHUNKS} chunks: save it without metadata.")


def _check_order(data: bytes, *, needs_palette: bool) -> None:
    seen = b"IHDR"
    has_palette = has_pixels = False
    for kind, start, end in chunks(data, IHDR_END):
        if kind[0] < ord("a") and kind not in _PICTURE:
            raise undecodable("The PNG has a second header or an unknown chunk: save it again.")
        if kind == b"PLTE":
            if has_palette or has_pixels or not _is_palette(end - start - 12):
                raise undecodable("The PNG has a misplaced or damaged palette: save it again.")
            has_palette = True
        elif kind == b"IDAT":
            # Removing the chunks between them would join pixel data that a decoder processes separately.
            if has_pixels and seen != b"IDAT":
                raise undecodable("The PNG has its pixel data in separate places: save it again.")
            has_pixels = True
        seen = kind
    if not has_pixels or (needs_palette and not has_palette):
        raise undecodable("The PNG lacks its pixel data or its palette: send the whole file.")


def _is_palette(length: int) -> bool:
    return 0 < length <= 768 and length % 3 == 0


def _raw_bytes(data: bytes) -> int:
    """Return the size of the decompressed pixel data: filter byte and packed samples of every row."""
    width, height, depth, colour, _compression, _filtering, interlace = _IHDR.unpack_from(data, 16)
    bits = depth * _COLOURS[colour][0]
    total = 0
    for left, top, right_step, down_step in _ADAM7 if interlace else _WHOLE:
        columns = (width - left + right_step - 1) // right_step
        rows = (height - top + down_step - 1) // down_step
        if columns > 0 and rows > 0:
            total += rows * (1 + (columns * bits + 7) // 8)
    return total


def _check_pixel_data(data: bytes, spans: list[tuple[int, int]]) -> None:
    """Decompress in small steps; raises Refusal if the data is far larger than the declared size."""
    most = _raw_bytes(data) + _HARMLESS_EXCESS
    if sum(end - start for start, end in spans) * _MAX_RATIO <= most:
        return
    inflater = zlib.decompressobj()
    inflated = 0
    for start, end in chain.from_iterable(_steps(*span) for span in spans):
        pending = data[start:end]
        while pending and not inflater.eof:
            try:
                inflated += len(inflater.decompress(pending, _INFLATE_OUT))
            except zlib.error:
                # The decoder stops at the same place and decides whether the picture is usable.
                return
            if inflated > most:
                raise undecodable("The PNG has far more pixel data than its header declares: save it again.")
            pending = inflater.unconsumed_tail


def _steps(start: int, end: int) -> Iterator[tuple[int, int]]:
    for position in range(start, end, _INFLATE_IN):
        yield position, min(position + _INFLATE_IN, end)
