"""JPEG markers: the checks measure what libjpeg will decode."""

import struct
import time

import cv2
import numpy as np
import pytest

from harness.picture_parts import JPEG_END as EOI
from harness.picture_parts import JPEG_START as SOI
from harness.picture_parts import jpeg_frame as frame
from harness.picture_parts import jpeg_segment as segment
from posecluster_inference.errors import Reason, Refusal
from posecluster_inference.pictures import inspect

PIXELS = b"\x12\x34\xff\x00\x56\xff\xd0\x78\xff\xd7\x9a"
TEN_MIB = 10 << 20


SCAN = segment(0xDA, b"\x01\x01\x00\x00\x3f\x00") + PIXELS
TABLES = segment(0xDB, bytes(65)) + segment(0xC4, bytes(20))


def measured(data: bytes) -> tuple[int, int]:
    header = inspect(data, max_pixels=25_000_000, max_side=8_192)
    return header.width, header.height


def refusal_of(data: bytes) -> Refusal:
    with pytest.raises(Refusal) as caught:
        measured(data)
    return caught.value


@pytest.mark.parametrize("marker", [0xC0, 0xC1, 0xC2])
@pytest.mark.parametrize("components", [1, 3, 4])
def test_frames_that_are_decoded(marker: int, components: int) -> None:
    data = SOI + TABLES + frame(marker=marker, components=components) + SCAN + EOI
    assert measured(data) == (20, 10)


@pytest.mark.hostile("I-7", "I-9")
@pytest.mark.parametrize(
    "wrong",
    [
        *[frame(marker=marker) for marker in (0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF)],
        *[frame(bits=bits) for bits in (0, 2, 12, 16)],
        *[frame(components=components) for components in (0, 2, 5, 255)],
        frame(width=0),
        frame(height=0),
        segment(0xC0, struct.pack(">BHHB", 8, 10, 20, 3) + b"\x01\x11\x00" * 2),
        segment(0xC0, struct.pack(">BHHB", 8, 10, 20, 3) + b"\x01\x11\x00" * 3 + b"\x00"),
    ],
)
def test_other_frames_are_422(wrong: bytes) -> None:
    assert refusal_of(SOI + TABLES + wrong + SCAN + EOI).status == 422


@pytest.mark.hostile("I-7")
@pytest.mark.parametrize(
    "data",
    [
        SOI + frame() + frame() + SCAN + EOI,
        SOI + frame() + frame(4_000, 4_000) + SCAN + EOI,
        SOI + frame() + SCAN + frame(4_000, 4_000) + SCAN + EOI,
        SOI + frame() + SCAN + frame(marker=0xC2) + EOI,
    ],
)
def test_two_frames_are_422(data: bytes) -> None:
    assert "two frames" in refusal_of(data).detail


@pytest.mark.hostile("I-6")
def test_a_huge_frame_is_413_whatever_else_is_wrong() -> None:
    for huge in (frame(65_500, 65_500), frame(65_500, 65_500, bits=12), frame(9_000, 1, marker=0xC3)):
        assert refusal_of(SOI + huge).status == 413


@pytest.mark.hostile("I-5")
@pytest.mark.parametrize(("scans", "passes"), [(1, True), (100, True), (101, False), (2_000, False)])
def test_scans_are_counted(scans: int, passes: bool) -> None:
    data = SOI + frame(marker=0xC2) + SCAN * scans + EOI
    if passes:
        assert measured(data) == (20, 10)
    else:
        assert "100 scans" in refusal_of(data).detail


@pytest.mark.parametrize(("side", "most"), [(5_000, 20), (2_500, 80), (2_236, 100), (100, 100)])
def test_larger_pictures_may_have_fewer_scans(side: int, most: int) -> None:
    """Each scan costs a pass over all pixels: 100 of an empty 25-megapixel picture took 1.7 s."""
    start = SOI + frame(side, side, marker=0xC2)
    assert measured(start + SCAN * most + EOI) == (side, side)
    assert f"over {most} scans" in refusal_of(start + SCAN * (most + 1) + EOI).detail


@pytest.mark.hostile("I-8")
@pytest.mark.parametrize(
    "data",
    [
        SOI + frame() + SCAN,
        SOI + frame() + SCAN + b"\xff",
        SOI + frame() + SCAN + b"\xff\x00\xd9",
        SOI + frame(),
        SOI + frame()[:6],
        SOI + frame()[:2],
        SOI + segment(0xE1, SOI + frame() + SCAN + EOI) + frame() + SCAN,
        SOI + segment(0xE1, bytes(99))[:50],
    ],
)
def test_no_end_marker_is_422(data: bytes) -> None:
    assert "cut off" in refusal_of(data).detail


@pytest.mark.parametrize(
    "data",
    [
        SOI + frame() + EOI,
        SOI + EOI + frame() + SCAN + EOI,
        SOI + SCAN + frame() + EOI,
        SOI + SOI + frame() + SCAN + EOI,
        SOI + segment(0xC8, b"") + frame() + SCAN + EOI,
        SOI + segment(0xF7, b"") + frame() + SCAN + EOI,
        SOI + segment(0x02, b"") + frame() + SCAN + EOI,
        SOI + frame() + SCAN + segment(0xDF, b"") + EOI,
        SOI + b"\xff\xe1\x00\x01" + frame() + SCAN + EOI,
    ],
)
def test_markers_out_of_place_are_422(data: bytes) -> None:
    assert refusal_of(data).reason == Reason.UNDECODABLE


@pytest.mark.hostile("I-12")
@pytest.mark.parametrize(
    "data",
    [
        SOI + b"\xff" * 9 + frame() + b"\xff" * 9 + SCAN + b"\xff" * 9 + EOI,
        SOI + segment(0xE0, b"") + b"garbage\xff\x00\xff\x01\xff\xd3" + frame() + SCAN + EOI,
        SOI + segment(0xE1, SOI + frame(160, 120) + SCAN + EOI) + frame() + SCAN + EOI,
        SOI + segment(0xFE, frame(1, 1) + EOI) + frame() + SCAN + EOI,
        SOI + frame() + SCAN + segment(0xC4, EOI + frame(1, 1)) + SCAN + EOI,
        SOI + frame() + SCAN + EOI + SOI + frame(99, 99) + SCAN + EOI,
        SOI + frame() + SCAN + EOI + b"\xff" * 3_000_000,
        SOI + segment(0xDD, b"\x00\x04") + frame() + SCAN + segment(0xDC, b"\x00\x0a") + EOI,
    ],
)
def test_what_libjpeg_skips_is_skipped(data: bytes) -> None:
    assert measured(data) == (20, 10)


def test_a_marker_across_the_edge_of_a_search_window_is_found() -> None:
    """The search takes 256 KiB at a time."""
    start = SOI + frame() + SCAN
    for length in range(1 << 18, (1 << 18) - 40, -1):
        data = start + bytes(length) + frame() + SCAN + EOI
        assert "two frames" in refusal_of(data).detail


def test_the_measured_frame_is_the_decoders() -> None:
    """A comment full of frames, fill bytes and garbage in a real file move neither reader."""
    real = cv2.imencode(".jpg", np.zeros((40, 30, 3), np.uint8))[1].tobytes()
    dressed = SOI + segment(0xFE, frame(8, 8) + EOI) + b"\xff\xff" + real[2:] + real
    image = cv2.imdecode(np.frombuffer(dressed, np.uint8), cv2.IMREAD_COLOR)
    assert measured(dressed) == (image.shape[1], image.shape[0]) == (30, 40)


@pytest.mark.parametrize(
    ("data", "passes"),
    [
        (SOI + frame() + SCAN + bytes(TEN_MIB) + EOI, True),
        (SOI + frame() + SCAN + b"\xab\xff\x00\xcd" * 100 + EOI, True),
        (SOI + frame() + SCAN + b"\xff\x00" * (TEN_MIB // 2) + EOI, False),
        (SOI + frame() + SCAN + b"\xff\xd0" * (TEN_MIB // 2) + EOI, False),
        (SOI + frame() + SCAN + b"\xff" * TEN_MIB, False),
        (SOI + b"\xff" * TEN_MIB, False),
        (SOI + (b"\xff\x00" * 500 + segment(0xFE, b"")) * 10_000, False),
        (SOI + (b"\xff\x00" * 30_000 + segment(0xFE, b"")) * 170, False),
        (SOI + segment(0xFE, b"") * (TEN_MIB // 4), False),
        (SOI + frame() + SCAN + segment(0xC4, b"") * (TEN_MIB // 4), False),
        (SOI + frame() + (SCAN + b"\xff" * 100_000) * 99 + EOI, False),
    ],
    ids=[
        "zeros",
        "small",
        "stuffed",
        "restarts",
        "fill",
        "fill-first",
        "short-runs",
        "runs",
        "comments",
        "tables",
        "scans",
    ],
)
def test_ten_mib_of_anything_is_read_quickly(data: bytes, passes: bool) -> None:
    """Nominal 50 ms; the bound is the longest stall that the server may ever have."""
    started = time.process_time()
    if passes:
        assert measured(data) == (20, 10)
    else:
        assert refusal_of(data).status == 422
    assert time.process_time() - started < 0.250
