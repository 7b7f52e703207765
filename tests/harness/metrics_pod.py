"""Fake admin ports of pods: real sockets on loopback that serve /metrics correctly, or with a chosen fault.

    with MetricsPods() as pods:  # port 9090, as pods have; MetricsPods(port=...) for another
        address = pods.start()  # a free address; or pods.start("127.4.5.6")
        pods.set_load(address, per_second=40, service_seconds=0.05, queued=3)
        pods.set_fault(address, Fault.SILENT)  # None: answers well again
        pods.restart(address)  # counters from 0, a new start time
        assert pods.scrapes(address) > 0

Counters grow with real time by the load that was last set (none at first), as the inference server's do,
with its names, its form and `name[]`. Methods may be called from any thread; each takes milliseconds and has
taken effect when it returns. Only the given addresses listen. The pods run in a thread with its own event
loop; `close`, or the end of `with`, ends it and every connection.
"""

import asyncio
import random
import socket
import threading
import time
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Self, TypeVar
from urllib.parse import SplitResult, parse_qs, urlsplit

from harness.metrics_text import HUGE_BYTES, Counters, Fault, Load, body, bomb, huge, packed_filler

__all__ = ["PORT", "Fault", "Load", "MetricsPods"]

_T = TypeVar("_T")
PORT = 9090
_DRIBBLE_SECONDS = 0.05
_CALL_SECONDS = 10.0
_KEPT_HEADS = 8
_ATTEMPTS = 100
# what the kernel takes beyond what the client reads; if it were large, `bytes_sent` would say little
_SEND_BUFFER_BYTES = 1 << 15
_ELSEWHERE = "/elsewhere"
_INTERIM = b"HTTP/1.1 102 Processing\r\n\r\n" * 1_000


@dataclass(slots=True, eq=False)
class _Pod:
    address: str
    counters: Counters
    server: asyncio.Server | None = None
    fault: Fault | None = None
    frozen: Counters | None = None
    scrapes: int = 0
    redirect_hits: int = 0
    accepted: int = 0
    bytes_sent: int = 0
    heads: list[str] = field(default_factory=list)
    writers: set[asyncio.StreamWriter] = field(default_factory=set)


class MetricsPods:
    """Pods by address; see the module."""

    def __init__(self, *, port: int = PORT) -> None:
        self.port = port
        self._pods: dict[str, _Pod] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="metrics-pods", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def start(self, address: str | None = None) -> str:
        """Listen on the address, or on some free one; returns it. OSError if it is taken."""
        for _ in range(_ATTEMPTS if address is None else 1):
            chosen = address or "127." + ".".join(str(random.randint(1, 250)) for _ in range(3))
            pod = _Pod(chosen, Counters(time.monotonic(), time.time(), Load()))
            try:
                self._call(_listen(pod, self.port))
            except OSError:
                if address is not None:
                    raise
                continue
            self._pods[chosen] = pod
            return chosen
        raise OSError(f"no free loopback address with port {self.port}")

    def stop(self, address: str) -> None:
        """End a pod: its port and its connections are gone, and the address is free."""
        self._call(_hang_up(self._pods.pop(address)))

    def addresses(self) -> list[str]:
        """Of the pods that were started and not stopped."""
        return list(self._pods)

    def set_load(self, address: str, **load: float) -> None:
        """From now on this load and no other: the fields of `Load`, which is nothing by default."""
        self._call(_change_load(self._pods[address], Load(**load)))

    def set_fault(self, address: str, fault: Fault | None) -> None:
        """Apply this fault from the next request on (ABSENT: now); the counters still grow."""
        self._call(_change_fault(self._pods[address], fault, self.port))

    def restart(self, address: str, **counters: float) -> None:
        """Simulate a new process: counters at 0 or these, a new start time, cut connections."""
        self._call(_start_anew(self._pods[address], counters))

    def scrapes(self, address: str) -> int:
        """Requests for /metrics so far, answered or not."""
        return self._pods[address].scrapes

    def accepted(self, address: str) -> int:
        """Connections so far."""
        return self._pods[address].accepted

    def connected(self, address: str) -> int:
        """Connections that are open now, as the pod sees it."""
        return len(self._pods[address].writers)

    def bytes_sent(self, address: str) -> int:
        """Bytes that the kernel took from the pod: what the client read and some buffers of 64 KiB."""
        return self._pods[address].bytes_sent

    def heads(self, address: str) -> list[str]:
        """The last few requests, each up to its blank line."""
        return list(self._pods[address].heads)

    @property
    def redirect_hits(self) -> int:
        """Requests, to any pod, for where Fault.REDIRECT points to."""
        return sum(pod.redirect_hits for pod in self._pods.values())

    def close(self) -> None:
        """End all pods and the thread."""
        for address in self.addresses():
            self.stop(address)
        self._call(_end_tasks())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CALL_SECONDS)
        self._loop.close()

    def _call(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_CALL_SECONDS)


async def _listen(pod: _Pod, port: int) -> None:
    listener = socket.socket()
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        listener.bind((pod.address, port))
        pod.server = await asyncio.start_server(partial(_serve, pod), sock=listener)
    except OSError:
        listener.close()
        raise


async def _hang_up(pod: _Pod) -> None:
    if pod.server is not None:
        pod.server.close()
        pod.server = None
    for writer in list(pod.writers):
        writer.transport.abort()


async def _change_load(pod: _Pod, load: Load) -> None:
    pod.counters = replace(pod.counters.until(time.monotonic()), load=load)


async def _change_fault(pod: _Pod, fault: Fault | None, port: int) -> None:
    if fault is Fault.BOMB:
        packed_filler()  # now, not while somebody measures the answer's time
    pod.fault = fault
    pod.frozen = pod.counters.until(time.monotonic()) if fault is Fault.STALE else None
    if fault is Fault.ABSENT:
        await _hang_up(pod)
    elif pod.server is None:
        await _listen(pod, port)


async def _start_anew(pod: _Pod, counters: Mapping[str, float]) -> None:
    for writer in list(pod.writers):
        writer.transport.abort()
    pod.counters = Counters(time.monotonic(), time.time(), pod.counters.load, **counters)


async def _end_tasks() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _serve(pod: _Pod, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    pod.accepted += 1
    pod.writers.add(writer)
    writer.transport.set_write_buffer_limits(high=0)
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            pod.heads = [*pod.heads[1 - _KEPT_HEADS :], head]
            if not await _answer(pod, reader, writer, urlsplit(head.split(" ", 2)[1])):
                return
    except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
        pass
    finally:
        pod.writers.discard(writer)
        writer.close()


async def _answer(
    pod: _Pod, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: SplitResult
) -> bool:
    """Answer one request; whether the connection may be used again."""
    fault, now = pod.fault, pod.counters.until(time.monotonic())
    send = partial(_send, pod, writer)
    names = parse_qs(target.query).get("name[]", ())
    if target.path == _ELSEWHERE:
        pod.redirect_hits += 1
        await send(_head(200, len(text := body(now, names, None))) + text)
        return True
    if target.path != "/metrics":
        await send(_head(404, 0))
        return True
    pod.scrapes += 1
    text = body(pod.frozen or now, names, fault)
    match fault:
        case Fault.SILENT:
            await reader.read()
        case Fault.SLOW:
            for byte in _head(200, len(text)) + text:
                await send(bytes((byte,)))
                await asyncio.sleep(_DRIBBLE_SECONDS)
        case Fault.ERROR:
            await send(_head(500, len(text)) + text)
        case Fault.REDIRECT:
            await send(_head(302, 0, f"Location: {_ELSEWHERE}?{target.query}"))
        case Fault.HUGE:
            await send(_head(200, None, "Transfer-Encoding: chunked"))
            for part in huge(text):
                await send(b"%x\r\n%b\r\n" % (len(part), part))
            await send(b"0\r\n\r\n")
        case Fault.HUGE_DECLARED:
            await send(_head(200, HUGE_BYTES))
            for part in huge(text):
                await send(part)
        case Fault.BOMB:
            packed = bomb(text)
            await send(_head(200, len(packed), "Content-Encoding: gzip") + packed)
        case Fault.ENDLESS:
            while True:
                await send(_INTERIM)
        case Fault.CUT:
            await send(_head(200, 2 * len(text)) + text)
            return False
        case Fault.UNBOUNDED:
            await send(_head(200, None, "Connection: close") + text.rstrip()[:-1])
            return False
        case _:
            await send(_head(200, len(text)) + text)
    return True


async def _send(pod: _Pod, writer: asyncio.StreamWriter, part: bytes) -> None:
    writer.write(part)
    await writer.drain()
    pod.bytes_sent += len(part)


def _head(status: int, length: int | None, *lines: str) -> bytes:
    known = () if length is None else (f"Content-Length: {length}",)
    kind = "Content-Type: text/plain; version=0.0.4; charset=utf-8"
    return "\r\n".join((f"HTTP/1.1 {status} Status", kind, *known, *lines, "", "")).encode()
