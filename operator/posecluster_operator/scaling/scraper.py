"""Concurrent scraping of pods' /metrics into samples, each within limits of time and bytes.

Users choose the image of pods, so a pod may be malicious. It must not affect the scrapes of other pods.
"""

import asyncio
import ipaddress
import logging
import socket
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
from yarl import URL

from posecluster_operator import __version__
from posecluster_operator.scaling.exposition import NAMES, BadMetrics, read_sample
from posecluster_operator.scaling.policy.demand import PodSample
from posecluster_operator.scaling.policy.windows import WINDOWS

logger = logging.getLogger(__name__)

# CPU time of one scrape of a real server: request, answer, reading. tests/component/test_scraper.py
# measures it; 0.33-0.47 ms on the two cores of docs/performance.md.
SCRAPE_SECONDS = 0.0005
_MOST_OF_A_CORE = 0.25
# Scrapes start in groups of this size, separated by twice their CPU time, so that the Lease and the watches
# are processed in between, and no scrape times out because of the others.
_TOGETHER = 100
# Maximum size of a read. A normal response has 2 KiB, and the worst 16 KiB take a millisecond.
_READ_BYTES = 1 << 14
# Limit until the response's head is complete. A normal head has 150 bytes and arrives with the first read.
# Interim responses may precede it and are expensive to parse: 15 ms for 256 KiB.
_HEAD_BYTES = 2 * _READ_BYTES
_KERNEL_BYTES = 1 << 16  # the kernel's receive buffer, which may grow to 6 MiB by default
_KEPT_SECONDS = 60.0  # how long an unused connection stays open; longer than any interval
# failures without any response, as of a pod on a failed node
UNANSWERED = ("no response in time", "pod cannot be reached")
_HEADERS = {"User-Agent": f"posecluster-operator/{__version__}", "Accept-Encoding": "identity"}
_QUERY = [("name[]", name) for name in NAMES]


@dataclass(frozen=True, slots=True)
class Target:
    """A pod's admin port; `pod` is its uid, `host` its address, `node` the name of its node."""

    pod: str
    name: str
    host: str
    port: int = 9090
    node: str = ""


def interval_seconds(pods: int, *, least: float = WINDOWS.tick_seconds) -> float:
    """Return the seconds between scrapes of so many pods: `least`, or more to stay below 25 % of a core."""
    return max(least, pods * SCRAPE_SECONDS / _MOST_OF_A_CORE)


class Scraper:
    """Scrapes pods. `scrape` must not be called concurrently."""

    def __init__(
        self,
        *,
        seconds: float = WINDOWS.scrape_seconds,
        most_bytes: int = 262_144,
        connections: int = sys.maxsize,
        monotonic: Callable[[], float],
    ) -> None:
        self._seconds, self._most_bytes, self._monotonic = seconds, most_bytes, monotonic
        self._connections = connections
        self._clients: dict[Target, _Client] = {}
        self._warned = False

    async def scrape(self, targets: Sequence[Target]) -> dict[str, PodSample | str]:
        """Return by uid each pod's sample or the failure; each scrape takes at most `seconds`.

        Scrapes start in groups of 100, 0.1 s apart. A connection is reused for the pod's next scrape, and
        closed when the pod is no longer among the targets. If there are more pods than `connections`, half of
        the connections are reused, and the remaining pods share the other half.
        """
        wanted = {target.pod: target for target in targets}
        keep = len(wanted)
        if keep > self._connections:
            self._warn(keep)
            keep = self._connections // 2
        keeps = {target: number < keep for number, target in enumerate(wanted.values())}
        await self._forget([one for one, client in self._clients.items() if keeps.get(one) != client.keeps])
        turns = asyncio.Semaphore(self._connections - keep)
        async with asyncio.TaskGroup() as group:
            tasks = {}
            for number, (pod, target) in enumerate(wanted.items()):
                if number and number % _TOGETHER == 0:
                    await asyncio.sleep(2 * _TOGETHER * SCRAPE_SECONDS)
                ask = self._ask(target) if keeps[target] else self._ask_in_turn(target, turns)
                tasks[pod] = group.create_task(ask)
        return {pod: task.result() for pod, task in tasks.items()}

    def _warn(self, pods: int) -> None:
        if not self._warned:
            self._warned = True
            fields = {"pods": pods, "connections": self._connections}
            logger.warning(
                "Limit on open files is too low, pods are scraped in turns", extra={"fields": fields}
            )

    async def close(self) -> None:
        """Close all connections."""
        await self._forget(list(self._clients))

    async def _forget(self, targets: Iterable[Target]) -> None:
        for target in targets:
            await self._clients.pop(target).close()

    async def _ask_in_turn(self, target: Target, turns: asyncio.Semaphore) -> PodSample | str:
        async with turns:
            return await self._ask(target, keep=False)

    async def _ask(self, target: Target, *, keep: bool = True) -> PodSample | str:
        try:
            client = self._clients.get(target)
            if client is None:
                client = self._clients[target] = _Client(target, keeps=keep)
        except ValueError:
            return "invalid pod IP address"
        try:
            async with asyncio.timeout(self._seconds):
                text = await client.text(self._most_bytes)
            return read_sample(text, name=target.pod, at=self._monotonic())
        except _NoText as error:
            return str(error)
        except BadMetrics as error:
            return f"unreadable metrics: {error}"
        except TimeoutError:
            return UNANSWERED[0]
        except (aiohttp.ClientError, OSError) as error:
            return "response too large" if client.left <= 0 else _phrase(error)


class _NoText(Exception):
    """The response is not that of an inference server; the text says why."""


class _Client:
    """The connection to one pod, in a separate session, so that no other pod reuses it.

    Without `keeps` the connection is closed after each answer.
    """

    def __init__(self, target: Target, *, keeps: bool) -> None:
        self.keeps = keeps
        host = str(ipaddress.ip_address(target.host))  # avoids name resolution; raises ValueError
        url = URL.build(scheme="http", host=host, port=target.port, path="/metrics")
        self.left = 0  # bytes that may still be read
        self._url = url.with_query(_QUERY)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=1,
                # aiohttp refuses keepalive_timeout together with force_close
                **({"keepalive_timeout": _KEPT_SECONDS} if keeps else {"force_close": True}),
                socket_factory=self._socket,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None),  # the caller limits the total time
            headers=_HEADERS,
        )

    async def text(self, most_bytes: int) -> bytes:
        """Return the body of a 200 with at most this size; raises _NoText, ClientError and OSError."""
        self.left = min(_HEAD_BYTES, most_bytes)
        async with self._session.get(self._url, allow_redirects=False) as response:
            self.left += most_bytes - min(_HEAD_BYTES, most_bytes)
            if 300 <= response.status < 400:
                raise _NoText("response is a redirect")
            if response.status != 200:
                raise _NoText("response has an error status")
            if (response.content_length or 0) > most_bytes:
                raise _NoText("response too large")
            # without a length, a truncated response cannot be detected
            if not any(name in response.headers for name in ("Content-Length", "Transfer-Encoding")):
                raise _NoText("unreadable metrics: the response has no length")
            if "Content-Encoding" in response.headers:
                raise _NoText("unreadable metrics: the response is compressed")
            return await response.read()

    async def close(self) -> None:
        await self._session.close()

    def _socket(self, address: tuple[Any, ...]) -> socket.socket:
        made = _Socket(address[0], address[1], address[2])
        made.client = self
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _KERNEL_BYTES)
        return made


class _Socket(socket.socket):
    """Limits the bytes that its client receives: aiohttp limits headers, but not the number of responses.

    The event loop reads only with `recv`; a test detects if this changes (Fault.ENDLESS).
    """

    client: _Client

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        if self.client.left <= 0:
            raise ConnectionAbortedError
        part = super().recv(min(size, _READ_BYTES, self.client.left), flags)
        self.client.left -= len(part)
        return part


def _phrase(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        refused = isinstance(error.os_error, ConnectionRefusedError)
        return "connection refused" if refused else UNANSWERED[1]
    if isinstance(error, aiohttp.ClientResponseError):
        return "response is not HTTP"
    return "connection closed during the response"
