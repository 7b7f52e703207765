"""Events on a real API server: equal ones are counted in one, a budget bounds them, failures are dropped."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import pytest

from harness.kubernetes.api import Api
from harness.kubernetes.client import open_kube
from harness.kubernetes.proxy import FaultProxy
from posecluster_operator.kube.events import Recorder
from posecluster_operator.resource.notice import Notice
from posecluster_operator.resource.posecluster import PoseCluster, Spec

pytestmark = pytest.mark.apiserver


class Recording:
    """A recorder that runs, with a clock that can be moved on."""

    def __init__(self, kube: Any) -> None:
        self.now = 0.0
        self.recorder = Recorder(kube, instance="posecluster-operator-0", clock=lambda: self.now)
        self.task = asyncio.create_task(self.recorder.run())


@pytest.fixture
async def recording(api: Api, namespace: str, proxy: FaultProxy) -> AsyncIterator[Recording]:
    rule = {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"]}
    account = api.account(namespace, "recorder", [rule])
    async with open_kube(account.kubeconfig(proxy.url), seconds=1) as kube:
        made = Recording(kube)
        yield made
        made.task.cancel()
        with suppress(asyncio.CancelledError):
            await made.task


def _cluster(namespace: str) -> PoseCluster:
    return PoseCluster(
        name="pose", namespace=namespace, uid="u-1", generation=1, resource_version="1",
        paused=False, status={}, spec=Spec(),
    )  # fmt: skip


async def _events(api: Api, namespace: str, count: int) -> list[dict[str, Any]]:
    for _ in range(100):
        events: list[dict[str, Any]] = api.list("events", namespace)
        if len(events) >= count:
            return events
        await asyncio.sleep(0.05)
    pytest.fail(f"not {count} Events")


async def test_same_words_are_one_event_that_counts(
    api: Api, namespace: str, proxy: FaultProxy, recording: Recording
) -> None:
    notice = Notice("Normal", "Scaled", "Scaled from 2 to 4 " + "é" * 1_000)
    for _ in range(50):
        recording.recorder.emit(_cluster(namespace), notice)
    (event,) = await _events(api, namespace, 1)
    assert event["regarding"]["uid"] == "u-1"
    assert event["reportingController"] == "posecluster.io/operator"
    assert len(event["note"].encode()) <= 1_024
    recording.now = 61
    recording.recorder.emit(_cluster(namespace), notice)
    await asyncio.to_thread(
        api.wait_until, lambda: "series" in api.list("events", namespace)[0], 5, "a series"
    )
    (event,) = api.list("events", namespace)
    assert event["series"]["count"] == 51
    assert [call.verb for call in proxy.writes()] == ["create", "patch"]


async def test_an_object_has_ten_events_and_then_one_a_minute(
    api: Api, namespace: str, recording: Recording
) -> None:
    for number in range(30):
        recording.recorder.emit(_cluster(namespace), Notice("Warning", "CrashLoopBackOff", f"note {number}"))
    await _events(api, namespace, 10)
    recording.now = 60
    recording.recorder.emit(_cluster(namespace), Notice("Warning", "CrashLoopBackOff", "last"))
    assert len(await _events(api, namespace, 11)) == 11


async def test_what_cannot_be_written_is_dropped_with_one_line(
    api: Api, namespace: str, proxy: FaultProxy, recording: Recording, caplog: pytest.LogCaptureFixture
) -> None:
    with proxy.fault(resource="events", do="answer", status=503) as rule:
        recording.recorder.emit(_cluster(namespace), Notice("Normal", "Scaled", "one"))
        recording.recorder.emit(_cluster(namespace), Notice("Normal", "Scaled", "two"))
        await asyncio.to_thread(api.wait_until, lambda: len(rule.hits) == 4, 10, "two tries each")
        await asyncio.sleep(0.1)
    recording.recorder.emit(_cluster(namespace), Notice("Normal", "Scaled", "three"))
    (event,) = await _events(api, namespace, 1)
    assert event["note"] == "three"
    assert [record.message for record in caplog.records].count("Events are dropped") == 1


async def test_dropped_events_of_a_namespace_are_logged_once_while_another_has_events(
    api: Api,
    namespace: str,
    make_namespace: Callable[[], str],
    recording: Recording,
    caplog: pytest.LogCaptureFixture,
) -> None:
    other = make_namespace()  # the account has no permission there
    for number in range(3):
        for where in (other, namespace):
            recording.recorder.emit(_cluster(where), Notice("Normal", "Scaled", f"{where} {number}"))
    await _events(api, namespace, 3)
    assert api.list("events", other) == []
    assert [record.message for record in caplog.records].count("Events are dropped") == 1
