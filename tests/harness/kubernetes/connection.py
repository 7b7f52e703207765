"""The player's connection to the API server: an asynchronous admin client that counts its writes."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from typing import Any

import aiohttp

from harness.kubernetes.apiserver import Server
from harness.kubernetes.resources import BY_PLURAL
from harness.kubernetes.waiting import Json

MERGE = {"Content-Type": "application/merge-patch+json"}
_JSON = {"Content-Type": "application/json"}
_AGAIN_SECONDS = 0.3
_WATCH_SECONDS = 300
_LINE_BYTES = 4 << 20
_GOODBYE_SECONDS = 2.0


class Connection:
    """Made and used in one loop; `writes` counts what was sent to change something."""

    def __init__(self, server: Server) -> None:
        context = ssl.create_default_context(cafile=str(server.ca_file))
        if server.certificate:
            context.load_cert_chain(*server.certificate)
        self.writes = 0
        self._session = aiohttp.ClientSession(
            server.url,
            connector=aiohttp.TCPConnector(ssl=context, limit=0),
            headers={"Authorization": f"Bearer {server.token}"} if server.token else {},
            timeout=aiohttp.ClientTimeout(total=None, connect=10),
            read_bufsize=_LINE_BYTES,
        )

    async def close(self) -> None:
        await close_session(self._session)

    async def send(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] = _JSON
    ) -> tuple[int, Json]:
        """One exchange: status and document. Raises aiohttp.ClientError if there is no answer."""
        self.writes += method != "GET"
        data = None if body is None else json.dumps(body).encode()
        timeout = aiohttp.ClientTimeout(total=15)
        async with self._session.request(
            method, path, data=data, headers=headers, timeout=timeout
        ) as response:
            document: Json = json.loads(await response.read() or b"{}")
            return response.status, document

    async def watch(
        self, resource: str, namespace: str | None, labels: str = ""
    ) -> AsyncIterator[tuple[str, Json]]:
        """Endless events: after each (re)connection RELISTED with the whole list, then single changes."""
        path = BY_PLURAL[resource].path(namespace)
        selector = {"labelSelector": labels} if labels else {}
        while True:
            try:
                async with self._session.get(path, params=selector) as response:
                    if response.status != 200:
                        raise aiohttp.ClientError(f"list of {resource}: {response.status}")
                    found: Json = json.loads(await response.read())
                yield "RELISTED", found
                version = found["metadata"]["resourceVersion"]
                async for event in self._events(path, selector | {"resourceVersion": version}):
                    yield event
            except (aiohttp.ClientError, TimeoutError, ConnectionError):
                await asyncio.sleep(_AGAIN_SECONDS)

    async def _events(self, path: str, query: dict[str, str]) -> AsyncIterator[tuple[str, Json]]:
        query = query | {"watch": "1", "timeoutSeconds": str(_WATCH_SECONDS)}
        async with self._session.get(path, params=query) as response:
            async for line in response.content:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    return
                yield event["type"], event["object"]


async def close_session(session: aiohttp.ClientSession) -> None:
    """Close it and let its sockets close: a loop that ends before they did warns."""
    if session.connector is not None:
        await session.connector.close()
    await session.close()
    # a cancelled watch closes its TLS connection and waits for the answer; asyncio does not report when
    loop = asyncio.get_running_loop()
    end = loop.time() + _GOODBYE_SECONDS
    while len(vars(loop)["_selector"].get_map()) > 1 and loop.time() < end:  # noqa: ASYNC110  one is the loop's own
        await asyncio.sleep(0.005)
