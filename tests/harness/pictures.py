"""The picture that is part of the package, tiny ones, and copies that no cache has stored.

harness.gallery has all test pictures.
"""

import struct
import zlib
from importlib import resources
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_JPEG_START = b"\xff\xd8"
_PNG_HEAD_BYTES = 8 + 25  # signature and IHDR


def built_in() -> bytes:
    """The JPEG of one person that the package contains and that readiness uses."""
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
    """A generated valid grey PNG, for tests that need a picture without people."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = (b"\0" + bytes([shade]) * width) * height
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks
