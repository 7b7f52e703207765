"""A client to copy: a deadline, retries within a budget, Retry-After honoured.

    python examples/client.py photograph.jpg [http://127.0.0.1:8080]

Only refusals for lack of capacity (503), the quota (429) and broken connections are tried again:
they cost the server little and may well work later. A tenth of all requests may be retries, so that
a client never doubles the load of a server that is already short of capacity.
"""

import asyncio
import random
import sys
import time
from pathlib import Path
from typing import Any

import httpx

DEADLINE_SECONDS = 5.0
MARGIN_SECONDS = 0.1  # the server is told to end earlier, so that its own 504 still arrives
RETRY_SHARE = 0.1
RETRY_RESERVE = 3.0  # retries that may be saved up
USUAL_PAUSE_SECONDS = 1.0  # where Retry-After is missing or a date


class PoseClient:
    """Keep one for the life of the program: it holds the connections and the retry budget."""

    def __init__(self, url: str, token: str | None = None) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        # httpx's own limits are per phase; `detect` bounds the whole
        self._http = httpx.AsyncClient(base_url=url, headers=headers, timeout=None)  # noqa: S113
        self._budget = RETRY_RESERVE

    async def detect(self, picture: bytes, deadline_seconds: float = DEADLINE_SECONDS) -> dict[str, Any]:
        """Return the server's answer, retries and pauses included, within the deadline.

        Raises httpx.HTTPError for a refusal or a broken connection, TimeoutError when time is up.
        """
        end = time.monotonic() + deadline_seconds
        self._budget = min(RETRY_RESERVE, self._budget + RETRY_SHARE)
        attempt = 0
        async with asyncio.timeout(deadline_seconds):
            while True:
                attempt += 1
                try:
                    return await self._attempt(picture, end - time.monotonic())
                except httpx.HTTPStatusError as error:
                    if error.response.status_code not in (429, 503):
                        raise
                    failure: httpx.HTTPError = error
                    pause = _retry_after(error.response)
                except httpx.TransportError as error:
                    failure = error
                    pause = random.uniform(0, 0.1 * 2**attempt)  # noqa: S311
                if self._budget < 1 or time.monotonic() + pause >= end:
                    raise failure
                self._budget -= 1
                await asyncio.sleep(pause)

    async def _attempt(self, picture: bytes, seconds_left: float) -> dict[str, Any]:
        milliseconds = max(1, round((seconds_left - MARGIN_SECONDS) * 1000))
        response = await self._http.post(
            "/v1/detect", content=picture, headers={"X-Request-Timeout-Ms": str(milliseconds)}
        )
        if response.status_code != 200:
            message = f"{response.status_code}: {_detail(response)}"
            raise httpx.HTTPStatusError(message, request=response.request, response=response)
        answer: dict[str, Any] = response.json()
        return answer

    async def close(self) -> None:
        await self._http.aclose()


def _retry_after(response: httpx.Response) -> float:
    """Never wait less than what is asked for."""
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else USUAL_PAUSE_SECONDS


def _detail(response: httpx.Response) -> str:
    """The problem's `detail`; a proxy in between may answer with a page of its own."""
    try:
        return str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return response.text[:200]


async def main() -> None:
    picture = Path(sys.argv[1]).read_bytes()  # noqa: ASYNC240
    client = PoseClient(sys.argv[2] if len(sys.argv) > 2 else "http://127.0.0.1:8080")
    for person in (await client.detect(picture))["people"]:
        for mark in person["landmarks"]:
            print(f"{mark['name']:>18} {mark['x']:.3f} {mark['y']:.3f} {mark['visibility']:.2f}")
    await client.close()


if __name__ == "__main__":
    asyncio.run(main())
