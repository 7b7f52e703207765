"""WebP chunks: the canvas, the first frame, and the copy that contains only this frame."""

import struct
import time

import cv2
import numpy as np
import pytest

from harness.gallery import picture
from harness.picture_parts import WEBP_ANIMATED as ANIMATED
from harness.picture_parts import WEBP_ANIMATION as ANIMATION
from harness.picture_parts import WEBP_EXIF as EXIF
from harness.picture_parts import WEBP_PROFILE as PROFILE
from harness.picture_parts import WEBP_XMP as XMP
from harness.picture_parts import webp_canvas as canvas
from harness.picture_parts import webp_chunk as chunk
from harness.picture_parts import webp_file as webp
from harness.picture_parts import webp_frame
from posecluster_inference.errors import Reason, Refusal, Undecodable
from posecluster_inference.pictures import inspect, sanitised


def picture_chunk(width: int, height: int, *, lossless: bool = False) -> bytes:
    """The bitstream chunk of a real picture of that size."""
    image = np.full((height, width, 3), (30, 90, 200), np.uint8)
    quality = 101 if lossless else 80
    return cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, quality])[1].tobytes()[12:]


def moving(width: int, height: int, *, left: int = 0, top: int = 0, inside: bytes | None = None) -> bytes:
    inner = picture_chunk(width, height) if inside is None else inside
    return webp_frame(width, height, inner, left=left, top=top)


def measured(data: bytes) -> tuple[int, int]:
    header = inspect(data, max_pixels=25_000_000, max_side=8_192)
    return header.width, header.height


def cleaned(data: bytes) -> bytes:
    return sanitised(data, inspect(data, max_pixels=25_000_000, max_side=8_192))


def decoded(data: bytes) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return image


def refusal_of(data: bytes) -> Refusal:
    with pytest.raises(Refusal) as caught:
        measured(data)
    return caught.value


@pytest.mark.parametrize("lossless", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (64, 48), (33, 77)])
def test_still_pictures(lossless: bool, size: tuple[int, int]) -> None:
    simple = webp(picture_chunk(*size, lossless=lossless))
    extended = webp(canvas(*size), picture_chunk(*size, lossless=lossless))
    assert measured(simple) == measured(extended) == size
    assert decoded(simple).shape[1::-1] == size


@pytest.mark.hostile("I-10")
@pytest.mark.parametrize(
    "data",
    [
        webp(),
        webp(chunk(b"EXIF", b"x"), picture_chunk(8, 8)),
        webp(chunk(b"VP8 ", b"")),
        webp(chunk(b"VP8L", b"\x2f\x00")),
        webp(chunk(b"VP8L", b"\x2e" + bytes(9))),
        webp(chunk(b"VP8L", b"\x2f\x00\x00\x00\xe0" + bytes(9))),
        webp(chunk(b"VP8 ", b"\x11\x00\x00\x9d\x01\x2a\x08\x00\x08\x00")),
        webp(chunk(b"VP8 ", b"\x00\x00\x00\x9d\x01\x2a\x08\x00\x08\x00")),
        webp(chunk(b"VP8 ", b"\x18\x00\x00\x9d\x01\x2a\x08\x00\x08\x00")),
        webp(chunk(b"VP8 ", b"\x10\x00\x00\x9d\x01\x2b\x08\x00\x08\x00")),
        webp(chunk(b"VP8 ", b"\x10\x00\x00\x9d\x01\x2a\x00\x00\x08\x00")),
        webp(chunk(b"VP8X", bytes(9)), picture_chunk(1, 1)),
        webp(canvas(8, 8)),
        webp(canvas(8, 8), picture_chunk(64, 64)),
        webp(canvas(64, 64), picture_chunk(8, 8)),
        webp(canvas(8, 8, ANIMATED), picture_chunk(8, 8)),
        webp(canvas(8, 8, ANIMATED), moving(8, 8)),
        webp(canvas(8, 8, ANIMATED), chunk(b"ANIM", ANIMATION)),
        webp(canvas(8, 8, ANIMATED), chunk(b"ANIM", ANIMATION), moving(10, 8)),
        webp(canvas(8, 8, ANIMATED), chunk(b"ANIM", ANIMATION), moving(8, 8, left=2)),
        webp(canvas(8, 8, ANIMATED), chunk(b"ANIM", ANIMATION), moving(8, 8, top=2)),
        webp(canvas(8, 8, ANIMATED), chunk(b"ANIM", ANIMATION), moving(8, 8, inside=picture_chunk(64, 64))),
        webp(canvas(8, 8, ANIMATED), chunk(b"ANIM", ANIMATION), moving(8, 8, inside=b"")),
        webp(canvas(8, 8, ANIMATED), chunk(b"ANIM", ANIMATION), chunk(b"ANMF", bytes(15))),
        webp(canvas(8, 8), moving(8, 8)),
        webp(picture_chunk(8, 8))[:-2],
        webp(canvas(8, 8), picture_chunk(8, 8))[:-2],
        b"RIFF\x10\x00\x00\x00" + webp(picture_chunk(8, 8))[8:],
        b"RIFF\xff\xff\xff\xff" + webp(picture_chunk(8, 8))[8:],
    ],
)
def test_contradictions_are_422(data: bytes) -> None:
    assert refusal_of(data).reason == Reason.UNDECODABLE


def test_the_canvas_and_the_frame_are_limited() -> None:
    assert refusal_of(webp(canvas(1 << 24, 1 << 24))).status == 413
    assert refusal_of(webp(canvas(5_000, 5_001, ANIMATED))).status == 413
    wide = struct.pack("<HH", 8_193, 8)
    assert refusal_of(webp(chunk(b"VP8 ", b"\x10\x00\x00\x9d\x01\x2a" + wide))).status == 413


@pytest.mark.hostile("I-10")
@pytest.mark.parametrize("place", [(64, 48, 0, 0), (20, 10, 6, 8)])
def test_only_the_first_frame_is_kept(place: tuple[int, int, int, int]) -> None:
    width, height, left, top = place
    first = moving(width, height, left=left, top=top)
    exif = chunk(b"EXIF", b"MM\0*\0\0\0\x08\0\0")
    begin = [canvas(64, 48, ANIMATED | EXIF), chunk(b"ANIM", ANIMATION)]
    data = webp(*begin, first, *[moving(64, 48)] * 20, exif)
    assert measured(data) == (64, 48)
    clean = cleaned(data)
    assert clean == webp(*begin, first, exif)
    assert np.array_equal(decoded(clean), decoded(data))
    outside = decoded(clean).copy()
    outside[top : top + height, left : left + width] = 0
    assert not outside.any()


@pytest.mark.hostile("I-10")
def test_ten_thousand_frames_stay_cheap() -> None:
    frames = moving(8, 8) * 10_000
    exif = chunk(b"EXIF", b"MM\0*\0\0\0\x08\0\0")
    data = webp(canvas(8, 8, ANIMATED | EXIF), chunk(b"ANIM", ANIMATION), frames, exif)
    started = time.process_time()
    assert measured(data) == (8, 8)
    assert time.process_time() - started < 0.010
    clean = cleaned(data)
    assert len(clean) < 400
    assert clean.endswith(exif)
    with pytest.raises(Undecodable, match="20000 chunks"):
        cleaned(
            webp(
                canvas(8, 8, ANIMATED), chunk(b"ANIM", ANIMATION), moving(8, 8), chunk(b"JUNK", b"") * 20_000
            )
        )


def test_floods_of_chunks_before_the_picture_are_refused() -> None:
    flood = chunk(b"JUNK", b"") * ((10 << 20) // 8)
    for flags in (0, ANIMATED):
        started = time.process_time()
        assert "chunks" in refusal_of(webp(canvas(8, 8, flags), flood, picture_chunk(8, 8))).detail
        assert time.process_time() - started < 0.100


@pytest.mark.hostile("I-4")
def test_profiles_and_metadata_are_dropped() -> None:
    exif = chunk(b"EXIF", b"MM\0*\0\0\0\x08\0\0")
    data = webp(
        canvas(64, 48, PROFILE | XMP | EXIF),
        chunk(b"ICCP", bytes(1 << 20)),
        picture_chunk(64, 48),
        picture_chunk(8, 8),
        chunk(b"XMP ", bytes(1 << 20)),
        exif,
        exif,
    )
    assert cleaned(data) == webp(canvas(64, 48, EXIF), picture_chunk(64, 48), exif)


def test_transparency_and_orientation_survive() -> None:
    for name in ("formats/pose_alpha.webp", "exif/orientation_6.webp", "formats/pose_lossless.webp"):
        data = picture(name)
        assert cleaned(data) is data
        junk = data + chunk(b"JUNK", bytes(99))
        grown = data[:4] + struct.pack("<I", len(junk) - 8) + junk[8:]
        assert np.array_equal(decoded(cleaned(grown)), decoded(data))
