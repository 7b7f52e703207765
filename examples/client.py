"""A client to copy: a deadline, retries within a budget, Retry-After honoured.

    python examples/client.py photograph.jpg [http://127.0.0.1:8080]

Only refusals for lack of capacity (503), the quota (429) and broken connections are tried again:
they cost the server little and may well work later. A tenth of all requests may be retries, so that
a client never doubles the load of a server that is already short of capacity.
"""

import random
import sys
import time
from pathlib import Path
from typing import Any

import httpx

DEADLINE_SECONDS = 5.0
RETRY_SHARE = 0.1
RETRY_RESERVE = 3.0  # retries that may be saved up
LONGEST_PAUSE_SECONDS = 60.0


class PoseClient:
    """Keep one for the life of the program: it holds the connections and the retry budget."""

    def __init__(self, url: str, token: str | None = None) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.Client(base_url=url, headers=headers)
        self._budget = RETRY_RESERVE

    def detect(self, picture: bytes, deadline_seconds: float = DEADLINE_SECONDS) -> dict[str, Any]:
        """Return the server's answer; raises httpx.HTTPError when none came in time."""
        end = time.monotonic() + deadline_seconds
        self._budget = min(RETRY_RESERVE, self._budget + RETRY_SHARE)
        attempt = 0
        while True:
            attempt += 1
            left = max(0.001, end - time.monotonic())
            try:
                response = self._http.post(
                    "/v1/detect",
                    content=picture,
                    headers={"X-Request-Timeout-Ms": str(max(1, round(left * 1000)))},
                    timeout=left,
                )
                if response.status_code not in (429, 503):
                    response.raise_for_status()
                    answer: dict[str, Any] = response.json()
                    return answer
                pause = float(response.headers.get("Retry-After", 1))
                failure: httpx.HTTPError = httpx.HTTPStatusError(
                    response.json()["detail"], request=response.request, response=response
                )
            except httpx.TransportError as error:
                pause = random.uniform(0, 0.1 * 2**attempt)  # noqa: S311
                failure = error
            if self._budget < 1 or time.monotonic() + pause >= end:
                raise failure
            self._budget -= 1
            time.sleep(min(pause, LONGEST_PAUSE_SECONDS))


def main() -> None:
    picture = Path(sys.argv[1]).read_bytes()
    client = PoseClient(sys.argv[2] if len(sys.argv) > 2 else "http://127.0.0.1:8080")
    for person in client.detect(picture)["people"]:
        for landmark in person["landmarks"]:
            print(
                f"{landmark['name']:>18} {landmark['x']:.3f} {landmark['y']:.3f} {landmark['visibility']:.2f}"
            )


if __name__ == "__main__":
    main()
