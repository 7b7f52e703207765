"""Closed-loop probers: each sends a request, waits for the answer, and repeats, on new or kept connections.

with probing(balancer.address, lambda number: Slow(20, f"prober {number}"), new=1, kept=1) as traffic:
    ...
assert traffic.failures == []
"""

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from typing import Protocol

from harness import gallery, pictures
from harness.answers import GOLDEN_TOLERANCE, off_golden
from harness.scene import SCENE, SCENE_GOLDEN
from harness.stub import DETECT

_TIMEOUT_SECONDS = 60.0  # longer than any deadline: a request is never given up
_POSES_A_PROBER = 1_000_000


class Questions(Protocol):
    """A prober's pictures, all different, and the right answers; `stub.Slow` is one."""

    def picture(self, index: int) -> bytes:
        """Picture number `index`."""

    def is_answer(self, index: int, body: bytes) -> bool:
        """Whether `body` is right for it."""


class Poses:
    """MediaPipe's own picture of a person, for servers with the full model."""

    def __init__(self, prober: int) -> None:
        self._picture = gallery.picture(SCENE)
        self._first = prober * _POSES_A_PROBER

    def picture(self, index: int) -> bytes:
        return pictures.unique_jpeg(self._picture, self._first + index)

    def is_answer(self, index: int, body: bytes) -> bool:
        people = json.loads(body)["people"]
        points = [[mark["x"], mark["y"]] for mark in people[0]["landmarks"]]
        return len(people) == 1 and off_golden(points, SCENE_GOLDEN) <= GOLDEN_TOLERANCE


@dataclass(frozen=True, slots=True)
class Asked:
    """One request; times are monotonic. Status 0: no answer, and `error` says why.

    `kept`: sent by a prober that keeps its connection. `last`: the answer said `Connection: close`.
    """

    id: str
    kept: bool
    status: int
    reason: str
    right: bool
    last: bool
    error: str
    started: float
    ended: float


@dataclass(slots=True)
class Traffic:
    """What all probers have asked so far."""

    asked: list[Asked] = field(default_factory=list)

    @property
    def failures(self) -> list[Asked]:
        """All that was not 200 and right."""
        return [one for one in list(self.asked) if not one.right]

    def count(self, *, kept: bool) -> int:
        """How many were sent by probers of this kind."""
        return sum(one.kept is kept for one in list(self.asked))


@contextmanager
def probing(
    address: tuple[str, int],
    questions: Callable[[int], Questions],
    *,
    new: int = 1,
    kept: int = 1,
    every_seconds: float = 0.0,
) -> Iterator[Traffic]:
    """Let so many probers of each kind ask all the while; at the end, wait for their last answers.

    questions: by the prober's number. every_seconds: of one prober, from request to request; it asks
    later when an answer took longer, and makes up for that. Request ids are unique in the traffic.
    """
    traffic, over = Traffic(), threading.Event()

    def probe(number: int) -> None:
        prober = _Prober(address, number, questions(number), keeps=number >= new)
        due = time.monotonic() + every_seconds * number / (new + kept)
        for index in itertools.count():
            if over.wait(max(0.0, due - time.monotonic())):
                break
            due += every_seconds
            traffic.asked.append(prober.ask(index))
        prober.close()

    with ThreadPoolExecutor(new + kept) as pool:
        probers = [pool.submit(probe, number) for number in range(new + kept)]
        try:
            yield traffic
        finally:
            over.set()
    for one in probers:
        one.result()


class _Prober:
    """One client. http.client opens a new connection after an answer with `Connection: close`."""

    def __init__(self, address: tuple[str, int], number: int, questions: Questions, *, keeps: bool) -> None:
        self._connection = HTTPConnection(*address, timeout=_TIMEOUT_SECONDS)
        self._number, self._questions, self._keeps = number, questions, keeps

    def ask(self, index: int) -> Asked:
        """Send one request, once, and judge its answer."""
        name = f"prober-{self._number}-{index}"
        headers = {"X-Request-Id": name} | ({} if self._keeps else {"Connection": "close"})
        picture = self._questions.picture(index)
        status, reason, right, last, error = 0, "", False, False, ""
        started = time.monotonic()
        try:
            self._connection.request("POST", DETECT, picture, headers)
            answer = self._connection.getresponse()
            body = answer.read()
            status, last = answer.status, answer.headers["Connection"] == "close"
            if status == 200:
                right = answer.headers["X-Request-Id"] == name and self._questions.is_answer(index, body)
            else:
                reason = json.loads(body)["reason"]
        except (OSError, HTTPException) as problem:
            error = repr(problem)
            self._connection.close()
        return Asked(name, self._keeps, status, reason, right, last, error, started, time.monotonic())

    def close(self) -> None:
        self._connection.close()
