"""The operator's admin port: /metrics, /livez, /readyz and /explain, all in plain text."""

from collections.abc import Callable

from aiohttp import web

from posecluster_common.admin_port import AdminPort
from posecluster_operator.admin.health import Reply
from posecluster_operator.settings import PREFIX

_MOST_NAMES = 64
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_CLOSE_SECONDS = 0.1


class Port:
    """HTTP server for the given data sources, which it calls for each request."""

    def __init__(
        self,
        *,
        metrics: Callable[[list[str]], bytes],
        content_type: str,
        live: Callable[[], Reply],
        ready: Callable[[], Reply],
        explain: Callable[[str, str], Reply],
    ) -> None:
        self._metrics, self._content_type, self._live, self._ready = metrics, content_type, live, ready
        self._explain = explain
        app = web.Application(client_max_size=1)
        app.router.add_get("/metrics", self._show_metrics)
        app.router.add_get("/livez", self._show_live)
        app.router.add_get("/readyz", self._show_ready)
        app.router.add_get("/explain/{namespace}/{name}", self._show_explanation)
        self._port = AdminPort(app, close_seconds=_CLOSE_SECONDS)

    async def start(self, host: str, port: int) -> list[tuple[str, int]]:
        """Listen on each address of `host` (see `listen`); return addresses and ports. Raises OSError."""
        return await self._port.start(host, port, port_setting=f"{PREFIX}PORT")

    async def stop(self) -> None:
        """Close the port and its connections."""
        await self._port.stop()

    async def _show_metrics(self, request: web.Request) -> web.Response:
        body = self._metrics(request.query.getall("name[]", [])[:_MOST_NAMES])
        return web.Response(body=body, headers={**_HEADERS, "Content-Type": self._content_type})

    async def _show_live(self, _request: web.Request) -> web.Response:
        return _answer(self._live())

    async def _show_ready(self, _request: web.Request) -> web.Response:
        return _answer(self._ready())

    async def _show_explanation(self, request: web.Request) -> web.Response:
        found = self._explain(request.match_info["namespace"], request.match_info["name"])
        return _answer(found, otherwise=404)


def _answer(reply: Reply, *, otherwise: int = 503) -> web.Response:
    status = 200 if reply.ok else otherwise
    return web.Response(text=reply.text + "\n", status=status, headers=_HEADERS)
