"""PNG chunks: order, limits, and what is left for the decoder."""

import struct
import time
import zlib

import cv2
import numpy as np
import pytest

from harness.picture_parts import PNG_END as END
from harness.picture_parts import png_file as png
from harness.picture_parts import png_header as header
from harness.picture_parts import png_pixels as pixels
from harness.pictures import png_chunk, tiny_png
from posecluster_inference.errors import Reason, Refusal, Undecodable
from posecluster_inference.pictures import inspect, sanitised

PALETTE = png_chunk(b"PLTE", bytes(6))


def measured(data: bytes) -> tuple[int, int]:
    found = inspect(data, max_pixels=25_000_000, max_side=8_192)
    return found.width, found.height


def cleaned(data: bytes) -> bytes:
    return sanitised(data, inspect(data, max_pixels=25_000_000, max_side=8_192))


def refusal_of(data: bytes) -> Refusal:
    with pytest.raises(Refusal) as caught:
        measured(data)
    return caught.value


@pytest.mark.hostile("I-1", "I-2")
@pytest.mark.parametrize("size", [(30_000, 30_000), (12_000, 12_000), (2**31 - 1, 2**31 - 1), (2**32 - 1, 1)])
def test_bombs_are_413_whatever_else_is_wrong(size: tuple[int, int]) -> None:
    for data in (png(header(*size), pixels(), END), png(header(*size, bits=3)), png(header(*size))):
        assert refusal_of(data).status == 413


@pytest.mark.hostile("I-2")
@pytest.mark.parametrize("size", [(0, 8), (8, 0), (0, 0), (0, 2**31 - 1)])
def test_no_pixels_is_422(size: tuple[int, int]) -> None:
    assert refusal_of(png(header(*size), pixels(), END)).status == 422


@pytest.mark.parametrize(
    ("bits", "colour", "side", "passes"),
    [
        (8, 6, 5_000, True),
        (16, 2, 4_082, True),
        (16, 2, 4_083, False),
        (16, 6, 3_536, False),
        (16, 0, 5_000, True),
    ],
)
def test_samples_are_limited_like_pixels(bits: int, colour: int, side: int, passes: bool) -> None:
    """A 16-bit RGBA picture of 25 megapixels took 2.3 s to decode."""
    data = png(header(side, side, bits=bits, colour=colour), pixels(), END)
    if passes:
        assert measured(data) == (side, side)
    else:
        refusal = refusal_of(data)
        assert (refusal.reason, refusal.status) == (Reason.PICTURE_TOO_LARGE, 413)
        assert "8 bits a sample" in refusal.detail


ALLOWED = {0: {1, 2, 4, 8, 16}, 2: {8, 16}, 3: {1, 2, 4, 8}, 4: {8, 16}, 6: {8, 16}}


@pytest.mark.hostile("I-13")
@pytest.mark.parametrize("colour", range(8))
@pytest.mark.parametrize("bits", [0, 1, 2, 3, 4, 8, 16, 32])
def test_depth_and_colour_type(colour: int, bits: int) -> None:
    data = png(header(bits=bits, colour=colour), PALETTE, pixels(), END)
    if bits in ALLOWED.get(colour, ()):
        assert measured(data) == (8, 8)
    else:
        assert refusal_of(data).status == 422


@pytest.mark.parametrize("rest", [(1, 0, 0), (0, 1, 0), (0, 0, 2), (255, 255, 255)])
def test_unknown_methods_are_422(rest: tuple[int, int, int]) -> None:
    assert refusal_of(png(header(rest=rest), pixels(), END)).status == 422
    assert measured(png(header(rest=(0, 0, 1)), pixels(), END)) == (8, 8)


@pytest.mark.hostile("I-3", "I-8")
@pytest.mark.parametrize(
    "data",
    [
        png(header(), header(), pixels(), END),
        png(header(), header(4_000, 4_000), pixels(), END),
        png(header(), pixels(), header(4_000, 4_000), END),
        png(pixels(), header(), END),
        png(png_chunk(b"CgBI", bytes(4)), header(), pixels(), END),
        png(png_chunk(b"IHDR", bytes(12) + b"\x01"), pixels(), END),
        png(header()[:-1] + b"\x00", pixels(), END),
        png(header(), END),
        png(header(), pixels()),
        png(header(), pixels(), END[:-1]),
        png(header(), pixels()[:-9], END),
        png(header(), pixels(), png_chunk(b"tEXt", b"x"), pixels(), END),
        png(header(), png_chunk(b"JUNK", b""), pixels(), END),
        png(header(), pixels(), PALETTE, END),
        png(header(), PALETTE, PALETTE, pixels(), END),
        png(header(), png_chunk(b"PLTE", bytes(7)), pixels(), END),
        png(header(), png_chunk(b"PLTE", bytes(771)), pixels(), END),
        png(header(colour=3), pixels(), END),
        png(header(), b"\xff\xff\xff\xffIDAT" + bytes(99)),
        png(header(), b"\x7f\xff\xff\xffIDAT" + bytes(99)),
    ],
)
def test_broken_order_is_422(data: bytes) -> None:
    assert refusal_of(data).reason == Reason.UNDECODABLE


@pytest.mark.hostile("I-4")
def test_what_a_decoder_need_not_see_is_dropped() -> None:
    text = png_chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(1 << 20)))
    profile = png_chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(1 << 20)))
    frames = [png_chunk(kind, bytes(26)) for kind in (b"acTL", b"fcTL", b"fdAT", b"prIV")]
    exif = png_chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\0")
    gamma = png_chunk(b"gAMA", struct.pack(">I", 45_455))
    data = png(header(), profile, gamma, *frames[:2], text, pixels(), *frames[2:], exif, END) + b"tail"
    assert cleaned(data) == png(header(), gamma, pixels(), exif, END)


def test_a_plain_picture_is_not_copied() -> None:
    for data in (tiny_png(), png(header(), png_chunk(b"sRGB", b"\0"), pixels(), END)):
        assert cleaned(data) is data


@pytest.mark.hostile("I-4")
def test_thousands_of_text_chunks_are_bounded() -> None:
    text = png_chunk(b"tEXt", b"k\0v")
    some = png(header(), text * 4_000, pixels(), END)
    assert cleaned(some) == png(header(), pixels(), END)
    assert "4096 chunks" in refusal_of(png(header(), text * 5_000, pixels(), END)).detail
    flood = png(header(), png_chunk(b"tEXt", b"") * ((10 << 20) // 12), pixels(), END)
    started = time.process_time()
    assert refusal_of(flood).status == 422
    assert time.process_time() - started < 0.250


@pytest.mark.hostile("I-3")
@pytest.mark.parametrize("chunk_bytes", [1_000, 1 << 30])
@pytest.mark.parametrize("interlace", [0, 1])
def test_far_more_pixel_data_than_declared_is_refused_quickly(chunk_bytes: int, interlace: int) -> None:
    stream = zlib.compress(bytes(64 << 20), 9)
    parts = [stream[i : i + chunk_bytes] for i in range(0, len(stream), chunk_bytes)]
    data = png(header(rest=(0, 0, interlace)), *(png_chunk(b"IDAT", part) for part in parts), END)
    assert measured(data) == (8, 8)
    started = time.process_time()
    with pytest.raises(Undecodable, match="more pixel data"):
        cleaned(data)
    assert time.process_time() - started < 0.250


@pytest.mark.hostile("I-3")
def test_a_few_bytes_too_many_are_left_to_the_decoder() -> None:
    data = png(header(), pixels(bytes(72 + 1_000)), END)
    assert cleaned(data) is data
    assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape == (8, 8, 3)


@pytest.mark.parametrize("interlace", [0, 1])
@pytest.mark.parametrize(("colour", "bits", "samples"), [(0, 1, 1), (0, 16, 1), (2, 8, 3), (6, 16, 4)])
def test_declared_pixel_data_are_counted_exactly(
    interlace: int, colour: int, bits: int, samples: int
) -> None:
    width, height = 1_801, 1_403
    rows = _interlaced_rows(width, height) if interlace else [(width, height)]
    declared = sum(count * (1 + (columns * bits * samples + 7) // 8) for columns, count in rows)
    noise = np.random.default_rng(5).integers(0, 256, 200_000, dtype=np.uint8).tobytes()
    most = noise + bytes(declared + (16 << 20) - len(noise))
    start = header(width, height, bits=bits, colour=colour, rest=(0, 0, interlace))
    at_limit = png(start, png_chunk(b"IDAT", zlib.compress(most, 1)), END)
    assert cleaned(at_limit) is at_limit
    with pytest.raises(Undecodable):
        cleaned(png(start, png_chunk(b"IDAT", zlib.compress(most + b"\0", 1)), END))


def _interlaced_rows(width: int, height: int) -> list[tuple[int, int]]:
    passes = np.array(
        [
            [1, 6, 4, 6, 2, 6, 4, 6],
            [7] * 8,
            [5, 6] * 4,
            [7] * 8,
            [3, 6, 4, 6, 3, 6, 4, 6],
            [7] * 8,
            [5, 6] * 4,
            [7] * 8,
        ]
    )
    tiled = np.tile(passes, (height // 8 + 1, width // 8 + 1))[:height, :width]
    found = []
    for number in range(1, 8):
        mask = tiled == number
        found.append((int(mask.any(axis=0).sum()), int(mask.any(axis=1).sum())))
    return found


def test_damaged_pixel_data_are_left_to_the_decoder() -> None:
    data = png(header(400, 400), png_chunk(b"IDAT", b"\x78\x9c" + b"\xee" * 60_000), END)
    assert cleaned(data) is data
    assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) is None
