"""An engine for fault tests: it obeys commands that a picture contains, inside a real worker process.

    POSECLUSTER_ENGINE=stub_engine:StubEngine  PYTHONPATH=tests/engines
    STUB_MS=20         time for a picture without a command
    STUB_LOG=path      one line per inference, written first: "pid monotonic_ns command argument"

`command_png(Command.HANG)` makes a picture with a command in its pixels. Every answer has one person
whose nose x is a hash of the pixels (`nose_x`), so that answers given to the wrong caller show. The
comment goes into both the pixels and a text chunk: other comment, other bytes, other hash.
"""

import hashlib
import os
import signal
import struct
import time
import zlib
from enum import IntEnum
from typing import TYPE_CHECKING

from posecluster_inference.worker.engines import EngineConfig, EngineInfo
from posecluster_inference.worker.tasks.pose import COCO_KEYPOINTS, Person, Point

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_SIDE = 16
_MARK = b"pose-stub"  # the first three pixels of a picture with a command
_COMMAND = struct.Struct(">B5xI2x")  # command and argument, four pixels
_MIB = 1 << 20
_GROW_STEP = 16 * _MIB
_HANG_SECONDS = 3600.0
_LANDMARKS = 33


class Command(IntEnum):
    """What to do; the argument's meaning behind it."""

    OK = 0  # sleep that many milliseconds, then answer
    SEGV = 1
    ABRT = 2
    KILL = 3
    EXIT0 = 4
    HANG = 5
    RAISE = 6
    LEAK = 7  # keep that many MiB, then answer
    GROW = 8  # allocate until something stops it


def command_png(command: Command, argument: int = 0, comment: bytes = b"") -> bytes:
    """Write a 16 x 16 RGB PNG that carries a command."""
    pixels = _pixels(command, argument, comment)
    rows = b"".join(b"\0" + pixels[start : start + _SIDE * 3] for start in range(0, len(pixels), _SIDE * 3))
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", _SIDE, _SIDE, 8, 2, 0, 0, 0)),
        (b"tEXt", b"Comment\0" + comment.hex().encode()),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def nose_x(command: Command, argument: int = 0, comment: bytes = b"") -> float:
    """The nose's x in the right answer to `command_png` of the same arguments, exact in float32."""
    return _hash(_pixels(command, argument, comment))


def _pixels(command: Command, argument: int, comment: bytes) -> bytes:
    head = _MARK + _COMMAND.pack(command, argument) + hashlib.sha256(comment).digest()
    return head.ljust(_SIDE * _SIDE * 3, b"\x80")


def _hash(pixels: bytes) -> float:
    return (zlib.crc32(pixels) >> 8) / (1 << 24)


class StubEngine:
    """See the module; the model file is never opened."""

    def __init__(self) -> None:
        path = os.environ.get("STUB_LOG")
        self._log = open(path, "ab", buffering=0) if path else None  # noqa: SIM115  (before the sandbox)
        self._ordinary_ms = int(os.environ.get("STUB_MS", "0"))
        self._kept: list[bytes] = []

    def load(self, config: EngineConfig) -> EngineInfo:
        others = (f"point_{index}" for index in range(len(COCO_KEYPOINTS), _LANDMARKS))
        bones = tuple((index, index + 1) for index in range(_LANDMARKS - 1))
        return EngineInfo(engine="stub", landmark_names=(*COCO_KEYPOINTS, *others), bones=bones)

    def warm_up(self, picture: "NDArray[np.uint8]") -> None:
        """Nothing to warm, and not an inference that a test should count."""

    def detect(self, picture: "NDArray[np.uint8]") -> list[Person]:
        pixels = picture.tobytes()
        command, argument = Command.OK, self._ordinary_ms
        if picture.shape == (_SIDE, _SIDE, 3) and pixels.startswith(_MARK):
            number, argument = _COMMAND.unpack_from(pixels, len(_MARK))
            command = Command(number)
        self._record(command, argument)
        self._obey(command, argument)
        points: list[Point] = [(0.5, index / 64, 0.0, 1.0, 1.0) for index in range(_LANDMARKS)]
        points[0] = (_hash(pixels), 0.5, 0.0, 1.0, 1.0)
        return [Person(tuple(points), tuple(points))]

    def _record(self, command: Command, argument: int) -> None:
        if self._log:
            line = f"{os.getpid()} {time.monotonic_ns()} {command.name} {argument}\n"
            self._log.write(line.encode())  # one write: lines of workers never mix

    def _obey(self, command: Command, argument: int) -> None:
        match command:
            case Command.OK:
                time.sleep(argument / 1000)
            case Command.SEGV | Command.ABRT | Command.KILL:
                os.kill(os.getpid(), getattr(signal, f"SIG{command.name}"))
            case Command.EXIT0:
                os._exit(0)
            case Command.HANG:
                time.sleep(_HANG_SECONDS)
            case Command.RAISE:
                raise RuntimeError("The picture asked the stub to raise")
            case Command.LEAK:
                self._kept.append(b"\x01" * (argument * _MIB))  # ones, so that the pages are touched
            case Command.GROW:
                while True:
                    self._kept.append(b"\x01" * _GROW_STEP)

    def close(self) -> None:
        self._kept.clear()
        if self._log:
            self._log.close()
