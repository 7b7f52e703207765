"""An open-loop load generator: requests start on a schedule, independent of the server's answers.

A closed loop (wrk) waits for an answer before the next request, so a slow server gets fewer requests and the
waiting time is hidden (coordinated omission). Here each latency counts from the time at which the request
was due. Neither wrk nor a packaged tool supports a schedule with a different body each time; requests
are sent as prepared bytes, because an HTTP client library would use more CPU than the server under test.

    python -m bench.open_loop PORT PICTURE RATE SECONDS FIRST_NUMBER

Prints one JSON line; latencies in milliseconds.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from bench.picture import unique

_CONNECTIONS = 256


@dataclass(slots=True)
class Outcome:
    """What came of one schedule."""

    scheduled: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    accepted_ms: list[float] = field(default_factory=list)
    refused_ms: list[float] = field(default_factory=list)
    retry_after: set[int] = field(default_factory=set)

    def note(self, status: int, due: float, retry_after: int | None) -> None:
        self.statuses[status] += 1
        (self.accepted_ms if status == 200 else self.refused_ms).append((time.perf_counter() - due) * 1000)
        if retry_after is not None:
            self.retry_after.add(retry_after)


def percentile(values: list[float], share: float) -> float:
    """Return the value that `share` of the values do not exceed; 0 for none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


class Connections:
    """Kept connections, so that no request pays for a new one unless all are in use."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def post(self, body: bytes) -> tuple[int, int | None]:
        """Return the status and Retry-After; status 0 for a broken connection."""
        try:
            if self._idle:
                reader, writer = self._idle.pop()
            else:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            head = f"POST /v1/detect HTTP/1.1\r\nHost: bench\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode())
            writer.write(body)
            lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
            fields = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
            await reader.readexactly(int(fields["content-length"]))
        except (OSError, asyncio.IncompleteReadError):
            return 0, None
        if fields.get("connection") == "close":
            writer.close()
        else:
            self._idle.append((reader, writer))
        retry_after = fields.get("retry-after")
        return int(lines[0].split()[1]), int(retry_after) if retry_after else None

    def close(self) -> None:
        for _reader, writer in self._idle:
            writer.close()


async def run(port: int, picture: bytes, rate: float, seconds: float, first: int) -> Outcome:
    outcome = Outcome()
    connections = Connections(port)
    limit = asyncio.Semaphore(_CONNECTIONS)

    async def one(number: int, due: float) -> None:
        async with limit:
            status, retry_after = await connections.post(unique(picture, number))
        outcome.note(status, due, retry_after)

    started = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for number in range(int(rate * seconds)):
            due = started + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            tasks.create_task(one(first + number, due))
            outcome.scheduled += 1
    connections.close()
    return outcome


def main() -> None:
    port, picture, rate, seconds, first = sys.argv[1:]
    data = Path(picture).read_bytes()
    outcome = asyncio.run(run(int(port), data, float(rate), float(seconds), int(first)))
    print(
        json.dumps(
            {
                "scheduled": outcome.scheduled,
                "seconds": float(seconds),
                "statuses": outcome.statuses,
                "accepted_ms": {f"p{p}": percentile(outcome.accepted_ms, p / 100) for p in (50, 95, 99)},
                "refused_ms": {f"p{p}": percentile(outcome.refused_ms, p / 100) for p in (50, 95, 99)},
                "retry_after": sorted(outcome.retry_after),
            }
        )
    )


if __name__ == "__main__":
    main()
