"""The HTTP session of kopf, whose middleware adds credentials, waits between requests, and reports activity.

The middleware detects bookmarks, which show that a quiet watch works. kopf does not pass them to handlers.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import aiohttp
from yarl import URL

from posecluster_operator import __version__
from posecluster_operator.admin.health import Health, Watch
from posecluster_operator.kube.credentials import Access
from posecluster_operator.kube.responses import retry_after_seconds

_LONGEST_WAIT_SECONDS = 60.0
# kopf reopens a broken watch without a pause
_BETWEEN_WATCHES_SECONDS = 1.0
_OUTAGE_CODES = frozenset({429, *range(500, 600)})
_DENIED = 403


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """Callbacks of the session, which are called in kopf's thread."""

    health: Health
    call: Callable[[str, str], None]  # verb and status code of each call; `error` without a response
    asked: Callable[[Watch], None]  # kopf sends a list or watch request
    listed: Callable[[], None]  # a list is complete; deletions before it may have caused no event


def open_session(access: Access, listener: Listener) -> aiohttp.ClientSession:
    """Return a session for the running loop. The caller closes it."""
    connector = aiohttp.TCPConnector(limit=0, ssl=access.ssl if access.ssl is not None else True)
    return aiohttp.ClientSession(
        connector=connector,
        proxy=access.proxy,
        headers={"User-Agent": f"posecluster-operator/{__version__}"},
        cookie_jar=aiohttp.DummyCookieJar(),
        middlewares=(_Middleware(access, listener),),
    )


def describe(url: URL) -> tuple[str, Watch]:
    """Return the verb (`list`, `watch`, or `get` for discovery) and the resource of a request."""
    parts = url.path.strip("/").split("/")
    namespace = ""
    if "namespaces" in parts[:-1]:
        namespace = parts[parts.index("namespaces") + 1]
    # /api/v1/pods, /apis/apps/v1/deployments, each also with /namespaces/NAME/; shorter paths are discovery
    kind_at = (2 if parts[0] == "api" else 3) + (2 if namespace else 0)
    if len(parts) != kind_at + 1:
        return "get", Watch("", "")
    verb = "watch" if url.query.get("watch") == "true" else "list"
    return verb, Watch(parts[kind_at], namespace)


class _Middleware:
    def __init__(self, access: Access, listener: Listener) -> None:
        self._access, self._listener = access, listener
        self._not_before: dict[str, float] = {}

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        verb, watch = describe(request.url)
        if verb != "get":
            self._listener.asked(watch)
        await self._wait(request.url.path, verb)
        request.headers.update(await self._access.authorization())
        if self._access.tls_server_name:
            request.server_hostname = self._access.tls_server_name
        try:
            response = await handler(request)
        except (aiohttp.ClientError, OSError):  # time-outs are OSErrors
            self._listener.call(verb, "error")
            self._listener.health.heard(watch)
            raise
        self._listener.call(verb, str(response.status))
        self._note_denial(verb, watch, response.status)
        if response.status in _OUTAGE_CODES:
            self._listener.health.heard(watch)
            self._put_off(request.url.path, retry_after_seconds({}, response.headers))
        elif response.status == 401:
            self._access.expire()
        elif response.status == 200 and verb == "list":
            self._listener.health.heard(watch)
            if "continue" not in request.url.query:
                self._listener.listed()
        elif response.status == 200 and verb == "watch":
            self._listener.health.opened(watch)
            response.content = _Heard(response.content, lambda: self._listener.health.heard(watch))  # type: ignore[assignment]
        return response

    def _note_denial(self, verb: str, watch: Watch, status: int) -> None:
        """Note whether the API server denies a read; kopf repeats it until it is allowed."""
        if verb == "get":
            return
        read, namespaces = f"{verb} {watch.resource}", self._listener.health.namespaces
        if status == _DENIED:
            self._listener.health.heard(watch)
            namespaces.deny(watch.namespace, read, f"{read}: {status}")
        elif status == 200:
            namespaces.allow(watch.namespace, read)

    async def _wait(self, path: str, verb: str) -> None:
        await asyncio.sleep(max(0.0, self._not_before.get(path, 0.0) - time.monotonic()))
        if verb == "watch":
            self._put_off(path, _BETWEEN_WATCHES_SECONDS)

    def _put_off(self, path: str, seconds: float) -> None:
        self._not_before[path] = time.monotonic() + min(seconds, _LONGEST_WAIT_SECONDS)


class _Heard:
    """A response's stream that reports each chunk that kopf reads."""

    def __init__(self, stream: aiohttp.StreamReader, heard: Callable[[], None]) -> None:
        self._stream, self._heard = stream, heard

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        async for chunk in self._stream.iter_chunked(size):
            self._heard()
            yield chunk

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)
