"""The scraper against fake pods on loopback: what it reads, and the bounded effect of a bad pod."""

import asyncio
import gzip
import os
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from urllib.parse import unquote

import aiohttp
import pytest

from harness.metrics_pod import Fault, MetricsPods
from posecluster_operator.scaling.exposition import NAMES
from posecluster_operator.scaling.policy.demand import PodSample
from posecluster_operator.scaling.scraper import SCRAPE_SECONDS, Scraper, Target, interval_seconds

pytestmark = pytest.mark.component

SPOILT = "unreadable metrics: posecluster_arrivals_total "
PHRASES = {
    Fault.ABSENT: "connection refused",
    Fault.SILENT: "no response in time",
    Fault.SLOW: "no response in time",
    Fault.ERROR: "response has an error status",
    Fault.REDIRECT: "response is a redirect",
    Fault.HUGE: "response too large",
    Fault.HUGE_DECLARED: "response too large",
    Fault.ENDLESS: "response too large",
    Fault.BOMB: "unreadable metrics: the response is compressed",
    Fault.CUT: "connection closed during the response",
    Fault.UNBOUNDED: "unreadable metrics: the response has no length",
    Fault.NAN: SPOILT + "has an invalid value",
    Fault.INF: SPOILT + "has an invalid value",
    Fault.NEGATIVE: SPOILT + "has an invalid value",
    Fault.ABSURD: SPOILT + "has an invalid value",
    Fault.DUPLICATE: SPOILT + "occurs twice",
    Fault.FOREIGN_LABELS: SPOILT + "has unexpected labels",
    Fault.MISSING: SPOILT + "is missing",
    Fault.GARBAGE: "unreadable metrics: the last line is incomplete",
}
READABLE = {Fault.STALE, Fault.EXTRA}
LIMIT_BYTES = 262_144
BUFFER_BYTES = 262_144  # what kernels hold at both ends, and what was on its way
FDS = "/proc/self/fd"
MARGIN_SECONDS = 0.5  # for a machine with other work


@pytest.fixture
def pods() -> Iterator[MetricsPods]:
    with MetricsPods() as made:
        yield made


@pytest.fixture
async def scraper(request: pytest.FixtureRequest) -> AsyncIterator[Scraper]:
    made = Scraper(seconds=getattr(request, "param", 1.0), monotonic=time.monotonic)
    yield made
    await made.close()


def target(address: str, uid: str = "") -> Target:
    return Target(pod=uid or address, name="pod", host=address)


async def wait_until(fact: Callable[[], bool]) -> None:
    for _ in range(1_000):
        if fact():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it never came true")


async def test_a_pod_is_read(pods: MetricsPods) -> None:
    address = pods.start()
    pods.set_load(address, queued=3, running=2)
    pods.restart(address, arrivals=100, refused=10, failed=5, late=20, busy_seconds=4.5)
    scraper = Scraper(monotonic=lambda: 1_234.5)
    sample = (await scraper.scrape([target(address, "uid")]))["uid"]
    await scraper.close()
    assert isinstance(sample, PodSample)
    assert (sample.name, sample.at, sample.queued, sample.running) == ("uid", 1_234.5, 3, 2)
    assert (sample.arrivals, sample.refused, sample.completed, sample.late) == (100, 10, 90, 20)
    assert sample.busy_seconds == 4.5
    assert abs(sample.started - time.time()) < 60
    (head,) = pods.heads(address)
    wanted = "&".join(f"name[]={name}" for name in NAMES)
    assert unquote(head).startswith(f"GET /metrics?{wanted} HTTP/1.1\r\n")
    assert re.search(r"(?mi)^accept-encoding: identity\r$", head)
    assert not re.search(r"(?mi)^(cookie|authorization):", head)


async def test_counters_grow_as_the_load_says(pods: MetricsPods, scraper: Scraper) -> None:
    address = pods.start()
    pods.set_load(
        address, per_second=1_000, service_seconds=0.01, refused_per_second=250, late_per_second=500
    )
    first = (await scraper.scrape([target(address)]))[address]
    await asyncio.sleep(0.5)  # the rates are what is measured
    second = (await scraper.scrape([target(address)]))[address]
    assert isinstance(first, PodSample)
    assert isinstance(second, PodSample)
    assert second.continues(first)
    seconds = second.at - first.at
    assert (second.arrivals - first.arrivals) / seconds == pytest.approx(1_000, rel=0.25)
    assert (second.refused - first.refused) / seconds == pytest.approx(250, rel=0.25)
    assert (second.completed - first.completed) / seconds == pytest.approx(750, rel=0.25)
    assert (second.late - first.late) / seconds == pytest.approx(500, rel=0.25)
    assert (second.busy_seconds - first.busy_seconds) / seconds == pytest.approx(7.5, rel=0.25)


@pytest.mark.parametrize("warm", [True, False], ids=["connected", "new"])
@pytest.mark.parametrize("fault", Fault)
async def test_a_failing_pod_gets_a_reason_and_does_not_affect_the_others(
    pods: MetricsPods, scraper: Scraper, fault: Fault, warm: bool
) -> None:
    bad, good = pods.start(), pods.start()
    targets = [target(bad), target(good)]
    if warm:
        assert all(isinstance(answer, PodSample) for answer in (await scraper.scrape(targets)).values())
    pods.set_fault(bad, fault)
    sent = pods.bytes_sent(bad)
    start = time.monotonic()
    answers = await scraper.scrape(targets)
    assert time.monotonic() - start < 1 + MARGIN_SECONDS
    assert isinstance(answers[good], PodSample)
    assert pods.redirect_hits == 0
    # one that declares its length is not read at all
    assert pods.bytes_sent(bad) - sent < BUFFER_BYTES + LIMIT_BYTES * (fault is not Fault.HUGE_DECLARED)
    if fault in READABLE:
        assert isinstance(answers[bad], PodSample)
    else:
        assert answers[bad] == PHRASES[fault]
        assert re.fullmatch(r"[a-zA-Z_ :]+", PHRASES[fault]), "no address, no figure"
    pods.set_fault(bad, None)
    assert isinstance((await scraper.scrape(targets))[bad], PodSample), "it is well again"


@pytest.mark.control
async def test_each_fault_of_a_fake_pod_does_what_its_name_says(pods: MetricsPods) -> None:
    """A client that trusts is redirected, takes 50 MiB, unpacks a bomb and reads half a number."""
    address = pods.start()
    url = f"http://{address}:9090/metrics"

    async def fetch(fault: Fault, *, unpack: bool = True) -> bytes:
        pods.set_fault(address, fault)
        async with aiohttp.ClientSession(auto_decompress=unpack) as session, session.get(url) as response:
            assert response.status == 200
            return await response.read()

    assert b"posecluster_arrivals_total" in await fetch(Fault.REDIRECT)
    assert pods.redirect_hits == 1
    assert len(await fetch(Fault.HUGE)) == 50 << 20
    packed = await fetch(Fault.BOMB, unpack=False)
    assert len(packed) < LIMIT_BYTES < 50 << 20 <= len(gzip.decompress(packed))
    assert not (await fetch(Fault.UNBOUNDED)).endswith(b"\n")
    assert len(await fetch(Fault.EXTRA)) > LIMIT_BYTES // 2


@pytest.mark.parametrize("scraper", [3.0], indirect=True)  # in 1 s a busy machine does not read all good ones
async def test_fifty_pods_of_which_many_are_bad_end_in_time(pods: MetricsPods, scraper: Scraper) -> None:
    kinds = [Fault.SILENT, Fault.SLOW, Fault.HUGE, Fault.ENDLESS, None]
    expected = {pods.start(): kinds[index % len(kinds)] for index in range(50)}
    for address, fault in expected.items():
        pods.set_fault(address, fault)
    for _ in range(2):
        async with asyncio.timeout(3 + MARGIN_SECONDS):
            answers = await scraper.scrape([target(address) for address in expected])
        for address, fault in expected.items():
            assert answers[address] == PHRASES[fault] if fault else isinstance(answers[address], PodSample)


async def test_the_byte_limit_applies_to_the_whole_response(pods: MetricsPods) -> None:
    address = pods.start()
    for most_bytes, read in ((1_000, False), (4_096, True)):
        scraper = Scraper(most_bytes=most_bytes, monotonic=time.monotonic)
        answer = (await scraper.scrape([target(address)]))[address]
        await scraper.close()
        assert isinstance(answer, PodSample) if read else answer == "response too large"


async def test_a_scrape_reuses_its_connection(pods: MetricsPods, scraper: Scraper) -> None:
    addresses = [pods.start() for _ in range(3)]
    for _ in range(20):
        await scraper.scrape([target(address) for address in addresses])
    assert [pods.scrapes(address) for address in addresses] == [20] * 3
    assert [pods.accepted(address) for address in addresses] == [1] * 3


async def test_connections_of_pods_that_went_are_closed(pods: MetricsPods, scraper: Scraper) -> None:
    stays, goes = pods.start(), pods.start()
    await scraper.scrape([target(stays), target(goes)])
    await scraper.scrape([target(stays)])
    await wait_until(lambda: pods.connected(goes) == 0)
    assert pods.connected(stays) == 1
    assert not await scraper.scrape([])
    await wait_until(lambda: pods.connected(stays) == 0)


async def test_another_pod_at_the_same_address_gets_its_own_connection(
    pods: MetricsPods, scraper: Scraper
) -> None:
    address = pods.start()
    assert (await scraper.scrape([target(address, "one")])).keys() == {"one"}
    assert (await scraper.scrape([target(address, "two")])).keys() == {"two"}
    assert pods.accepted(address) == 2
    await wait_until(lambda: pods.connected(address) == 1)


async def test_a_restarted_pod_is_read_at_once(pods: MetricsPods, scraper: Scraper) -> None:
    address = pods.start()
    pods.set_load(address, per_second=10_000)
    await asyncio.sleep(0.1)  # the rate is what makes the counters
    before = (await scraper.scrape([target(address)]))[address]
    pods.restart(address)
    after = (await scraper.scrape([target(address)]))[address]
    assert isinstance(before, PodSample)
    assert isinstance(after, PodSample)
    assert after.started > before.started
    assert after.arrivals < before.arrivals
    assert not after.continues(before)


async def test_descriptors_do_not_leak(pods: MetricsPods) -> None:
    kinds = [
        None,
        Fault.ERROR,
        Fault.HUGE,
        Fault.CUT,
        Fault.NAN,
        Fault.ABSENT,
        Fault.REDIRECT,
        Fault.UNBOUNDED,
    ]
    faults = {pods.start(): kind for kind in kinds}
    before = len(os.listdir(FDS))
    scraper = Scraper(monotonic=time.monotonic)
    most = 0
    for index in range(200):
        for address, fault in faults.items():
            if index % 10 == 0:
                pods.set_fault(address, fault if index % 20 else None)
        # every pod is replaced by another now and then
        await scraper.scrape([target(address, f"{address} {index // 7}") for address in faults])
        most = max(most, len(os.listdir(FDS)) - before)
    assert most <= 5 * len(faults), "both ends of a connection are in this process, and the last one's"
    await scraper.close()
    pods.set_fault(next(address for address, fault in faults.items() if fault is Fault.ABSENT), None)
    await wait_until(lambda: len(os.listdir(FDS)) <= before)


async def test_proxy_variables_of_the_environment_are_ignored(
    pods: MetricsPods, scraper: Scraper, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = pods.start()
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")
    assert isinstance((await scraper.scrape([target(address)]))[address], PodSample)


@pytest.mark.parametrize("host", ["", "localhost", "127.1", "2130706433", "127.0.0.1/x", "a b", "[::1]", "é"])
async def test_only_ip_addresses_are_scraped(pods: MetricsPods, scraper: Scraper, host: str) -> None:
    """A name would be looked up, by a pool of threads that everybody shares."""
    good = pods.start()
    answers = await scraper.scrape([target(host, "bad"), target(good)])
    assert answers["bad"] == "invalid pod IP address"
    assert isinstance(answers[good], PodSample)


async def test_many_pods_start_a_hundred_at_a_time(
    pods: MetricsPods, scraper: Scraper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "posecluster_operator.scaling.scraper.SCRAPE_SECONDS", 0.005
    )  # a second for a hundred
    address = pods.start()
    scraping = asyncio.create_task(scraper.scrape([target(address, str(uid)) for uid in range(150)]))
    await wait_until(lambda: pods.scrapes(address) >= 100)
    assert pods.accepted(address) == 100
    assert all(isinstance(answer, PodSample) for answer in (await scraping).values())
    assert pods.accepted(address) == 150


async def test_a_scrape_may_be_cancelled(pods: MetricsPods, scraper: Scraper) -> None:
    silent, good = pods.start(), pods.start()
    pods.set_fault(silent, Fault.SILENT)
    scraping = asyncio.create_task(scraper.scrape([target(silent), target(good)]))
    await wait_until(lambda: pods.scrapes(silent) == 1)
    scraping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await scraping
    await wait_until(lambda: pods.connected(silent) == 0)
    assert isinstance((await scraper.scrape([target(good)]))[good], PodSample)


def test_very_many_pods_are_scraped_less_often() -> None:
    assert [interval_seconds(pods) for pods in (0, 1, 100, 500)] == [1.0] * 4
    assert interval_seconds(2_000) == 4.0
    for pods in (600, 1_000, 5_000):
        assert pods * SCRAPE_SECONDS / interval_seconds(pods) == pytest.approx(0.25)
