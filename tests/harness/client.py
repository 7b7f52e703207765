"""One plain HTTP exchange on a new connection, for assertions on a single answer.

Blocking: in an async test call it through `asyncio.to_thread`.
"""

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer; header names compare without case."""

    status: int
    headers: Message
    body: bytes

    def json(self) -> Any:
        """The body as JSON; raises ValueError if it is not JSON."""
        return json.loads(self.body)

    @property
    def reason(self) -> str | None:
        """The stable reason of a problem document; None for any other answer."""
        if self.headers.get_content_type() != "application/problem+json":
            return None
        reason: str = self.json()["reason"]
        return reason

    @property
    def retry_after(self) -> int | None:
        """Retry-After in seconds, None if absent."""
        value = self.headers.get("Retry-After")
        return int(value) if value is not None else None


def request(
    method: str,
    url: str,
    *,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    timeout_seconds: float = 15.0,
) -> Reply:
    """Send one request and read its whole answer; raises OSError or http.client.HTTPException."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout_seconds)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request(
            method, target or "/", body=body, headers={"Connection": "close", **(headers or {})}
        )
        answer = connection.getresponse()
        return Reply(answer.status, answer.headers, answer.read())
    finally:
        connection.close()


def get(url: str, *, headers: Mapping[str, str] | None = None, timeout_seconds: float = 15.0) -> Reply:
    """GET, see `request`."""
    return request("GET", url, headers=headers, timeout_seconds=timeout_seconds)


def post(
    url: str, body: bytes, *, headers: Mapping[str, str] | None = None, timeout_seconds: float = 15.0
) -> Reply:
    """POST, see `request`."""
    return request("POST", url, body=body, headers=headers, timeout_seconds=timeout_seconds)
