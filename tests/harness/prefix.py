"""A small reverse proxy that serves another server below a path, as an ingress does."""

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding"})


class _Prefixed(BaseHTTPRequestHandler):
    prefix: ClassVar[str]
    target: ClassVar[tuple[str, int]]
    protocol_version = "HTTP/1.1"

    def _forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not self.path.startswith(self.prefix):
            self._answer(404, [], b"outside of the prefix\n")
            return
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP}
        connection = http.client.HTTPConnection(*self.target, timeout=30)
        try:
            connection.request(self.command, "/" + self.path[len(self.prefix) :], body=body, headers=headers)
            answer = connection.getresponse()
            self._answer(answer.status, answer.getheaders(), answer.read())
        finally:
            connection.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in {*_HOP_BY_HOP, "content-length"}:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_HEAD = _forward

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the base class's name
        """Quiet."""


@contextmanager
def behind_prefix(target: tuple[str, int], prefix: str) -> Iterator[str]:
    """Serve `target` below `prefix` ("/a/b/") on loopback; gives the address of its first page."""
    handler = type("_Handler", (_Prefixed,), {"prefix": prefix, "target": target, "timeout": 30})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as proxy:
        proxy.daemon_threads = True
        thread = threading.Thread(target=proxy.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{proxy.server_address[1]}{prefix}"
        finally:
            proxy.shutdown()
            thread.join()
