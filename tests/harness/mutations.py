"""Mutated pictures for the decoder fuzz: equal seeds give equal inputs.

Random bytes die at the first check, so most changes keep a file's frame: PNG checksums are made right
again, lengths and sizes get the values that overflow, and parts of two files are joined.
"""

import random
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

from harness import gallery, hostile_pictures
from harness.pictures import ROOT, built_in, tiny_png

REGRESSIONS = ROOT / "tests" / "data" / "regressions"
FORMATS = ("jpeg", "png", "webp")
_LARGEST_SEED = 70_000  # bytes; more would only slow the fuzz down
_INTERESTING = (0, 1, 0x7F, 0x80, 0xFE, 0xFF)
_WIDE = (0, 1, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_MAGIC = {"jpeg": b"\xff\xd8\xff", "png": b"\x89PNG", "webp": b"RIFF"}


def seeds(form: str) -> list[bytes]:
    """Pictures of one format to start from, in a fixed order: small ones, the test pictures, past crashes."""
    found = [built_in(), tiny_png(40, 30), *hostile_pictures.bad_huffman_webp()]
    found += [hostile_pictures.two_frames(built_in()), hostile_pictures.private_jpeg(built_in())]
    found += [hostile_pictures.text_chunks(tiny_png(), 20), hostile_pictures.more_pixels(20)]
    found += gallery.pictures(name for name in gallery.names() if "bomb" not in name)
    found += [path.read_bytes() for path in regressions()]
    magic = _MAGIC[form]
    return [data for data in found if data.startswith(magic) and len(data) <= _LARGEST_SEED]


def regressions() -> list[Path]:
    """Files that once broke something."""
    return sorted(REGRESSIONS.glob("*.bin"))


def mutated(seed: int, form: str, index: int, pool: Sequence[bytes]) -> bytes:
    """Input number `index`: one of `pool`, changed one to four times."""
    rng = random.Random(f"{seed} {form} {index}")
    data = bytearray(rng.choice(pool))
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        if len(data) > 8:
            rng.choice(_CHANGES)(rng, data, pool)
    if form == "png" and rng.random() < 0.8:
        _repair_png(data)
    if form == "webp" and rng.random() < 0.8:
        data[4:8] = struct.pack("<I", max(0, len(data) - 8))
    return bytes(data)


def _place(rng: random.Random, data: bytearray) -> int:
    """A position, half of the time among the first 700 bytes, where the structure is."""
    return rng.randrange(min(len(data), 700) if rng.random() < 0.5 else len(data))


def _flip(rng: random.Random, data: bytearray, pool: Sequence[bytes]) -> None:
    data[_place(rng, data)] ^= 1 << rng.randrange(8)


def _byte(rng: random.Random, data: bytearray, pool: Sequence[bytes]) -> None:
    data[_place(rng, data)] = rng.choice(_INTERESTING)


def _number(rng: random.Random, data: bytearray, pool: Sequence[bytes]) -> None:
    at, size = _place(rng, data), rng.choice((2, 4))
    value = rng.choice(_WIDE) & (1 << 8 * size) - 1
    data[at : at + size] = value.to_bytes(size, rng.choice(("big", "little")))


def _noise(rng: random.Random, data: bytearray, pool: Sequence[bytes]) -> None:
    at, length = _place(rng, data), rng.randrange(1, 64)
    data[at : at + length] = rng.randbytes(length)


def _cut(rng: random.Random, data: bytearray, pool: Sequence[bytes]) -> None:
    at = _place(rng, data)
    del data[at : at + rng.randrange(1, 300)]


def _repeat(rng: random.Random, data: bytearray, pool: Sequence[bytes]) -> None:
    at, length = _place(rng, data), rng.randrange(1, 300)
    data[at:at] = data[at : at + length] * rng.choice((1, 2, 20))


def _truncate(rng: random.Random, data: bytearray, pool: Sequence[bytes]) -> None:
    # with its end marker kept, the header check accepts a JPEG as complete
    end = bytes(data[-2:]) if rng.random() < 0.7 else b""
    del data[rng.randrange(8, len(data)) :]
    data += end


def _splice(rng: random.Random, data: bytearray, pool: Sequence[bytes]) -> None:
    other = rng.choice(pool)
    at = _place(rng, data)
    data[at:] = other[rng.randrange(len(other)) :]


_CHANGES: Sequence[Callable[[random.Random, bytearray, Sequence[bytes]], None]] = (
    *(_flip, _flip, _flip, _byte, _byte, _number, _noise),
    *(_cut, _repeat, _truncate, _splice),
)


def _repair_png(data: bytearray) -> None:
    """Correct the checksums, so that a decoder processes the content."""
    position = 8
    while position + 12 <= len(data):
        end = position + 8 + int.from_bytes(data[position : position + 4])
        if end + 4 > len(data):
            return
        data[end : end + 4] = zlib.crc32(data[position + 4 : end]).to_bytes(4)
        position = end + 4
