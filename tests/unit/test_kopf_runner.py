"""Running kopf: its settings, and its restart after it ends."""

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from random import Random
from typing import Any

import kopf
import pytest

from posecluster_operator.admin.health import Health, Watch
from posecluster_operator.watch import kopf_runner
from posecluster_operator.watch.kopf_runner import BackOffs, Watcher, configure_kopf, watches

pytestmark = pytest.mark.unit


def test_every_kind_is_watched_in_every_namespace() -> None:
    kinds = {"poseclusters", "deployments", "services", "poddisruptionbudgets", "pods"}
    assert watches([]) == {Watch(kind, "") for kind in kinds}
    assert watches(["a", "b"]) == {Watch(kind, namespace) for kind in kinds for namespace in "ab"}


def test_back_offs_never_end_and_are_jittered_and_capped() -> None:
    one, other = (list(itertools.islice(BackOffs(Random(seed)), 200)) for seed in (1, 2))
    assert one != other
    assert 0.75 <= one[0] <= 1
    assert all(11.25 <= seconds <= 15 for seconds in one[5:])
    again = BackOffs(Random(3))
    assert next(iter(again)) <= 1
    assert next(iter(again)) <= 1, "each request starts the delays again"


def test_kopf_is_configured_with_our_time_limits_and_without_posting() -> None:
    settings = kopf.OperatorSettings()
    configure_kopf(settings, inactivity_seconds=33, instance="pod-1", random=Random(1))
    assert settings.peering.standalone
    assert settings.scanning.disabled
    assert not settings.posting.enabled
    assert not settings.posting.loggers
    assert settings.persistence.finalizer == "posecluster.io/finalizer"
    assert (settings.watching.server_timeout, settings.watching.client_timeout) == (120, 150)
    assert settings.watching.inactivity_timeout == 33
    assert settings.watching.reconnect_backoff == 1
    assert settings.watching.chunk_size == 500
    assert (settings.networking.connect_timeout, settings.networking.request_timeout) == (5, 10)
    assert settings.queueing.worker_limit is None
    assert settings.execution.default_backoff == 10
    assert settings.process.ultimate_exiting_timeout == 20
    selected = {selector.any_name for selector in settings.watching.label_selectors}
    assert selected == {"deployments", "services", "poddisruptionbudgets", "pods"}
    assert set(settings.watching.label_selectors.values()) == {
        "app.kubernetes.io/managed-by=posecluster-operator"
    }


class Runs:
    """Stands for kopf: each run does the next thing."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *things: Callable[[], Any]) -> None:
        self.things = list(things)
        self.threads: list[threading.Thread] = []
        self.health = Health(stall_seconds=150)
        self.waits = 0
        monkeypatch.setattr(kopf_runner, "_FIRST_BACK_OFF_SECONDS", 0.01)
        monkeypatch.setattr(kopf_runner, "_LOOK_SECONDS", 0.01)
        monkeypatch.setattr(Watcher, "_watch", self._watch)
        unused: Any = None
        self.watcher = Watcher(
            unused,
            namespaces=(),
            inactivity_seconds=70,
            instance="x",
            random=Random(1),
            wake=unused,
            listed=unused,
            on_call=unused,
            health=self.health,
            wait_for_crd=self._wait_for_crd,
        )

    async def _wait_for_crd(self) -> None:
        self.waits += 1

    async def _watch(self, life: Any) -> None:
        self.threads.append(threading.current_thread())
        await self.things.pop(0)(life) if self.things else await asyncio.Event().wait()


@pytest.fixture
async def background() -> AsyncIterator[list[asyncio.Task[None]]]:
    tasks: list[asyncio.Task[None]] = []
    yield tasks
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def until(fact: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not fact():  # noqa: ASYNC110 - the fact is of another thread
            await asyncio.sleep(0.005)


async def test_kopf_is_started_again_whatever_ends_it(
    monkeypatch: pytest.MonkeyPatch, background: list[asyncio.Task[None]], caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(_life: Any) -> None:
        raise LookupError("404 page not found")

    async def end(_life: Any) -> None:
        return

    runs = Runs(monkeypatch, fail, end)
    background.append(asyncio.create_task(runs.watcher.run()))
    await until(lambda: len(runs.threads) == 3)
    assert threading.current_thread() not in runs.threads
    assert len(set(runs.threads)) == 3
    assert all(thread.daemon for thread in runs.threads)
    assert runs.waits == 3, "the CRD is asked for each time"
    errors = [record.fields["error"] for record in caplog.records]  # type: ignore[attr-defined]
    assert errors == ["LookupError: 404 page not found", "stopped"]
    background[0].cancel()
    assert await runs.watcher.ended(2)


async def test_kopf_is_started_again_when_it_overlooks_a_kind(
    monkeypatch: pytest.MonkeyPatch, background: list[asyncio.Task[None]], caplog: pytest.LogCaptureFixture
) -> None:
    async def overlook(life: Any) -> None:
        for watch in watches([]) - {Watch("poseclusters", "")}:
            life.asked(watch)
        await asyncio.Event().wait()

    monkeypatch.setattr(kopf_runner, "_ALL_ASKED_SECONDS", 0.05)
    runs = Runs(monkeypatch, overlook)
    background.append(asyncio.create_task(runs.watcher.run()))
    await until(lambda: len(runs.threads) == 2)
    (record,) = caplog.records
    assert record.fields["error"] == "not watched: poseclusters"  # type: ignore[attr-defined]


async def test_a_kopf_task_that_does_not_end_is_abandoned(
    monkeypatch: pytest.MonkeyPatch, background: list[asyncio.Task[None]]
) -> None:
    release = threading.Event()

    async def block(_life: Any) -> None:
        while not release.is_set():
            pass

    runs = Runs(monkeypatch, block)
    background.append(asyncio.create_task(runs.watcher.run()))
    await until(lambda: len(runs.threads) == 1)
    background[0].cancel()
    assert not await runs.watcher.ended(0.1)
    release.set()
    assert await runs.watcher.ended(2)


async def test_a_task_that_does_not_end_when_cancelled_keeps_kopf_from_nothing(
    monkeypatch: pytest.MonkeyPatch, background: list[asyncio.Task[None]]
) -> None:
    stuck: list[asyncio.Task[None]] = []

    async def never_end() -> None:
        while True:
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

    async def fail(_life: Any) -> None:
        stuck.append(asyncio.create_task(never_end()))
        await asyncio.sleep(0)
        raise LookupError("a line that is not JSON")

    runs = Runs(monkeypatch, fail)
    background.append(asyncio.create_task(runs.watcher.run()))
    await until(lambda: len(runs.threads) == 2)
    assert not stuck[0].done()
