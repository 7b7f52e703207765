"""Workers restart with back-off, immediately in an outage; leaking ones are renewed one at a time."""

import asyncio
from typing import Any

import pytest

from posecluster_inference.errors import ModelError
from posecluster_inference.metrics import Metrics
from posecluster_inference.server.workers import supervisor
from posecluster_inference.server.workers.process import Ended, Limits, Listener, State
from posecluster_inference.server.workers.supervisor import Supervisor, SupervisorConfig
from posecluster_inference.worker.messages import ModelInfo, WorkerAnswer, WorkerConfig
from posecluster_inference.worker.sandbox import Protection

BACK_OFF_SECONDS = [0, 1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 60, 60]
MIB = 1 << 20
CONFIG = WorkerConfig(
    engine="paper",
    task="pose",
    variant="full",
    model_path="",
    max_people=1,
    max_pixels=1,
    max_side_pixels=1,
    memory_share_bytes=1_000 * MIB,
    sandbox=False,
)


class WorkerOnPaper:
    """A worker process as the supervisor sees it; the test says what becomes of it."""

    made: list["WorkerOnPaper"]

    def __init__(self, listener: Listener, config: WorkerConfig, limits: Limits) -> None:
        self.listener: Any = listener
        self.protection = Protection(7, seccomp=True)
        self.state, self.ended, self.fatal, self.signal = State.STARTING, Ended.START, "", ""
        self.model = ModelInfo("pose", "full", "paper", ("nose",), ())
        self.requests = 0
        self.warm_memory_bytes = self.memory_bytes = 100 * MIB
        self.pid = len(self.made) + 1
        self.made.append(self)

    async def start(self) -> None: ...

    def stop(self, cause: Ended) -> None:
        self.state, self.ended = State.FAILED, cause

    def becomes_ready(self) -> None:
        self.state = State.READY
        self.listener.worker_ready(self)

    def answers(self) -> None:
        self.state = State.READY
        self.requests += 1
        answer = WorkerAnswer(request=self.requests, busy_seconds=0.0, memory_bytes=1, stages={})
        self.listener.worker_answered(self, answer)

    def ends(self, cause: Ended) -> None:
        self.state, self.ended = State.FAILED, cause
        self.listener.worker_ended(self)


class OwnerOnPaper:
    """Records its calls."""

    def __init__(self) -> None:
        self.changes = 0
        self.lost: list[object] = []
        self.ended: list[object] = []
        self.fatal_errors: list[ModelError] = []

    def workers_changed(self) -> None:
        self.changes += 1

    def worker_answered(self, worker: object, answer: WorkerAnswer) -> None: ...

    def worker_ended(self, worker: object) -> None:
        self.ended.append(worker)

    def worker_lost(self, worker: object) -> None:
        self.lost.append(worker)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[WorkerOnPaper]:
    """Every worker that is spawned, in order."""
    monkeypatch.setattr(WorkerOnPaper, "made", [], raising=False)
    monkeypatch.setattr(supervisor, "WorkerProcess", WorkerOnPaper)
    return WorkerOnPaper.made


def _started(size: int, owner: OwnerOnPaper | None = None, **rules: int) -> Supervisor:
    usual = {"recycle_requests": 0, "recycle_growth_percent": 0, "memory_share_bytes": 1_000 * MIB}
    config = SupervisorConfig(size=size, worker=CONFIG, hang_seconds=5.0, **{**usual, **rules})
    workers = Supervisor(config, Metrics())
    owner = owner or OwnerOnPaper()
    workers.start(owner, owner.fatal_errors.append)
    return workers


def _ready(size: int, owner: OwnerOnPaper | None = None, **rules: int) -> Supervisor:
    workers = _started(size, owner, **rules)
    for worker in list(WorkerOnPaper.made):
        worker.becomes_ready()
    return workers


def _restart_now(workers: Supervisor, index: int) -> float:
    """Return how long the slot would have waited, and start its worker now."""
    slot = workers._slots[index]
    assert slot.restart is not None
    delay = slot.restart.when() - asyncio.get_running_loop().time()
    slot.restart.cancel()
    workers._restart(slot)
    return delay


def _restarts(workers: Supervisor, cause: Ended) -> float | None:
    labels = {"cause": cause}
    return workers.metrics.registry.get_sample_value("posecluster_worker_restarts_total", labels)


async def test_the_restart_delay_of_a_slot_grows_with_each_death(made: list[WorkerOnPaper]) -> None:
    workers = _ready(2)
    delays = []
    for _ in BACK_OFF_SECONDS:
        made[-1].ends(Ended.CRASH)
        assert workers.states == [State.READY, State.FAILED]
        delays.append(_restart_now(workers, 1))
        made[-1].becomes_ready()
    assert delays == pytest.approx(BACK_OFF_SECONDS, abs=0.5)
    assert _restarts(workers, Ended.CRASH) == len(BACK_OFF_SECONDS)


async def test_a_worker_restarts_immediately_while_none_is_available(made: list[WorkerOnPaper]) -> None:
    workers = _ready(2)
    for _ in range(8):
        made[-1].ends(Ended.CRASH)
        _restart_now(workers, 1)
        made[-1].becomes_ready()
    made[-1].ends(Ended.CRASH)
    made[0].ends(Ended.CRASH)
    assert _restart_now(workers, 0) == pytest.approx(0, abs=0.5), "the slot with the fewest deaths"
    made[-1].becomes_ready()
    assert _restart_now(workers, 1) > 20, "the other one waits on"


async def test_a_start_that_fails_again_and_again_is_tried_each_second(made: list[WorkerOnPaper]) -> None:
    workers = _started(1)
    delays = []
    for _ in range(15):
        made[-1].ends(Ended.START)
        delays.append(_restart_now(workers, 0))
    assert delays == pytest.approx([0] + [1] * 14, abs=0.5)


@pytest.mark.parametrize(("cause", "beyond_repair"), [(Ended.START, True), (Ended.CRASH, False)])
async def test_only_starts_that_fail_are_beyond_repair(
    made: list[WorkerOnPaper], cause: Ended, beyond_repair: bool
) -> None:
    workers = _started(1)
    for number in range(12):
        assert not workers.is_beyond_repair, number
        made[-1].ends(cause)
        _restart_now(workers, 0)
    assert workers.is_beyond_repair == beyond_repair
    made[-1].becomes_ready()
    assert not workers.is_beyond_repair


async def test_worn_workers_are_renewed_one_at_a_time_and_warm_first(made: list[WorkerOnPaper]) -> None:
    workers = _ready(2, recycle_requests=10)
    first, second = made
    first.requests = second.requests = 20
    first.answers()
    second.answers()
    assert len(made) == 3, "one successor"
    assert workers.live == 2
    made[2].becomes_ready()
    assert (first.ended, second.state) == (Ended.REQUESTS, State.READY)
    second.answers()
    made[3].becomes_ready()
    assert second.ended == Ended.REQUESTS
    assert workers.processes == made[2:]
    assert _restarts(workers, Ended.REQUESTS) == 2


async def test_a_busy_worker_is_replaced_when_it_has_answered(made: list[WorkerOnPaper]) -> None:
    workers = _ready(1, recycle_growth_percent=150)
    old = made[0]
    old.memory_bytes = 151 * MIB
    old.answers()
    old.state = State.BUSY
    made[1].becomes_ready()
    assert workers.busy == [old]
    old.answers()
    assert workers.ready == [made[1]]
    assert _restarts(workers, Ended.MEMORY) == 1


async def test_a_successor_that_fails_costs_nothing_and_is_not_tried_at_once(
    made: list[WorkerOnPaper],
) -> None:
    owner = OwnerOnPaper()
    workers = _ready(1, owner, recycle_requests=10)
    made[0].requests = 20
    made[0].answers()
    made[1].ends(Ended.START)
    made[0].answers()
    assert (len(made), workers.live) == (2, 1)
    assert owner.lost == []


@pytest.mark.parametrize("was_ready", [False, True])
async def test_an_engine_that_cannot_load_is_fatal_only_at_the_first_start(
    made: list[WorkerOnPaper], was_ready: bool
) -> None:
    owner = OwnerOnPaper()
    _started(1, owner)
    if was_ready:
        made[0].becomes_ready()
    made[0].fatal = "No such model."
    made[0].ends(Ended.START)
    assert [str(error) for error in owner.fatal_errors] == ([] if was_ready else ["No such model."])


async def test_stopping_ends_all_and_starts_none(made: list[WorkerOnPaper]) -> None:
    workers = _ready(2)
    stopping = asyncio.create_task(workers.stop())
    await asyncio.sleep(0)
    assert [worker.ended for worker in made] == [Ended.STOPPED] * 2
    assert workers.ready == []
    for worker in made:
        worker.ends(Ended.STOPPED)
    async with asyncio.timeout(1):
        await stopping
    assert len(made) == 2
    assert _restarts(workers, Ended.CRASH) == 0


@pytest.mark.parametrize(
    ("protection", "lines"),
    [(Protection(7, seccomp=True), 0), (Protection(0, seccomp=True), 1), (Protection(1), 1)],
    ids=["whole", "without Landlock", "without seccomp"],
)
async def test_a_missing_layer_of_the_sandbox_is_logged_once(
    made: list[WorkerOnPaper], caplog: pytest.LogCaptureFixture, protection: Protection, lines: int
) -> None:
    workers = _started(2)
    for worker in made:
        worker.protection = protection
        worker.becomes_ready()
    assert workers.protection == protection
    assert [record.message for record in caplog.records].count("Workers are not fully sandboxed") == lines
