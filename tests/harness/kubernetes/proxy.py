"""The fault proxy: plain HTTP on loopback, in front of a real API server.

    with FaultProxy(api.server) as proxy, proxy.fault(verb="write", do="answer", status=429, retry_after=2):
        ...

It runs in a thread with its own event loop, forwards the caller's token and unbuffered watches, follows
rules that may change at any time, and records every call. Each `door` is a separate port, so that calls
of several callers can be distinguished.
"""

import asyncio
import ssl
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, TypeVar

import aiohttp
from aiohttp import web

from harness.kubernetes.apiserver import Server
from harness.kubernetes.calls import Call, Rule, read_call
from harness.kubernetes.forwarding import Forwarder, now, reset

__all__ = ["Call", "FaultProxy", "Rule"]

FIRST_DOOR = "operator"
_WAIT_SECONDS = 10.0
Result = TypeVar("Result")


class FaultProxy:
    """A running proxy. Methods may be called from any thread but its own."""

    def __init__(self, server: Server) -> None:
        self.calls: list[Call] = []
        self._rules: tuple[Rule, ...] = ()
        self._lock = threading.Lock()
        self._doors: dict[str, int] = {}
        self._listeners: dict[str, asyncio.Server] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)
        # no client certificate: only the caller's token identifies the caller
        context = ssl.create_default_context(cafile=str(server.ca_file))
        self._forwarder = Forwarder(server.url, context, lambda: self._rules)
        self._http: web.Server | None = None

    def __enter__(self) -> "FaultProxy":
        self._thread.start()
        self.door(FIRST_DOOR)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_WAIT_SECONDS)
        self._loop.close()

    @property
    def url(self) -> str:
        """Of the first door."""
        return self.door(FIRST_DOOR)

    def door(self, name: str) -> str:
        """Another port, opened when first asked for; its URL."""
        if name not in self._doors:
            self._do(self._listen(name))
        return f"http://127.0.0.1:{self._doors[name]}"

    def add(self, rule: Rule) -> Rule:
        """From now on; earlier rules win over later ones, but all `pass` rules act."""
        with self._lock:
            self._rules = (*self._rules, rule)
        self._changed()
        return rule

    def remove(self, rule: Rule) -> None:
        """What hangs on it is reset; that it is gone already is fine."""
        with self._lock:
            self._rules = tuple(one for one in self._rules if one is not rule)
        self._changed()

    def clear(self) -> None:
        """Remove all rules."""
        with self._lock:
            self._rules = ()
        self._changed()

    @contextmanager
    def fault(self, **fields: Any) -> Iterator[Rule]:
        """A rule for as long as the block runs."""
        rule = self.add(Rule(**fields))
        try:
            yield rule
        finally:
            self.remove(rule)

    @contextmanager
    def refuse(self) -> Iterator[None]:
        """An outage: nothing listens, all connections are reset; afterwards the same ports again."""
        self._do(self._shut())
        try:
            yield
        finally:
            for name in self._doors:
                self._do(self._listen(name))

    def find(
        self, *, verb: str = "*", resource: str = "*", name: str = "*", door: str = "*", since: float = 0.0
    ) -> list[Call]:
        """Calls that match patterns as in a Rule and started at `since` or later."""
        pattern = Rule(verb=verb, resource=resource, name=name, door=door)
        return [one for one in list(self.calls) if one.time >= since and pattern.describes(one)]

    def writes(self, *, since: float = 0.0, door: str = "*", lease: bool = False) -> list[Call]:
        """Calls that change something; the Lease's only when asked for."""
        found = self.find(verb="write", door=door, since=since)
        return [one for one in found if lease or one.resource != "leases"]

    def open_watches(self, resource: str = "*") -> list[Call]:
        """Watches that run now."""
        found = self.find(verb="watch", resource=resource)
        return [one for one in found if one.status == 200 and not one.ended]

    def _changed(self) -> None:
        with suppress(RuntimeError):  # closed
            self._loop.call_soon_threadsafe(self._forwarder.changed)

    def _do(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_WAIT_SECONDS)

    async def _listen(self, name: str) -> None:
        if self._http is None:
            self._http = web.Server(self._handle, handler_cancellation=True, access_log=None)
        listener = await self._loop.create_server(self._http, "127.0.0.1", self._doors.get(name, 0))
        self._listeners[name] = listener
        self._doors[name] = listener.sockets[0].getsockname()[1]

    async def _shut(self) -> None:
        for listener in self._listeners.values():
            listener.close()
        self._listeners.clear()
        for connection in self._http.connections if self._http is not None else ():
            if (transport := getattr(connection, "transport", None)) is not None:
                reset(transport)
        # connections are lost, and their handlers cancelled, in the next turns of the loop
        await asyncio.sleep(0)

    async def _close(self) -> None:
        await self._shut()
        if self._http is not None:
            await self._http.shutdown(1.0)
        await self._forwarder.close()
        await _settle()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        call = read_call(
            now(), request.method, request.path, request.query, request.headers, door=self._door_of(request)
        )
        self.calls.append(call)
        try:
            return await self._forwarder.serve(request, call)
        except (aiohttp.ClientError, ConnectionError):
            # the API server is away, or the caller left: pass it on as what it is
            if request.transport is not None:
                reset(request.transport)
            return web.Response(status=502)
        finally:
            call.ended = now()

    def _door_of(self, request: web.BaseRequest) -> str:
        name: Callable[[str], Any] = request.transport.get_extra_info if request.transport else lambda _: None
        address = name("sockname") or ("", 0)
        return next((door for door, port in self._doors.items() if port == address[1]), "")


async def _settle() -> None:
    """Let what was cancelled end: a loop closed over live tasks warns."""
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
