"""An example client. It needs no packages, keeps a deadline, limits its retries and obeys Retry-After.

    python3 examples/client.py photograph.jpg [http://127.0.0.1:8080]

The client retries only after refusals for lack of capacity (503), after an exhausted quota (429) and after
broken connections: these cost the server little, and a later attempt may succeed. At most a tenth of all
requests are retries, so that a client never doubles the load of a server that is already overloaded.
"""

import http.client
import json
import random
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

DEADLINE_SECONDS = 5.0
MARGIN_SECONDS = 0.1  # the server's deadline ends earlier, so that its 504 still arrives
RETRY_SHARE = 0.1
RETRY_RESERVE = 3.0  # the most retries that can accumulate
USUAL_PAUSE_SECONDS = 1.0  # if Retry-After is missing or is a date


class Refused(Exception):
    """An answer other than 200; `problem` is the server's reason, or empty if a proxy answered."""

    def __init__(self, status: int, retry_after_seconds: float, body: bytes) -> None:
        try:
            self.problem = dict(json.loads(body))
        except (ValueError, TypeError):
            self.problem = {}
        super().__init__(f"{status}: {self.problem.get('detail') or body[:200].decode(errors='replace')}")
        self.status = status
        self.retry_after_seconds = retry_after_seconds


class PoseClient:
    """A connection and a retry budget. Create one per thread and keep it while the program runs."""

    def __init__(self, url: str, token: str | None = None) -> None:
        address = urlsplit(url)
        kind = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
        self._http = kind(address.netloc)
        self._path = address.path.rstrip("/") + "/v1/detect"
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._budget = RETRY_RESERVE

    def detect(self, picture: bytes, deadline_seconds: float = DEADLINE_SECONDS) -> dict[str, Any]:
        """Return the server's answer, retries and pauses included, within the deadline.

        Raises Refused, OSError or http.client.HTTPException for a broken connection, and TimeoutError
        when time is up.
        """
        end = time.monotonic() + deadline_seconds
        self._budget = min(RETRY_RESERVE, self._budget + RETRY_SHARE)
        attempt = 0
        while True:
            attempt += 1
            try:
                return self._attempt(picture, end)
            except Refused as refused:
                if refused.status not in (429, 503):
                    raise
                failure: Exception = refused
                pause = refused.retry_after_seconds
            except TimeoutError:
                raise
            except (OSError, http.client.HTTPException) as error:
                failure = error
                pause = random.uniform(0, 0.1 * 2**attempt)  # noqa: S311
            if self._budget < 1 or time.monotonic() + pause >= end:
                raise failure
            self._budget -= 1
            time.sleep(pause)

    def _attempt(self, picture: bytes, end: float) -> dict[str, Any]:
        seconds_left = max(0.001, end - time.monotonic())
        milliseconds = max(1, round((seconds_left - MARGIN_SECONDS) * 1000))
        headers = {**self._headers, "X-Request-Timeout-Ms": str(milliseconds)}
        try:
            with _cut_off_after(seconds_left, self._connected(seconds_left)):
                self._http.request("POST", self._path, picture, headers)
                response = self._http.getresponse()
                body = response.read()
        except (OSError, http.client.HTTPException) as error:
            self._http.close()
            if time.monotonic() >= end:
                raise TimeoutError(f"no answer within {seconds_left:.1f} s") from error
            raise
        if response.status != 200:
            raise Refused(response.status, _seconds(response.headers.get("Retry-After", "")), body)
        answer: dict[str, Any] = json.loads(body)
        return answer

    def _connected(self, seconds: float) -> socket.socket:
        if self._http.sock is None:
            self._http.timeout = seconds
            self._http.connect()
        connection: socket.socket = self._http.sock
        connection.settimeout(seconds)
        return connection

    def close(self) -> None:
        self._http.close()


@contextmanager
def _cut_off_after(seconds: float, connection: socket.socket) -> Iterator[None]:
    """Limit the time of a whole exchange; the socket's time-out restarts with each byte received."""

    def cut_off() -> None:
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, cut_off)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _seconds(retry_after: str) -> float:
    """Return the pause in seconds, never less than the server asked for."""
    return float(retry_after) if retry_after.isdecimal() else USUAL_PAUSE_SECONDS


def main() -> None:
    picture = Path(sys.argv[1]).read_bytes()
    client = PoseClient(sys.argv[2] if len(sys.argv) > 2 else "http://127.0.0.1:8080")
    for person in client.detect(picture)["people"]:
        for mark in person["landmarks"]:
            print(f"{mark['name']:>18} {mark['x']:.3f} {mark['y']:.3f} {mark['visibility']:.2f}")
    client.close()


if __name__ == "__main__":
    main()
