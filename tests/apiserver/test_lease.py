"""One writer at a time: Leases that compete on a real API server, with 3 seconds instead of 15."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import pytest

from harness.kubernetes.api import Api
from harness.kubernetes.client import Calls, open_kube
from harness.kubernetes.proxy import FaultProxy, Rule
from posecluster_operator.errors import NotLeader
from posecluster_operator.kube.client import Kube
from posecluster_operator.kube.lease import Lease

pytestmark = pytest.mark.apiserver

SECONDS = 3.0
START = Callable[..., "Candidate"]


class Candidate:
    """A running Lease, its notifications, and a clock that can be advanced."""

    def __init__(self, kube: Kube, namespace: str, identity: str) -> None:
        self.told: list[bool] = []
        self.skipped = 0.0
        self.lease = Lease(
            kube,
            namespace=namespace,
            name="writers",
            identity=identity,
            seconds=SECONDS,
            clock=lambda: time.monotonic() + self.skipped,
            on_change=self.told.append,
        )
        self.task = asyncio.create_task(self.lease.run())

    async def stop(self) -> None:
        """End without a word, as SIGKILL does."""
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task

    async def leave(self) -> None:
        """End as SIGTERM does."""
        await self.stop()
        await self.lease.release()


@pytest.fixture
def calls() -> Calls:
    return []


@pytest.fixture
async def start(api: Api, namespace: str, proxy: FaultProxy, calls: Calls) -> AsyncIterator[START]:
    """Starts candidates; all calls pass the proxy."""
    rule = {
        "apiGroups": ["coordination.k8s.io"],
        "resources": ["leases"],
        "verbs": ["get", "create", "update"],
    }
    account = api.account(namespace, "candidate", [rule])
    started: list[Candidate] = []
    async with open_kube(account.kubeconfig(proxy.url), seconds=10, calls=calls) as kube:

        def start_one(identity: str) -> Candidate:
            started.append(Candidate(kube, namespace, identity))
            return started[-1]

        yield start_one
        for candidate in started:
            await candidate.stop()


async def _until(fact: Callable[[], object], seconds: float = 10) -> float:
    """Wait for a fact; returns for how long."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    while not fact():
        assert loop.time() - started < seconds, "not in time"
        await asyncio.sleep(0.01)
    return loop.time() - started


async def _held(start: START, identity: str) -> Candidate:
    candidate = start(identity)
    await _until(lambda: candidate.lease.held, 20)
    return candidate


def _spec(api: Api, namespace: str) -> dict[str, Any]:
    spec: dict[str, Any] = api.get("leases", namespace, "writers")["spec"]
    return spec


async def test_one_of_many_simultaneous_candidates_gets_the_lease(
    start: START, api: Api, namespace: str
) -> None:
    candidates = [start(f"c{number}") for number in range(5)]
    await _until(lambda: any(one.lease.held for one in candidates))
    for _ in range(100):
        assert sum(one.lease.held for one in candidates) == 1
        await asyncio.sleep(0.02)
    holder = next(one for one in candidates if one.lease.held)
    assert holder.told == [True]
    assert 0 < holder.lease.write_seconds() < SECONDS
    for one in candidates:
        if one is not holder:
            with pytest.raises(NotLeader):
                one.lease.write_seconds()
    assert _spec(api, namespace)["leaseTransitions"] == 0


async def test_a_released_lease_is_taken_within_a_poll(start: START, api: Api, namespace: str) -> None:
    first = await _held(start, "first")
    second = start("second")
    await asyncio.sleep(0.5)
    await first.leave()
    assert first.told == [True, False]
    assert await _until(lambda: second.lease.held) < SECONDS / 3
    assert (_spec(api, namespace)["holderIdentity"], _spec(api, namespace)["leaseTransitions"]) == (
        "second",
        1,
    )


async def test_a_killed_holders_lease_is_taken_after_its_time_and_not_before(start: START) -> None:
    first = await _held(start, "first")
    second = start("second")
    await asyncio.sleep(1)
    await first.stop()
    last_write = time.monotonic() + first.lease.write_seconds()
    await _until(lambda: second.lease.held)
    assert last_write <= time.monotonic() <= last_write + SECONDS


async def test_a_restarted_container_gets_its_own_lease_without_waiting(start: START) -> None:
    first = await _held(start, "same")
    await first.stop()
    again = start("same")
    assert await _until(lambda: again.lease.held) < SECONDS / 3


async def test_the_first_of_two_holders_with_one_identity_gives_up(start: START) -> None:
    first = await _held(start, "same")
    second = start("same")
    await _until(lambda: second.lease.held)
    await _until(lambda: not first.lease.held, SECONDS / 3)
    for _ in range(100):
        assert [first.lease.held, second.lease.held] == [False, True]
        await asyncio.sleep(0.02)


async def test_the_holder_stops_in_time_when_it_cannot_renew(start: START, proxy: FaultProxy) -> None:
    first = await _held(start, "first")
    with proxy.fault(resource="leases", do="hang"):
        await _until(lambda: not first.lease.held, SECONDS)
        await _until(lambda: first.told == [True, False], 0.2)
        with pytest.raises(NotLeader):
            first.lease.write_seconds()
    await _until(lambda: first.lease.held)
    assert first.told == [True, False, True]


async def test_one_dead_connection_does_not_cost_the_lease(start: START, proxy: FaultProxy) -> None:
    first = await _held(start, "first")
    rule = proxy.add(Rule(verb="update", resource="leases", times=1, do="hang"))
    await _until(lambda: rule.hits)
    await asyncio.sleep(SECONDS)
    assert first.told == [True]


@pytest.mark.parametrize("fault", ["lose", "reset", "bad_json", "cut"])
async def test_a_lost_answer_does_not_cost_the_lease(start: START, proxy: FaultProxy, fault: str) -> None:
    first = await _held(start, "first")
    rule = proxy.add(Rule(verb="update", resource="leases", times=2, do=fault))
    await _until(lambda: len(rule.hits) == 2)
    await asyncio.sleep(1)
    assert first.told == [True]


async def test_the_lease_expires_by_time_even_if_nothing_runs(start: START) -> None:
    """A process that was stopped for a while: the clock went on, no code of ours did."""
    first = await _held(start, "first")
    first.skipped = SECONDS
    assert not first.lease.held
    with pytest.raises(NotLeader):
        first.lease.write_seconds()


async def test_retry_after_is_obeyed(start: START, proxy: FaultProxy) -> None:
    rule = proxy.add(Rule(resource="leases", do="answer", status=429, retry_after=2))
    first = start("first")
    await _until(lambda: rule.hits)
    await asyncio.sleep(1.5)
    assert len(rule.hits) == 1
    proxy.clear()
    await _until(lambda: first.lease.held)


@pytest.mark.parametrize(
    "forged",
    [
        {
            "holderIdentity": "nobody",
            "leaseDurationSeconds": 2**31 - 1,
            "renewTime": "2099-01-01T00:00:00.000000Z",
        },
        {"holderIdentity": "nobody", "leaseDurationSeconds": 1},
        {
            "holderIdentity": "x" * 5_000,
            "leaseTransitions": 2**31 - 1,
            "acquireTime": "0001-01-01T00:00:00.000000Z",
        },
        {},
    ],
    ids=["far future", "bare", "long", "no spec"],
)
async def test_a_forged_lease_locks_nobody_out(
    start: START, api: Api, namespace: str, forged: dict[str, Any]
) -> None:
    metadata = {"name": "writers", "namespace": namespace}
    api.create(
        {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": forged}
    )
    first = start("first")
    await _until(lambda: first.lease.held, SECONDS + 2)
    assert _spec(api, namespace)["holderIdentity"] == "first"


async def test_a_lease_that_is_deleted_comes_back_to_its_holder(
    start: START, api: Api, namespace: str
) -> None:
    first = await _held(start, "first")
    second = start("second")
    await asyncio.sleep(1)
    api.delete("leases", namespace, "writers")
    await _until(lambda: api.find("leases", namespace, "writers"))
    assert (first.lease.held, second.lease.held) == (True, False)
    assert second.told == []


async def test_a_lease_that_is_taken_by_force_is_given_up_at_the_next_renewal(
    start: START, api: Api, namespace: str
) -> None:
    first = await _held(start, "first")
    api.patch("leases", namespace, "writers", {"spec": {"holderIdentity": "thief"}})
    await _until(lambda: first.told == [True, False], SECONDS / 3)
    await _until(lambda: first.lease.held)  # the thief never renews


async def test_holding_costs_one_call_a_period_and_waiting_one(start: START, calls: Calls) -> None:
    await _held(start, "first")
    del calls[:]
    await asyncio.sleep(SECONDS)
    assert {verb for verb, _ in calls} == {"update"}
    assert 5 <= len(calls) <= 8
    start("second")
    await asyncio.sleep(0.1)
    del calls[:]
    await asyncio.sleep(SECONDS)
    assert sum(verb == "get" for verb, _ in calls) <= 8
