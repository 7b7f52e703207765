"""The type of a test picture, the scene that generated ones show, and its encoders.

Arrays are BGR, as OpenCV has them. Equal versions of OpenCV and numpy make equal bytes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import cv2
import numpy as np

from harness.picture_parts import PNG_END, jpeg_segment, png_file, png_header, png_pixels
from harness.pictures import ROOT
from posecluster_inference.errors import Reason

Pixels = np.ndarray[Any, np.dtype[Any]]

STORED = ROOT / "tests" / "data" / "pictures"
SCENE = "single/mp_pose.jpg"
SCENE_GOLDEN = "mp_pose"
WIDE, HIGH = 1_000, 667  # the scene's
HALF = (500, 334)
SERVED: frozenset[Reason | None] = frozenset({None})
EITHER: frozenset[Reason | None] = frozenset({None, Reason.UNDECODABLE})


@dataclass(frozen=True, slots=True)
class Picture:
    """A test picture's bytes, and what the server must answer.

    answers: the reasons that the server may give; None is 200. by_header: refused by its header, without a
    decoder. size: (width, height) as stored, before any EXIF orientation; None: the header is not read.
    """

    make: Callable[[], bytes]
    answers: frozenset[Reason | None] = SERVED
    by_header: bool = False
    size: tuple[int, int] | None = None
    golden: str = ""
    rows: tuple[str, ...] = ()

    @property
    def is_served(self) -> bool:
        """Whether 200 is the only right answer."""
        return self.answers == SERVED


@cache
def whole_scene() -> Pixels:
    """The scene, (667, 1000, 3) uint8."""
    picture = cv2.imdecode(np.fromfile(STORED / SCENE, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return picture


@cache
def half_scene() -> Pixels:
    """Half as wide and as high, (334, 500, 3) uint8."""
    return cv2.resize(whole_scene(), HALF, interpolation=cv2.INTER_AREA)


@cache
def grey_scene() -> Pixels:
    """(334, 500) uint8."""
    return cv2.cvtColor(half_scene(), cv2.COLOR_BGR2GRAY)


def faded_scene() -> Pixels:
    """The half scene with an alpha channel that fades towards its edges."""
    y, x = np.mgrid[0 : HALF[1], 0 : HALF[0]]
    edge = np.minimum.reduce([x, y, HALF[0] - 1 - x, HALF[1] - 1 - y])
    return np.dstack([half_scene(), np.clip(edge * 12, 0, 255).astype(np.uint8)])


def encoded(suffix: str, picture: Pixels, *options: int) -> bytes:
    """The picture in the format of `suffix`; options are OpenCV's, as pairs of name and value."""
    is_encoded, data = cv2.imencode(suffix, picture, options)
    assert is_encoded
    return data.tobytes()


def jpeg_of(picture: Pixels, quality: int = 90, *options: int) -> bytes:
    """A JPEG; options as for `encoded`."""
    return encoded(".jpg", picture, cv2.IMWRITE_JPEG_QUALITY, quality, *options)


def webp_of(picture: Pixels, quality: int = 85) -> bytes:
    """A WebP; lossless above a quality of 100."""
    return encoded(".webp", picture, cv2.IMWRITE_WEBP_QUALITY, quality)


@cache
def small_jpeg() -> bytes:
    """The half scene as JPEG, which hostile files are made of."""
    return jpeg_of(half_scene(), 85)


@cache
def small_png() -> bytes:
    """The scene as PNG, a quarter as wide."""
    return encoded(".png", cv2.resize(whole_scene(), (250, 167), interpolation=cv2.INTER_AREA))


def png_rows(picture: Pixels) -> bytes:
    """A PNG's rows before compression, none filtered."""
    flat = np.ascontiguousarray(picture).reshape(picture.shape[0], -1).view(np.uint8)
    return np.hstack([np.zeros((len(flat), 1), np.uint8), flat]).tobytes()


def png_of(
    raw: bytes, size: tuple[int, int], *, bits: int = 8, colour: int, interlaced: bool = False
) -> bytes:
    """A PNG of rows as `png_rows` makes them; colour is the PNG's colour type."""
    header = png_header(*size, bits=bits, colour=colour, rest=(0, 0, int(interlaced)))
    return png_file(header, png_pixels(raw), PNG_END)


def with_exif(jpeg: bytes, tiff: bytes) -> bytes:
    """The same JPEG with EXIF right after its start."""
    return jpeg[:2] + jpeg_segment(0xE1, b"Exif\0\0" + tiff) + jpeg[2:]


def shows(size: tuple[int, int], make: Callable[[], bytes], *rows: str) -> Picture:
    """It must be served, and the scene's landmarks found."""
    return Picture(make, size=size, golden=SCENE_GOLDEN, rows=rows)


def refused(reason: Reason, make: Callable[[], bytes], *rows: str, by_header: bool = True) -> Picture:
    """It must be refused with this reason."""
    return Picture(make, frozenset({reason}), by_header, rows=rows)


def unsupported(data: bytes, *rows: str) -> Picture:
    """It must be refused by its first bytes."""
    return refused(Reason.UNSUPPORTED_FORMAT, lambda: data, *rows)


def either(make: Callable[[], bytes], *rows: str, size: tuple[int, int] | None = None) -> Picture:
    """A decoder may make something of it, or refuse it."""
    return Picture(make, EITHER, size=size, rows=rows)
