"""The test pictures, what the manifest says of them, and copies that no cache has seen.

They lie in POSECLUSTER_DATA_DIR, else in ../shared/data beside this repository. The built-in
picture of the server comes with the package and is always there.
"""

import json
import os
import struct
import zlib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
_JPEG_START = b"\xff\xd8"
_PNG_HEAD_BYTES = 8 + 25  # signature and IHDR


@dataclass(frozen=True, slots=True)
class Picture:
    """A file of the manifest; `entry` is all that the manifest says of it.

    expect: "ok" or "accept" must be served, "reject" must be a 4xx, "either" may be both, "" means ok.
    """

    file: str
    path: Path
    expect: str
    golden: str
    entry: dict[str, Any]

    def read(self) -> bytes:
        """The file's bytes."""
        return self.path.read_bytes()


def data_dir() -> Path | None:
    """The folder with manifest.json, None if there is none."""
    folder = Path(os.environ.get("POSECLUSTER_DATA_DIR") or ROOT.parent / "shared" / "data")
    return folder.resolve() if (folder / "manifest.json").is_file() else None


def need_data() -> Path:
    """The folder with manifest.json; skips the test, with what to do, if there is none."""
    folder = data_dir()
    if folder is None:
        pytest.skip("no test pictures: set POSECLUSTER_DATA_DIR to the folder with manifest.json")
    return folder


@cache
def manifest() -> dict[str, Picture]:
    """Every picture by its file name such as "single/mp_pose.jpg"; empty if there is no data folder.

    Empty, so that it can be used to parametrize: add a test that calls `need_data()`.
    """
    folder = data_dir()
    if folder is None:
        return {}
    entries = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["images"]
    return {
        entry["file"]: Picture(
            file=entry["file"],
            path=folder / entry["file"],
            expect=entry.get("expect") or "",
            golden=entry.get("golden") or "",
            entry=entry,
        )
        for entry in entries
    }


def picture(file: str) -> bytes:
    """Bytes of a file of the data folder; skips the test if there is no data folder."""
    return (need_data() / file).read_bytes()


def goldens() -> dict[str, Any]:
    """MediaPipe's own expected landmarks (golden/mediapipe_goldens.json); skips without data."""
    document: dict[str, Any] = json.loads(picture("golden/mediapipe_goldens.json"))
    return document


def built_in() -> bytes:
    """The JPEG of one person that comes with the package and that readiness uses."""
    folder = resources.files("posecluster_inference") / "data"
    found = sorted(item.name for item in folder.iterdir() if item.name.endswith(".jpg"))
    return (folder / found[0]).read_bytes()


def unique_jpeg(base: bytes, n: int) -> bytes:
    """The same JPEG with comment `n` (a COM segment right after SOI): other bytes, same pixels."""
    if not base.startswith(_JPEG_START):
        raise ValueError("not a JPEG")
    comment = f"unique {n}".encode()
    return _JPEG_START + b"\xff\xfe" + struct.pack(">H", len(comment) + 2) + comment + base[2:]


def unique_png(base: bytes, n: int) -> bytes:
    """The same PNG with text `n` (a tEXt chunk right after IHDR): other bytes, same pixels."""
    if not base.startswith(b"\x89PNG\r\n\x1a\n"):
        raise ValueError("not a PNG")
    return base[:_PNG_HEAD_BYTES] + png_chunk(b"tEXt", f"unique\0{n}".encode()) + base[_PNG_HEAD_BYTES:]


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """A whole PNG chunk: length, kind, data, CRC."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def tiny_png(width: int = 8, height: int = 8, shade: int = 128) -> bytes:
    """A valid grey PNG made here, for tests that need a picture but nobody in it."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = (b"\0" + bytes([shade]) * width) * height
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks
