"""Pictures for the stub engine, requests in the background, and the stub's own count of inferences."""

import json
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from engines.stub_engine import Command, command_png, nose_x
from harness.raw import RawConnection, post
from harness.server import ServerProcess

DETECT = "/v1/detect"
_NOSE_TOLERANCE = 1e-6  # float32 in decimal


class Slow:
    """Pictures that take `milliseconds` each, all different; `right` knows the answer to each."""

    def __init__(self, milliseconds: int, name: str = "slow") -> None:
        self.milliseconds = milliseconds
        self.name = name

    def picture(self, index: int) -> bytes:
        """Picture number `index`; usable as `load.Bodies`."""
        return command_png(Command.OK, self.milliseconds, self._comment(index))

    def nose(self, index: int) -> float:
        """Where the stub puts the nose in it."""
        return nose_x(Command.OK, self.milliseconds, self._comment(index))

    def is_answer(self, index: int, body: bytes) -> bool:
        """Whether `body` is the JSON answer to picture `index`."""
        return abs(nose(json.loads(body)) - self.nose(index)) < _NOSE_TOLERANCE

    def check(self, status: int, headers: Mapping[str, str], body: bytes) -> bool:
        """A `load.Check`: the harness's loads name their requests `load-INDEX`, and names are echoed."""
        return self.is_answer(int(headers["X-Request-Id"].removeprefix("load-")), body)

    def _comment(self, index: int) -> bytes:
        return f"{self.name} {index}".encode()


def nose(document: dict[str, Any]) -> float:
    """x of the first person's nose in a JSON answer."""
    x: float = document["people"][0]["landmarks"][0]["x"]
    return x


def inferences(log: Path) -> Counter[tuple[str, int]]:
    """How often each (command, argument) reached a worker, from STUB_LOG."""
    lines = log.read_text(encoding="ascii").splitlines() if log.exists() else []
    return Counter((command, int(argument)) for _pid, _time, command, argument in map(str.split, lines))


def send(server: ServerProcess, picture: bytes, *headers: str) -> RawConnection:
    """Post a picture and do not wait for the answer; the caller reads or closes the connection."""
    connection = RawConnection(server.address)
    if not connection.send(post(DETECT, picture, *headers)):
        raise server.failed("did not take a request")
    return connection


def send_many(
    server: ServerProcess, stack: ExitStack, pictures: list[bytes], *headers: str
) -> list[RawConnection]:
    """`send` each in order; the connections close with the stack."""
    return [stack.enter_context(send(server, picture, *headers)) for picture in pictures]


def wait_waiting(server: ServerProcess, *, queued: int, running: int | None = None) -> None:
    """Wait until just so many requests wait and, if given, so many are in compute."""

    def reached() -> bool:
        health = server.health()
        busy = sum(worker["state"] == "busy" for worker in health["workers"])
        return health["queue"]["length"] == queued and running in (None, busy)

    server.wait_until(reached, f"{queued} queued, {running} running", 10)
