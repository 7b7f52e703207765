"""A caller at an address of 127.0.0.0/8, which the server treats as another host, on one connection."""

import http.client
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from harness.client import Reply
from harness.server import ServerProcess
from harness.stub import DETECT


@dataclass(slots=True)
class Caller:
    """Someone at an address, on one kept connection."""

    server: ServerProcess
    address: str = "127.0.0.1"
    _connection: http.client.HTTPConnection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        if self._connection is None:
            self._connection = http.client.HTTPConnection(
                "127.0.0.1", self.server.port, timeout=10, source_address=(self.address, 0)
            )
        self._connection.request(method, path, body=body, headers=dict(headers or {}))
        answer = self._connection.getresponse()
        return Reply(answer.status, answer.headers, answer.read())

    def detect(self, picture: bytes, headers: Mapping[str, str] | None = None) -> Reply:
        return self.ask("POST", DETECT, picture, headers)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
