"""Bounded load on a server, and its results.

`closed_loop`: N clients, each of which sends its next request after its answer, to measure capacity.
`open_loop`: requests start on a schedule, independent of the server's answers, and latency counts from
the scheduled moment, so that waiting time is not hidden (coordinated omission).
"""

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import ceil

import aiohttp

# index of the request -> body; make each different where the result cache is not the subject
Bodies = Callable[[int], bytes]
# (status, headers, body) -> whether the answer is right; asked for 200 only
Check = Callable[[int, Mapping[str, str], bytes], bool]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request. `start` is the scheduled moment (open loop) or the send (closed), in seconds of the run.

    status 0: no answer, `error` says why. `latency` from `start` to the last byte.
    `right`: 200 that passed the check (True without a check).
    """

    id: str
    index: int
    start: float
    sent: float
    latency: float
    status: int
    reason: str
    retry_after: int | None
    right: bool
    error: str


@dataclass(slots=True)
class Load:
    """All outcomes of a run; `planned` requests were meant to be sent in `seconds`."""

    planned: int
    seconds: float = 0.0
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def statuses(self) -> Counter[int]:
        """How often each status was received; 0 means no answer."""
        return Counter(outcome.status for outcome in self.outcomes)

    @property
    def reasons(self) -> Counter[str]:
        """How often each refusal reason came."""
        return Counter(outcome.reason for outcome in self.outcomes if outcome.reason)

    @property
    def right(self) -> list[Outcome]:
        """Answers with 200 that passed the check."""
        return [outcome for outcome in self.outcomes if outcome.right]

    def of(self, *statuses: int) -> list[Outcome]:
        """Outcomes with one of these statuses."""
        return [outcome for outcome in self.outcomes if outcome.status in statuses]

    @property
    def goodput(self) -> float:
        """Right answers a second."""
        return len(self.right) / self.seconds if self.seconds else 0.0

    @property
    def sent_share(self) -> float:
        """Share of the plan that was really sent, within 50 ms of its moment."""
        on_time = sum(
            outcome.error != "not sent" and outcome.sent <= outcome.start + 0.05 for outcome in self.outcomes
        )
        return on_time / self.planned if self.planned else 0.0

    def latency(self, share: float, *statuses: int) -> float:
        """The latency, in seconds, that `share` (0.5, 0.99) of the outcomes with these statuses keep.

        Raises ValueError if there are none: an empty sample proves nothing.
        """
        return percentile(
            [outcome.latency for outcome in (self.of(*statuses) if statuses else self.outcomes)], share
        )

    def summary(self) -> str:
        """One line for assertion messages."""
        errors = Counter(outcome.error for outcome in self.outcomes if outcome.error)
        return (
            f"{len(self.outcomes)} of {self.planned} in {self.seconds:.2f} s: {dict(self.statuses)} "
            f"{dict(self.reasons)} right {len(self.right)} "
            f"errors {dict(errors.most_common(4))}"
        )


def percentile(values: list[float], share: float) -> float:
    """Nearest-rank percentile; raises ValueError for no values."""
    if not values:
        raise ValueError("no values to take a percentile of")
    return sorted(values)[max(0, ceil(share * len(values)) - 1)]


async def closed_loop(
    url: str,
    bodies: Bodies,
    *,
    clients: int,
    count: int | None = None,
    seconds: float | None = None,
    headers: Mapping[str, str] | None = None,
    check: Check | None = None,
    timeout_seconds: float = 30.0,
    first_index: int = 0,
) -> Load:
    """`clients` connections post to `url` until `count` requests are sent or `seconds` are over.

    At least one bound must be given. `first_index` keeps bodies of several runs apart.
    """
    if count is None and seconds is None:
        raise ValueError("give count, seconds or both")
    load = Load(planned=count or 0)
    begin = time.monotonic()
    end = begin + seconds if seconds is not None else float("inf")
    indices = iter(range(first_index, first_index + (count if count is not None else 1 << 40)))

    async def client(session: aiohttp.ClientSession) -> None:
        for index in indices:  # shared: each index is taken once
            if time.monotonic() >= end:
                return
            start = time.monotonic() - begin
            load.outcomes.append(await _one(session, url, bodies(index), index, start, begin, headers, check))

    async with _session(clients, timeout_seconds) as session, asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(client(session))
    load.seconds = time.monotonic() - begin
    load.planned = count or len(load.outcomes)
    return load


async def open_loop(
    url: str,
    bodies: Bodies,
    *,
    rate: float,
    seconds: float,
    rng: random.Random | None = None,
    headers: Mapping[str, str] | None = None,
    check: Check | None = None,
    timeout_seconds: float = 30.0,
    max_in_flight: int = 1_000,
    first_index: int = 0,
) -> Load:
    """Post `rate` x `seconds` requests on a schedule: even, or Poisson if `rng` is given.

    A request that would be one too many in flight is not sent and counts as error "not sent".
    `Load.seconds` is the schedule's length, so that goodput isn't thinned by the last answers' wait.
    """
    times = list(_schedule(rate, seconds, rng))
    load = Load(planned=len(times), seconds=seconds)
    in_flight = 0

    async def send(index: int, start: float) -> None:
        nonlocal in_flight
        in_flight += 1
        try:
            load.outcomes.append(await _one(session, url, bodies(index), index, start, begin, headers, check))
        finally:
            in_flight -= 1

    async with _session(0, timeout_seconds) as session, asyncio.TaskGroup() as group:
        begin = time.monotonic()
        for index, start in enumerate(times, first_index):
            await asyncio.sleep(max(0.0, begin + start - time.monotonic()))
            if in_flight >= max_in_flight:
                load.outcomes.append(Outcome("", index, start, 0.0, 0.0, 0, "", None, False, "not sent"))
                continue
            group.create_task(send(index, start))
    return load


def _schedule(rate: float, seconds: float, rng: random.Random | None) -> list[float]:
    if rng is None:
        return [index / rate for index in range(int(rate * seconds))]
    times: list[float] = []
    moment = rng.expovariate(rate)
    while moment < seconds:
        times.append(moment)
        moment += rng.expovariate(rate)
    return times


def _session(connections: int, timeout_seconds: float) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections),
        timeout=aiohttp.ClientTimeout(total=timeout_seconds),
        auto_decompress=False,
    )


async def _one(
    session: aiohttp.ClientSession,
    url: str,
    body: bytes,
    index: int,
    start: float,
    begin: float,
    headers: Mapping[str, str] | None,
    check: Check | None,
) -> Outcome:
    identifier = f"load-{index}"
    sent = time.monotonic() - begin
    status, reason, retry_after, right, error = 0, "", None, False, ""
    try:
        async with session.post(
            url, data=body, headers={"X-Request-Id": identifier, **(headers or {})}
        ) as answer:
            content = await answer.read()
        status = answer.status
        retry_after = int(answer.headers["Retry-After"]) if "Retry-After" in answer.headers else None
        right = status == 200 and (check is None or check(status, answer.headers, content))
        if answer.content_type == "application/problem+json":
            reason = str(json.loads(content).get("reason", ""))
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as problem:
        error = type(problem).__name__
    latency = time.monotonic() - begin - start
    return Outcome(identifier, index, start, sent, latency, status, reason, retry_after, right, error)
