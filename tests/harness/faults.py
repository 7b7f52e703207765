"""For tests of worker faults: requests in the background, who worked on what, and results of probes."""

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path

from engines.stub_engine import Command, nose_x
from harness import client
from harness.background import repeating
from harness.client import Reply
from harness.server import ServerProcess

_PROBE_SECONDS = 0.02
_ROUNDING = 1e-6  # answers have nine digits


@dataclass(frozen=True, slots=True)
class Work:
    """One inference of the stub engine, noted when it began; `at` in ns of the monotonic clock."""

    pid: int
    at: int
    command: str
    argument: int


def work(log: Path) -> list[Work]:
    """All inferences so far, from the file that STUB_LOG names."""
    if not log.exists():
        return []
    lines = (line.split() for line in log.read_text(encoding="ascii").splitlines())
    return [Work(int(pid), int(at), command, int(argument)) for pid, at, command, argument in lines]


def nose(reply: Reply) -> float:
    """The nose's x of the first person; raises for anything but an answer with one."""
    x: float = reply.json()["people"][0]["landmarks"][0]["x"]
    return x


def is_right(reply: Reply, command: Command, argument: int = 0, comment: bytes = b"") -> bool:
    """Whether this is 200 with the stub's answer to just that picture."""
    return reply.status == 200 and abs(nose(reply) - nose_x(command, argument, comment)) < _ROUNDING


class Poster:
    """Posts pictures to a server in the background; at most 64 at once."""

    def __init__(self, server: ServerProcess, pool: ThreadPoolExecutor) -> None:
        self._server, self._pool = server, pool

    def post(self, body: bytes, headers: Mapping[str, str] | None = None) -> "Future[Reply]":
        """Send a picture now; the answer arrives later."""
        url = self._server.url + "/v1/detect"
        return self._pool.submit(client.post, url, body, headers=headers, timeout_seconds=30)


@contextmanager
def posting(server: ServerProcess) -> Iterator[Poster]:
    """Give a poster and wait, at the end, for all that it has sent."""
    with ThreadPoolExecutor(64) as pool:
        yield Poster(server, pool)


@dataclass(slots=True)
class Seen:
    """What a prober of the client port's /healthz saw; 0 means no answer."""

    statuses: list[int] = field(default_factory=list)


@contextmanager
def probing(server: ServerProcess) -> Iterator[Seen]:
    """Ask /healthz of the client port all the while."""
    seen = Seen()

    def probe() -> None:
        try:
            seen.statuses.append(client.get(server.url + "/healthz", timeout_seconds=5).status)
        except (OSError, HTTPException):
            seen.statuses.append(0)

    with repeating(probe, every_seconds=_PROBE_SECONDS):
        yield seen


def live_pids(server: ServerProcess) -> list[int]:
    """Pids of the workers that can compute now."""
    return [one["pid"] for one in server.health()["workers"] if one["state"] in ("ready", "busy")]


def busy(server: ServerProcess) -> int:
    """How many workers hold a request now."""
    return sum(one["state"] == "busy" for one in server.health()["workers"])


def waiting(server: ServerProcess) -> int:
    """How many requests wait for a worker now."""
    length: int = server.health()["queue"]["length"]
    return length
