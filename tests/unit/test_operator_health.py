"""The operator's probes: what counts as alive and as ready, and that the answers give a reason."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from posecluster_operator.admin.health import Health, Reply, Watch
from posecluster_operator.admin.namespaces import Namespaces
from posecluster_operator.admin.server import Port

pytestmark = pytest.mark.unit

PODS, SERVICES = Watch("pods", ""), Watch("services", "a")
OK = Reply(True, "ok")


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(clock: Clock) -> Health:
    return Health(stall_seconds=150, clock=clock)


def test_starting_is_alive_but_not_ready(health: Health, clock: Clock) -> None:
    clock.now += 10_000
    assert health.live() == OK
    assert health.ready() == Reply(False, "connecting to the API server")
    health.pause("waiting for the CRD")
    assert health.ready() == Reply(False, "waiting for the CRD")


def test_ready_when_every_watch_has_listed(health: Health) -> None:
    health.expect([PODS, SERVICES])
    assert health.ready() == Reply(False, "not yet listed: pods, services in a")
    health.opened(PODS)
    health.opened(Watch("secrets", ""))
    assert health.ready() == Reply(False, "not yet listed: services in a")
    health.opened(SERVICES)
    assert health.ready() == OK
    health.pause("waiting for the CRD")
    assert not health.ready().ok


def test_a_denied_namespace_does_not_make_the_others_unready(clock: Clock) -> None:
    namespaces = Namespaces(["a", "b"])
    health = Health(stall_seconds=150, namespaces=namespaces, clock=clock)
    assert not health.watches("a")
    health.expect([Watch("pods", "a"), Watch("services", "a"), Watch("pods", "b")])
    namespaces.deny("b", "list pods", "denied")
    assert health.ready() == Reply(False, "not yet listed: pods in a, services in a")
    health.opened(Watch("pods", "a"))
    assert not health.watches("a")
    health.opened(Watch("services", "a"))
    assert health.ready() == Reply(True, "ok; not watched, because reads are denied: b")
    assert (health.watches("a"), health.watches("b")) == (True, False)
    namespaces.deny("a", "watch services", "denied")
    assert health.ready() == Reply(False, "not watched, because reads are denied: a, b")
    assert not health.watches("a")
    namespaces.allow("a", "watch services")
    namespaces.allow("b", "list pods")
    assert health.ready() == Reply(False, "not yet listed: pods in b")
    health.opened(Watch("pods", "b"))
    assert health.ready() == OK
    assert health.watches("b")
    health.pause("waiting for the CRD")
    assert not health.watches("b")


def test_a_silent_watch_is_a_stall_and_names_itself(health: Health, clock: Clock) -> None:
    health.expect([PODS, SERVICES])
    clock.now += 149
    health.heard(PODS)
    assert health.live() == OK
    clock.now += 2
    assert health.live() == Reply(False, "watches without events: services in a")
    health.heard(SERVICES)
    assert health.live() == OK


def test_repeated_restarts_of_a_watch_do_not_hide_a_stall(health: Health, clock: Clock) -> None:
    health.expect([PODS])
    for _ in range(16):
        clock.now += 10
        health.pause("waiting for the CRD")
        health.expect([PODS])
    assert health.live() == Reply(False, "watches without events: pods")


def test_a_pause_of_watching_does_not_count_as_silence(health: Health, clock: Clock) -> None:
    health.expect([PODS])
    clock.now += 100
    health.pause("waiting for the CRD")
    clock.now += 10_000
    assert health.live() == OK
    health.expect([PODS])
    assert health.live() == OK
    clock.now += 51
    assert not health.live().ok


@pytest.mark.parametrize(
    ("oldest", "longest", "reason"),
    [
        (0, 0, "ok"),
        (500, 20, "ok"),  # an outage: each pass fails in time, many wait
        (121, 0, "PoseClusters are due, but none is being reconciled"),
        (0, 121, "the reconciliation of a PoseCluster takes more than 2 minutes"),
    ],
)
def test_a_stalled_work_queue_is_not_alive(
    health: Health, oldest: float, longest: float, reason: str
) -> None:
    health.look_at_queue(oldest_key=lambda: oldest, longest_pass=lambda: longest)
    assert health.live() == Reply(reason == "ok", reason)


def test_a_blocked_loop_is_not_alive(health: Health) -> None:
    health.show_lag(5.1)
    assert health.live() == Reply(False, "the event loop is blocked")
    health.show_lag(0.1)
    assert health.live() == OK


async def test_the_lag_is_measured(health: Health, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    told = asyncio.Event()

    def show_lag(seconds: float) -> None:
        Health.show_lag(health, seconds)
        told.set()

    monkeypatch.setattr(health, "show_lag", show_lag)
    task = asyncio.create_task(health.run())
    await asyncio.sleep(0)
    clock.now += 7.5
    await asyncio.wait_for(told.wait(), 5)
    assert health.live().text == "the event loop is blocked"
    task.cancel()


# --- the port ---


class Probed:
    verdict = OK


@pytest.fixture
async def url() -> AsyncIterator[str]:
    Probed.verdict = OK
    port = Port(
        metrics=lambda names: f"asked {','.join(names)}\n".encode(),
        content_type="text/plain; version=0.0.4; charset=utf-8",
        live=lambda: Probed.verdict,
        ready=lambda: Reply(False, "not yet"),
        explain=lambda namespace, name: Reply(name == "demo", f"{namespace} and {name}"),
    )
    [(_, taken)] = await port.start("127.0.0.1", 0)
    yield f"http://127.0.0.1:{taken}"
    await port.stop()


async def get(url: str) -> tuple[int, str, str]:
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status, response.headers["Content-Type"], await response.text()


async def test_the_port_answers_with_verdicts_and_reasons(url: str) -> None:
    plain = "text/plain; charset=utf-8"
    assert await get(f"{url}/livez") == (200, plain, "ok\n")
    Probed.verdict = Reply(False, "the event loop is blocked")
    assert await get(f"{url}/livez") == (503, plain, "the event loop is blocked\n")
    assert await get(f"{url}/readyz") == (503, plain, "not yet\n")


async def test_the_port_explains_known_poseclusters_only(url: str) -> None:
    plain = "text/plain; charset=utf-8"
    assert await get(f"{url}/explain/default/demo") == (200, plain, "default and demo\n")
    assert await get(f"{url}/explain/default/other") == (404, plain, "default and other\n")
    assert await get(f"{url}/explain/a%2Fb/demo") == (200, plain, "a/b and demo\n")
    assert (await get(f"{url}/explain/demo"))[0] == 404
    assert (await get(f"{url}/explain/default/demo/more"))[0] == 404


async def test_the_port_shows_metrics(url: str) -> None:
    expected = (200, "text/plain; version=0.0.4; charset=utf-8", "asked a,b\n")
    assert await get(f"{url}/metrics?name[]=a&name[]=b") == expected
    status, _, text = await get(f"{url}/metrics?{'&'.join(['name[]=a'] * 100)}")
    assert (status, text.count("a,")) == (200, 63)
    assert (await get(f"{url}/secret"))[0] == 404
