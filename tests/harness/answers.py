"""Answers as numbers, their distance from the goldens, and the first bytes of refused formats."""

import json
import struct
from collections.abc import Mapping
from typing import Any

from harness.client import Reply
from harness.gallery import golden_points

GOLDEN_TOLERANCE = 0.03  # of x and y, as fractions: tests/golden/mediapipe.json
_POINT_KEYS = ("x", "y", "z", "visibility", "presence")

# I-11: beginnings of what some decoder would take
SNIFFED = {
    "GIF": b"GIF89a\x01\x00\x01\x00\x00\x00\x00;",
    "BMP": b"BM\x1a\x00\x00\x00" + bytes(20),
    "TIFF": b"II*\x00\x08\x00\x00\x00" + bytes(20),
    "TIFF big-endian": b"MM\x00*\x00\x00\x00\x08" + bytes(20),
    "AVIF": b"\x00\x00\x00\x20ftypavif" + bytes(20),
    "HEIC": b"\x00\x00\x00\x20ftypheic" + bytes(20),
    "MP4": b"\x00\x00\x00\x20ftypisom" + bytes(20),
    "JPEG 2000": b"\x00\x00\x00\x0cjP  \r\n\x87\n" + bytes(20),
    "JPEG XL": b"\xff\x0a" + bytes(20),
    "OpenEXR": b"\x76\x2f\x31\x01" + bytes(20),
    "PNM": b"P6 1 1 255 abc",
    "Radiance": b"#?RADIANCE\n",
    "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "PDF": b"%PDF-1.7\n",
    "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n",
    "WAV": b"RIFF\x24\x00\x00\x00WAVEfmt ",
    "base64 of GIF in JSON": b'{"image": "data:image/jpeg;base64,R0lGODlhAQABAAAAADs="}',
    "one byte": b"\xff",
    "half of PNG's magic": b"\x89PNG",
}


def people(reply: Reply) -> list[Any]:
    """The people of a JSON answer in the form of `detect_plain`; raises for NaN and infinity."""
    document = json.loads(reply.body, parse_constant=_not_finite)
    return [[_points(one["landmarks"]), _points(one["world_landmarks"])] for one in document["people"]]


def _points(landmarks: list[Mapping[str, float]]) -> list[list[float]]:
    return [[_single(mark[key]) for key in _POINT_KEYS] for mark in landmarks]


def _single(number: float) -> float:
    value: float = struct.unpack("f", struct.pack("f", number))[0]
    return value


def _not_finite(text: str) -> float:
    raise ValueError(f"{text} in an answer")


def off_golden(landmarks: list[list[float]], golden: str, variant: str = "full") -> float:
    """The largest distance in x or y from the golden; raises ValueError unless there are 33 points."""
    pairs = zip(landmarks, golden_points(golden, variant), strict=True)
    return max(max(abs(one[0] - other[0]), abs(one[1] - other[1])) for one, other in pairs)
