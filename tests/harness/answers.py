"""What each picture must be answered with: the manifest, and where ACCEPTANCE section 4 is stricter."""

import json
import struct
from collections.abc import Mapping
from typing import Any

from harness.client import Reply
from harness.pictures import Picture, goldens
from posecluster_inference.errors import Reason

SERVED = {"ok", "accept", ""}
OTHER_FORMATS = {"GIF", "BMP", "TIFF", "AVIF", "HEIF", "EPS"}
GOLDEN_TOLERANCE = 0.03  # of x and y, as fractions: golden/mediapipe_goldens.json
_POINT_KEYS = ("x", "y", "z", "visibility", "presence")

# what ACCEPTANCE section 4 and the house rule "whole file or refusal" add to the manifest
STRICTER = {
    "sequence/pose_squats.mp4": Reason.UNSUPPORTED_FORMAT,
    "large/pose_43mp.jpg": Reason.PICTURE_TOO_LARGE,
    "hostile/20000x20.png": Reason.PICTURE_TOO_LARGE,
    "hostile/bomb_12000x12000_gray8.png": Reason.PICTURE_TOO_LARGE,
    "hostile/bomb_30000x30000_1bit.png": Reason.PICTURE_TOO_LARGE,
    "hostile/bomb_header_2147483647.png": Reason.PICTURE_TOO_LARGE,
    "hostile/bomb_header_65500x65500.jpg": Reason.PICTURE_TOO_LARGE,
    "hostile/bomb_header_65500x65500_progressive.jpg": Reason.PICTURE_TOO_LARGE,
    "hostile/bomb_2000_scans_4000x4000.jpg": Reason.UNDECODABLE,
    "hostile/bomb_header_0x0.png": Reason.UNDECODABLE,
    "hostile/lossless_sof3.jpg": Reason.UNDECODABLE,
    "hostile/precision_12bit_header.jpg": Reason.UNDECODABLE,
    "hostile/soi_eoi_only.jpg": Reason.UNDECODABLE,
    "hostile/no_eoi.jpg": Reason.UNDECODABLE,
    "hostile/no_idat.png": Reason.UNDECODABLE,
    "hostile/no_iend.png": Reason.UNDECODABLE,
    "hostile/empty.jpg": Reason.MALFORMED,
}
# their headers are fine; only a decoder can refuse them
LEFT_TO_THE_DECODER = {"hostile/bad_zlib.png", "hostile/corrupt_huffman_table.jpg"}

# I-11: beginnings of what some decoder would take
SNIFFED = {
    "GIF": b"GIF89a\x01\x00\x01\x00\x00\x00\x00;",
    "BMP": b"BM\x1a\x00\x00\x00" + bytes(20),
    "TIFF": b"II*\x00\x08\x00\x00\x00" + bytes(20),
    "TIFF big-endian": b"MM\x00*\x00\x00\x00\x08" + bytes(20),
    "AVIF": b"\x00\x00\x00\x20ftypavif" + bytes(20),
    "HEIC": b"\x00\x00\x00\x20ftypheic" + bytes(20),
    "JPEG 2000": b"\x00\x00\x00\x0cjP  \r\n\x87\n" + bytes(20),
    "JPEG XL": b"\xff\x0a" + bytes(20),
    "OpenEXR": b"\x76\x2f\x31\x01" + bytes(20),
    "PNM": b"P6 1 1 255 abc",
    "Radiance": b"#?RADIANCE\n",
    "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "PDF": b"%PDF-1.7\n",
    "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n",
    "WAV": b"RIFF\x24\x00\x00\x00WAVEfmt ",
    "JSON": b'{"image": "data:image/jpeg;base64,/9j/4AAQ"}',
    "one byte": b"\xff",
    "half of PNG's magic": b"\x89PNG",
}


def intake_reason(entry: Picture) -> Reason | None:
    """What the header alone must be refused with; None: it passes."""
    name = entry.file
    if name in STRICTER:
        return STRICTER[name]
    if name.startswith("hostile/truncated_"):
        return Reason.UNDECODABLE
    if entry.entry.get("format") in OTHER_FORMATS:
        return Reason.UNSUPPORTED_FORMAT
    if (entry.expect == "reject" and name not in LEFT_TO_THE_DECODER) or name.endswith(".json"):
        return Reason.UNSUPPORTED_FORMAT
    return None


def allowed(entry: Picture) -> set[str | None]:
    """The reasons that the server may give to a file of the manifest; None is 200."""
    reason = intake_reason(entry)
    if reason is not None:
        return {reason.value}
    if entry.expect == "either":
        return {None, Reason.UNDECODABLE.value}
    return {Reason.UNDECODABLE.value} if entry.expect == "reject" else {None}


def people(reply: Reply) -> list[Any]:
    """The people of a JSON answer in the form of `alone.alone`; raises for NaN and infinity."""
    document = json.loads(reply.body, parse_constant=_not_finite)
    return [[_points(one["landmarks"]), _points(one["world_landmarks"])] for one in document["people"]]


def _points(landmarks: list[Mapping[str, float]]) -> list[list[float]]:
    return [[_single(mark[key]) for key in _POINT_KEYS] for mark in landmarks]


def _single(number: float) -> float:
    value: float = struct.unpack("f", struct.pack("f", number))[0]
    return value


def _not_finite(text: str) -> float:
    raise ValueError(f"{text} in an answer")


def golden_points(golden: str, variant: str = "full") -> list[list[float]]:
    """x, y (and more) of the 33 landmarks that MediaPipe's own tests expect."""
    entry = goldens()[golden]
    tasks = entry.get("tasks_api")
    found: list[list[float]] = (
        tasks["landmarks_xyz_visibility_presence"] if tasks else entry["landmarks_xyz"][variant]
    )
    return found


def off_golden(landmarks: list[list[float]], golden: str, variant: str = "full") -> float:
    """The largest distance in x or y from the golden; raises ValueError unless there are 33 points."""
    pairs = zip(landmarks, golden_points(golden, variant), strict=True)
    return max(max(abs(one[0] - other[0]), abs(one[1] - other[1])) for one, other in pairs)
