"""Heavy jobs leave light ones their share, get their own share, and the forecast includes both."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posecluster_inference.pictures import Header, PictureFormat
from posecluster_inference.server.workers.costs import Cost
from posecluster_inference.server.workers.jobs import Job, JobQueue, turn_of
from posecluster_inference.server.workers.sharing import HeavyShare
from posecluster_inference.worker.messages import AnswerForm

HEADER = Header(PictureFormat.PNG, 1, 1)
SERVICE = 0.045
LIGHT = Cost(SERVICE)
PAUSE = 0.003  # from an answer to the next request of the same client


@dataclass
class Server:
    """The pool's rules in simulated time: workers, the queue and the share."""

    workers: int
    now: float = 0.0
    share: HeavyShare = field(default_factory=HeavyShare)
    queue: JobQueue = field(default_factory=lambda: JobQueue(100))
    running: list[tuple[float, int, Job]] = field(default_factory=list)  # end, number, job
    started: dict[int, float] = field(default_factory=dict)
    numbers: "count[int]" = field(default_factory=count)

    def submit(self, cost: Cost) -> Job:
        job = Job(
            b"", HEADER, (b"", AnswerForm("json")), self.now, math.inf, self.queue.discard, cost, done=None
        )  # type: ignore[arg-type]
        if not cost.is_heavy:
            self.share.saw_light(self.now)
        self.queue.put(job)
        self.start()
        return job

    def start(self) -> None:
        while len(self.running) < self.workers:
            heavy = sum(job.cost.is_heavy for _, _, job in self.running)
            places = self.share.places(self.now, self.workers)
            job = self.queue.take(heavy_may_start=heavy < places)
            if job is None:
                return
            job.started = self.now
            self.running.append((self.now + job.cost.seconds, next(self.numbers), job))

    def forecast(self, cost: Cost) -> float:
        running = [(end - self.now, job.cost) for end, _, job in self.running]
        ahead = [job.cost for job in self.queue.before(turn_of(self.now, cost))]
        return self.share.wait_seconds(self.now, cost, ahead, running, self.workers - len(running))

    def next_event(self) -> float:
        ends = [end for end, _, _ in self.running]
        change = (
            self.share.next_change(self.now) if len(self.queue) and len(ends) < self.workers else math.inf
        )
        return min([*ends, max(change, self.now + 1e-9)])

    def advance(self, until: float) -> list[Job]:
        """Let time pass up to `until`, at most to the next event; return the jobs that ended."""
        self.now = min(until, self.next_event())
        over = sorted(entry for entry in self.running if entry[0] <= self.now)
        for end, number, job in over:
            self.running.remove((end, number, job))
            if job.cost.is_heavy:
                self.share.heavy_ended(self.now, job.cost.seconds, self.workers)
            else:
                self.share.saw_light(self.now)
        self.start()
        return [job for _, _, job in over]


def beside(workers: int, others: Cost, *, seconds: float = 120.0) -> tuple[float, int]:
    """The p95 of one polite client beside four of these, and how many of theirs were answered."""
    server = Server(workers)
    due: list[tuple[float, bool]] = [(0.01 * index, index == 0) for index in range(5)]
    polite, latencies, answered = None, [], 0
    while server.now < seconds:
        for job in server.advance(min((time for time, _ in due), default=math.inf)):
            if job is polite:
                latencies.append(server.now - job.arrived)
                due.append((server.now + PAUSE, True))
            else:
                answered += 1
                due.append((server.now + PAUSE, False))
        for entry in [entry for entry in due if entry[0] <= server.now]:
            due.remove(entry)
            job = server.submit(LIGHT if entry[1] else others)
            polite = job if entry[1] else polite
    return sorted(latencies)[int(0.95 * len(latencies))], answered


@pytest.mark.parametrize("workers", [1, 2, 3, 4])
@pytest.mark.parametrize("seconds", [0.2, 0.3, 0.5, 0.8, 1.5])
def test_four_heavy_callers_leave_an_ordinary_one_its_share(workers: int, seconds: float) -> None:
    bar = beside(workers, LIGHT)[0] + 2 * SERVICE
    p95, answered = beside(workers, Cost(seconds, is_heavy=True))
    assert p95 <= bar
    # half of the workers, or a fifth of one worker's time
    share = max(0.2, workers // 2)
    assert answered * seconds >= 0.9 * share * 120.0 - 2 * seconds


@pytest.mark.control
@pytest.mark.parametrize("workers", [1, 2])
def test_without_a_share_the_ordinary_caller_waits(workers: int) -> None:
    bar = beside(workers, LIGHT)[0] + 2 * SERVICE
    assert beside(workers, Cost(0.8))[0] > 2 * bar


@pytest.mark.parametrize("workers", [1, 2])
def test_jobs_just_below_heavy_leave_an_ordinary_caller_its_share(workers: int) -> None:
    """Those whose handling takes three inferences: only their order in the queue helps."""
    assert beside(workers, Cost(4 * SERVICE))[0] <= beside(workers, LIGHT)[0] + 2 * SERVICE


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_heavy_jobs_use_every_worker_if_no_others_wait(workers: int) -> None:
    server = Server(workers)
    for _ in range(20):
        server.submit(Cost(1.0, is_heavy=True))
    for rounds in range(1, 4):
        assert len(server.running) == workers
        server.advance(math.inf)
        assert server.now == pytest.approx(rounds)


def test_an_idle_worker_is_kept_for_five_seconds() -> None:
    server = Server(2)
    server.submit(LIGHT)
    for _ in range(2):
        server.submit(Cost(30.0, is_heavy=True))
    while len(server.running) < 2 or server.now < SERVICE:
        server.advance(math.inf)
    assert server.now == pytest.approx(SERVICE + 5)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_flood_of_light_jobs_does_not_starve_heavy_ones(workers: int) -> None:
    server = Server(workers)
    heavy = server.submit(LIGHT) and server.submit(LIGHT) and server.submit(Cost(0.5, is_heavy=True))
    while not heavy.started:
        while len(server.queue) < 8:
            server.submit(LIGHT)
        server.advance(math.inf)
    assert heavy.started < 3 + 8 * SERVICE + 0.1


COSTS: Callable[[], st.SearchStrategy[Cost]] = lambda: st.builds(  # noqa: E731
    lambda seconds, is_heavy: Cost(seconds * (10 if is_heavy else 1), is_heavy),
    st.sampled_from([0.02, 0.05, 0.1]),
    st.booleans(),
)


@given(
    workers=st.integers(1, 4),
    before=st.lists(COSTS(), max_size=12),
    pause=st.sampled_from([0.0, 0.03, 0.3]),
    cost=COSTS(),
)
def test_the_forecast_is_what_happens(workers: int, before: list[Cost], pause: float, cost: Cost) -> None:
    server = Server(workers)
    for one in before:
        server.submit(one)
    until = server.now + pause
    while server.now < until and server.running:
        server.advance(until)
    if not cost.is_heavy:
        server.share.saw_light(server.now)  # it is one itself
    coming = server.share.last_light > -math.inf  # light jobs, which go on coming
    expected = server.forecast(cost)
    arrived = server.now
    job = server.submit(cost)
    is_running = any(one is job for _, _, one in server.running)
    while not is_running:
        if coming:
            server.share.last_light = max(server.share.last_light, server.now)
        server.advance(math.inf)
        is_running = any(one is job for _, _, one in server.running)
    assert job.started - arrived == pytest.approx(expected, abs=0.01)


def test_a_forecast_without_workers_is_infinite() -> None:
    assert HeavyShare().wait_seconds(0.0, LIGHT, [], [], 0) == math.inf
