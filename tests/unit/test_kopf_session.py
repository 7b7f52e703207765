"""The HTTP session that kopf watches with, against a server on loopback: credentials, waits, health."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any, cast

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from posecluster_operator.admin.health import Health, Reply, Watch
from posecluster_operator.kube.credentials import Access
from posecluster_operator.watch.kopf_session import Listener, describe, open_session

pytestmark = pytest.mark.unit

PODS = "/api/v1/pods"


@pytest.mark.parametrize(
    ("url", "verb", "watch"),
    [
        ("/api/v1/pods?limit=500", "list", Watch("pods", "")),
        ("/api/v1/namespaces/a/pods?watch=true", "watch", Watch("pods", "a")),
        ("/apis/apps/v1/deployments", "list", Watch("deployments", "")),
        ("/apis/apps/v1/namespaces/a/deployments?watch=true", "watch", Watch("deployments", "a")),
        ("/api", "get", Watch("", "")),
        ("/api/v1", "get", Watch("", "")),
        ("/apis", "get", Watch("", "")),
        ("/apis/apps/v1", "get", Watch("", "")),
        ("/version", "get", Watch("", "")),
    ],
)
def test_watch_and_list_requests_are_distinguished(url: str, verb: str, watch: Watch) -> None:
    assert describe(URL("https://server:6443" + url)) == (verb, watch)


class StubAccess:
    """What the session needs of an Access; each request gets a fresh token."""

    ssl = proxy = tls_server_name = None
    tokens = 0
    expired = 0

    async def authorization(self) -> dict[str, str]:
        self.tokens += 1
        return {"Authorization": f"Bearer {self.tokens}"}

    def expire(self) -> None:
        self.expired += 1


class Seen:
    """A server, a session to it, and what its listener received."""

    def __init__(self) -> None:
        self.answers: list[web.Response] = []
        self.requests: list[tuple[float, str]] = []
        self.calls: list[tuple[str, str]] = []
        self.asked: list[Watch] = []
        self.listed = 0
        self.now = 0.0
        self.health = Health(stall_seconds=150, clock=lambda: self.now)
        self.health.expect([Watch("pods", "")])
        self.access = StubAccess()
        self.session: Any = None
        self.url = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((time.monotonic(), request.headers["Authorization"]))
        if self.answers:
            return self.answers.pop(0)
        stream = web.StreamResponse()
        await stream.prepare(request)
        if "watch" in request.query:
            await stream.write(b'{"type": "BOOKMARK"}\n')
        return stream

    def listener(self) -> Listener:
        def listed() -> None:
            self.listed += 1

        return Listener(
            health=self.health,
            call=lambda verb, code: self.calls.append((verb, code)),
            asked=self.asked.append,
            listed=listed,
        )


@pytest.fixture
async def seen() -> AsyncIterator[Seen]:
    made = Seen()
    app = web.Application()
    app.router.add_get("/{path:.*}", made.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    async with open_session(cast(Access, made.access), made.listener()) as made.session:
        yield made
    await runner.cleanup()


async def test_each_request_has_fresh_credentials_and_is_counted(seen: Seen) -> None:
    for path in ("/apis", PODS, f"{PODS}?continue=x"):
        await (await seen.session.get(seen.url + path)).read()
    assert [token for _, token in seen.requests] == ["Bearer 1", "Bearer 2", "Bearer 3"]
    assert seen.calls == [("get", "200"), ("list", "200"), ("list", "200")]
    assert seen.asked == [Watch("pods", "")] * 2
    assert seen.listed == 1, "the pages of one list are one"


async def test_an_event_counts_as_a_sign_of_life_of_its_watch(seen: Seen) -> None:
    response = await seen.session.get(f"{seen.url}{PODS}?watch=true")
    assert seen.health.ready().ok
    seen.now = 200.0
    assert not seen.health.live().ok, "a response without an event is no sign of life"
    async with response:
        chunks = [chunk async for chunk in response.content.iter_chunked(1 << 20)]
    assert chunks == [b'{"type": "BOOKMARK"}\n']
    assert seen.health.live().ok


@pytest.mark.parametrize(
    ("status", "alive"), [(429, True), (500, True), (503, True), (403, True), (401, False)]
)
async def test_an_outage_and_a_denial_do_not_count_against_a_watch_but_silence_does(
    seen: Seen, status: int, alive: bool
) -> None:
    seen.answers.append(web.Response(status=status))
    seen.now = 200.0
    await (await seen.session.get(seen.url + PODS)).read()
    assert seen.health.live().ok is alive
    assert seen.calls == [("list", str(status))]
    assert seen.access.expired == (status == 401)
    assert seen.listed == 0


@pytest.mark.parametrize("query", ["", "?watch=true"], ids=["list", "watch"])
async def test_a_denied_read_is_noted_until_the_same_read_is_allowed(seen: Seen, query: str) -> None:
    seen.answers += [web.Response(status=403), web.Response(status=403)]
    for _ in range(2):
        await (await seen.session.get(seen.url + PODS + query)).read()
    assert seen.health.ready() == Reply(False, "not watched, because reads are denied: all namespaces")
    other = "?watch=true" if not query else ""
    async with seen.session.get(seen.url + PODS + other) as response:
        await response.content.read()
    assert not seen.health.ready().ok
    async with seen.session.get(seen.url + PODS + query) as response:
        await response.content.read()
    assert seen.health.ready().ok


async def test_a_refused_connection_is_an_outage(seen: Seen, unused_port: int) -> None:
    seen.now = 200.0
    with pytest.raises(aiohttp.ClientConnectionError):
        await seen.session.get(f"http://127.0.0.1:{unused_port}{PODS}")
    assert seen.calls == [("list", "error")]
    assert seen.health.live().ok


@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_is_obeyed(seen: Seen, status: int) -> None:
    seen.answers.append(web.Response(status=status, headers={"Retry-After": "1"}))
    await (await seen.session.get(seen.url + PODS)).read()
    await (await seen.session.get(f"{seen.url}/apis")).read()
    await (await seen.session.get(seen.url + PODS)).read()
    (first, _), (other, _), (second, _) = seen.requests
    assert second - first >= 1
    assert other - first < 0.5, "another address was made to wait"


async def test_a_watch_that_is_cut_is_not_opened_again_at_once(seen: Seen) -> None:
    for _ in range(2):
        async with seen.session.get(f"{seen.url}{PODS}?watch=true") as response:
            await response.content.read()
    (first, _), (second, _) = seen.requests
    assert 0.9 <= second - first < 2.5


@pytest.fixture
async def unused_port() -> int:
    server = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port
