"""Pictures that name an attack for `attack_engine`."""

import json
import struct
import zlib
from typing import Any

MARK = b"attack"
_WIDTH, _HEIGHT = 64, 8


def attack_png(name: str, *arguments: Any) -> bytes:
    """Write a PNG whose pixels name an attack and its arguments."""
    pixels = (MARK + json.dumps([name, *arguments]).encode() + b"\0").ljust(_WIDTH * _HEIGHT * 3, b"\0")
    rows = b"".join(b"\0" + pixels[at : at + _WIDTH * 3] for at in range(0, len(pixels), _WIDTH * 3))
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", _WIDTH, _HEIGHT, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
