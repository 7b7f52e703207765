"""Engines with one fault each, for tests of the code around an engine; otherwise they equal the stub.

They run inside real worker processes, so a fault of the worker itself is made by replacing a function of its
modules there.
"""

import os
import signal
import socket
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stub_engine import StubEngine

from posecluster_inference.errors import ModelError, Undecodable
from posecluster_inference.pictures import Header
from posecluster_inference.worker import codec, wire
from posecluster_inference.worker.engines import EngineConfig, EngineInfo

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_FIRST_FRAME = 70


class ExitOnSignal(StubEngine):
    """SIGUSR1 ends the worker with exit code 0, whatever it is doing."""

    def load(self, config: EngineConfig) -> EngineInfo:
        signal.signal(signal.SIGUSR1, lambda *_: os._exit(0))
        return super().load(config)


class RefusesToLoad(StubEngine):
    """Fails as an engine should when its model is of no use, once the file FAULT_FILE is there."""

    def load(self, config: EngineConfig) -> EngineInfo:
        if Path(os.environ["FAULT_FILE"]).exists():
            raise ModelError("The stub's model was taken away.")
        return super().load(config)


class FindsHands(StubEngine):
    """Has landmarks of something else than a body."""

    def load(self, config: EngineConfig) -> EngineInfo:
        info = super().load(config)
        return replace(info, landmark_names=tuple(f"hand_{name}" for name in info.landmark_names))


class IllegalInstruction(StubEngine):
    """Ends as native code does on a processor that lacks one of its instructions.

    A signal's number in the file stands for another fault.
    """

    def __init__(self) -> None:
        super().__init__()
        fault = Path(os.environ["FAULT_FILE"])  # read before the sandbox forbids it
        self._signal = int(fault.read_text(encoding="ascii") or signal.SIGILL) if fault.exists() else None

    def load(self, config: EngineConfig) -> EngineInfo:
        if self._signal is not None:
            os.kill(os.getpid(), self._signal)
        return super().load(config)


class KeepsBuffer(StubEngine):
    """Its worker's decoder fills up what a broken picture lacks from the picture before (opencv#26488)."""

    def load(self, config: EngineConfig) -> EngineInfo:
        decode, kept = codec.decode, []

        def leaky(data: bytes, header: Header) -> "NDArray[np.uint8]":
            before = kept[-1] if kept else None
            try:
                picture = decode(data, header)
            except Undecodable:
                if before is None:
                    raise
                return before
            kept[:] = [picture.copy()]
            if before is not None:
                width = min(picture.shape[1], before.shape[1])
                picture[-1, :width] = before[-1, :width]
            return picture

        codec.decode = leaky
        return super().load(config)


class WrongFrames(StubEngine):
    """Sends a malformed answer: a picture's argument, from 70 on, picks it from the list in FAULT_FRAMES."""

    last_argument = 0

    def load(self, config: EngineConfig) -> EngineInfo:
        frames, send = os.environ["FAULT_FRAMES"].split(","), wire.send

        def wrong(pipe: socket.socket, head: wire.Head, payload: bytes = b"") -> None:
            number, self.last_argument = self.last_argument - _FIRST_FRAME, 0
            match frames[number] if 0 <= number < len(frames) else "":
                case "garbage":
                    pipe.sendall(b"\xff" * 64)
                case "array":
                    pipe.sendall(b"\0\0\0\2\0\0\0\0[]")
                case "nothing":
                    send(pipe, {})
                case "ready again":
                    send(pipe, {"event": "ready", "model": {}, "memory": 1})
                case "fatal late":
                    send(pipe, {"event": "fatal", "message": "too late"})
                case "old answer":
                    send(pipe, {**head, "request": head["request"] - 1}, payload)
                case "answer twice":
                    send(pipe, head, payload)
                    send(pipe, head, payload)
                case "no times":
                    send(pipe, {key: value for key, value in head.items() if key != "busy"}, payload)
                case "not a number":
                    send(pipe, {**head, "busy": float("nan")}, payload)
                case "negative":
                    send(pipe, {**head, "stages": {"decode": -1.0}}, payload)
                case "text":
                    send(pipe, {**head, "memory": "much"}, payload)
                case "stages":
                    send(pipe, {**head, "stages": {f"stage{index}": 1.0 for index in range(100)}}, payload)
                case "sizes":
                    send(pipe, {**head, "drawn": [1, 2, 0, 4]}, payload)
                case "not JSON":
                    send(pipe, head, payload + b",")
                case "another member":
                    send(pipe, head, payload + b',"id":"x"')
                case "endless":
                    send(pipe, head, payload + b" " * (2 << 20))
                case "picture":
                    send(pipe, {**head, "drawn": [16, 16, 16, 16]}, b"\x89PNG\r\n\x1a\n")
                case _:
                    send(pipe, head, payload)

        wire.send = wrong
        return super().load(config)

    def _obey(self, command: Any, argument: int) -> None:
        self.last_argument = argument
        super()._obey(command, argument)
