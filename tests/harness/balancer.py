"""A small Service on real sockets: it spreads connections over pods and removes a pod only after a lag.

    with Balancer(rng) as balancer:
        balancer.add(server)                        # when it is ready
        client.post(balancer.url + DETECT, picture)
        server.terminate()
        balancer.drop(server, after_seconds=1.0)    # endpoints lag behind

Like kube-proxy it sends each new connection to a random pod of the list, where the connection stays when the
pod is removed; a connection to a pod that has ended is refused. Bytes, half-closes and resets pass unchanged.
The balancer also parses what passes: see `Answer`.
"""

import asyncio
import random
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

_READ_BYTES = 65_536
_BACKLOG = 1_024
_START_SECONDS = 10.0
_END_OF_HEAD = b"\r\n\r\n"
_RESET_AT_CLOSE = struct.pack("ii", 1, 0)


class Pod(Protocol):
    """What is known of a pod; a `ServerProcess` is one."""

    @property
    def pid(self) -> int: ...

    @property
    def address(self) -> tuple[str, int]: ...


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a request: times are monotonic, of its whole head and of its answer's last byte.

    Status 0: the connection ended before the answer did. A connection that the pod did not take is
    one such answer, without an id: nothing of its request was read.
    """

    id: str
    status: int
    pid: int
    started: float
    ended: float


class Balancer:
    """See the module. Only relaying runs outside the caller's thread; no one else may use `rng`."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._pods: tuple[Pod, ...] = ()
        self._answers: list[Answer] = []
        self._error: BaseException | None = None
        self._listening = threading.Event()
        self._thread = threading.Thread(target=self._run, name="balancer")
        self.address = ("127.0.0.1", 0)

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._listening.wait(_START_SECONDS):
            raise AssertionError("the balancer did not start") from self._error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(RuntimeError):  # its loop is closed: it has failed, see below
            self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join()
        if self._error is not None:
            raise AssertionError("the balancer failed") from self._error

    @property
    def url(self) -> str:
        """Without a slash at the end."""
        return f"http://127.0.0.1:{self.address[1]}"

    @property
    def pods(self) -> tuple[Pod, ...]:
        """Those that new connections go to now."""
        return self._pods

    @property
    def answers(self) -> list[Answer]:
        """All so far. That of a request is here before its client has read it."""
        return list(self._answers)

    def served(self, pod: Pod) -> int:
        """How many requests this pod has answered, with any status."""
        return sum(answer.pid == pod.pid and answer.status != 0 for answer in self.answers)

    def add(self, pod: Pod) -> None:
        """Send it connections from now on."""
        self._loop.call_soon_threadsafe(self._set_pods, lambda: (*self._pods, pod))

    def drop(self, pod: Pod, *, after_seconds: float) -> None:
        """Send it no new connections any more once the time is over; those that it has stay."""

        def rest() -> tuple[Pod, ...]:
            return tuple(one for one in self._pods if one.pid != pod.pid)

        self._loop.call_soon_threadsafe(self._loop.call_later, after_seconds, self._set_pods, rest)

    def _set_pods(self, pods: Callable[[], tuple[Pod, ...]]) -> None:
        self._pods = pods()

    def _run(self) -> None:
        try:
            with suppress(asyncio.CancelledError):
                asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - raised where the balancer is closed
            self._error = error

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        with socket.create_server(self.address, backlog=_BACKLOG) as listener:
            listener.setblocking(False)
            self.address = listener.getsockname()
            self._listening.set()
            async with asyncio.TaskGroup() as links:
                while True:
                    client, _ = await self._loop.sock_accept(listener)
                    links.create_task(self._link(client))

    async def _link(self, client: socket.socket) -> None:
        with client:
            if not self._pods:
                _reset(client)
                return
            pod = self._rng.choice(self._pods)
            link = _Link(pod.pid, self._answers)
            begun = time.monotonic()
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as upstream:
                for end in (client, upstream):
                    end.setblocking(False)
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                try:
                    await self._loop.sock_connect(upstream, pod.address)
                except OSError:
                    self._answers.append(Answer("", 0, pod.pid, begun, time.monotonic()))
                    _reset(client)
                    return
                try:
                    async with asyncio.TaskGroup() as both:
                        both.create_task(self._pump(client, upstream, link.asked))
                        both.create_task(self._pump(upstream, client, link.answered))
                except* OSError:
                    _reset(client)
                    _reset(upstream)
                finally:
                    link.end()

    async def _pump(
        self, source: socket.socket, target: socket.socket, look: Callable[[bytes], None]
    ) -> None:
        while data := await self._loop.sock_recv(source, _READ_BYTES):
            look(data)
            await self._loop.sock_sendall(target, data)
        target.shutdown(socket.SHUT_WR)


def _reset(end: socket.socket) -> None:
    """Make its close a reset."""
    with suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)


class _Link:
    """Reads along on a connection and notes its answers."""

    def __init__(self, pid: int, answers: list[Answer]) -> None:
        self._pid, self._answers = pid, answers
        self._waiting: deque[tuple[str, float]] = deque()
        self._status = 0
        self._requests = _Messages(self._request_head, lambda: None)
        self._responses = _Messages(self._response_head, self._response_end)

    def asked(self, data: bytes) -> None:
        self._requests.feed(data)

    def answered(self, data: bytes) -> None:
        self._responses.feed(data)

    def end(self) -> None:
        """What has no answer now gets none."""
        self._status = 0
        while self._waiting:
            self._response_end()

    def _request_head(self, _line: str, headers: dict[str, str]) -> None:
        self._waiting.append((headers.get("x-request-id", ""), time.monotonic()))

    def _response_head(self, line: str, _headers: dict[str, str]) -> None:
        self._status = int(line.split()[1])

    def _response_end(self) -> None:
        now = time.monotonic()
        # a pod may also turn a connection away before it was asked anything
        name, started = self._waiting.popleft() if self._waiting else ("", now)
        self._answers.append(Answer(name, self._status, self._pid, started, now))


class _Messages:
    """Cuts one direction into messages; raises ValueError for a body without Content-Length."""

    def __init__(self, on_head: Callable[[str, dict[str, str]], None], on_end: Callable[[], None]) -> None:
        self._on_head, self._on_end = on_head, on_end
        self._head = bytearray()
        self._body_left: int | None = None  # None: in a head

    def feed(self, data: bytes) -> None:
        while data:
            if self._body_left is None:
                before = len(self._head)
                self._head += data
                end = self._head.find(_END_OF_HEAD)
                if end < 0:
                    return
                data = data[end + len(_END_OF_HEAD) - before :]
                self._body_left = self._read_head(self._head[:end].decode("latin-1"))
                self._head.clear()
            taken = min(self._body_left, len(data))
            data = data[taken:]
            self._body_left -= taken
            if self._body_left == 0:
                self._body_left = None
                self._on_end()

    def _read_head(self, head: str) -> int:
        line, *fields = head.split("\r\n")
        pairs = (field.partition(":") for field in fields)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        if "transfer-encoding" in headers:
            raise ValueError("the balancer reads no chunked bodies")
        self._on_head(line, headers)
        return int(headers.get("content-length", "0"))
