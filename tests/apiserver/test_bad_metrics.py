"""Check 16: metrics that are missing, late or absurd never shrink a service, and the status reports them."""

import math
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.kubernetes.api import Api
from harness.kubernetes.changed_operator import planted
from harness.kubernetes.loaded_pods import LoadedPods
from harness.kubernetes.operator import OperatorProcess
from harness.kubernetes.proxy import FaultProxy
from harness.kubernetes.sizes import deployment_size, size_changes, ticks, wait_ticks
from harness.kubernetes.waiting import conditions, posecluster, wait_until
from harness.metrics_pod import Fault
from harness.recorder import RecordFigure
from harness.scaling import OBJECTIVE, sample
from posecluster_operator.scaling.policy import WINDOWS, Policy, Samples, State, decide

FAULTS = {
    "absent": Fault.ABSENT,
    "slow": Fault.SLOW,
    "error": Fault.ERROR,
    "redirected": Fault.REDIRECT,
    "huge": Fault.HUGE,
    "nan": Fault.NAN,
    "inf": Fault.INF,
    "negative": Fault.NEGATIVE,
    "absurd": Fault.ABSURD,
    "stale": Fault.STALE,
    "duplicated": Fault.DUPLICATE,
}
ONE_OF_FIVE = "one-of-five"  # the twelfth: four are silent
NAMES = (*FAULTS, ONE_OF_FIVE)
PODS, MOST = 5, 10
SERVICE_SECONDS = 0.05
HOLD_SECONDS = 6  # less than a fault lasts; longer than it takes to see that counters stand still
HOLD_TICKS = math.ceil(HOLD_SECONDS / WINDOWS.tick_seconds)
SETTLE_TICKS = 24  # the steady rate is that of 20 ticks
DECISIONS = 5
TOLD_SECONDS, BACK_SECONDS = 30.0, 5.0  # back: two intervals, and the pass that writes it
SCRAPE_SECONDS, SCRAPE_KIB = 1.5, 256
# what the two kernels buffer in addition; it is never read
KERNEL_KIB = 192

ZEROS = """
import dataclasses
import time
from posecluster_operator.scaling.scraper import Scraper

_scrape, _known = Scraper.scrape, {}

async def _zeros(self, targets):
    found = await _scrape(self, targets)
    for uid, one in found.items():
        if not isinstance(one, str):
            _known[uid] = one
        elif uid in _known:
            found[uid] = dataclasses.replace(_known[uid], at=time.monotonic(), queued=0.0, running=0.0)
    return found

Scraper.scrape = _zeros
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """A load (requests a second) for which PODS pods are just right, and the most that it may ever want."""

    per_second: float
    most: int


def wanted(per_second: float) -> list[float]:
    """Pods that `decide` wants for a constant load on PODS pods, tick by tick: the documented rule."""
    holds = {"hold_seconds": float(HOLD_SECONDS), "max_hold_seconds": float(HOLD_SECONDS)}
    policy = Policy(objective=OBJECTIVE, min_replicas=1, max_replicas=MOST, **holds, windows=WINDOWS)
    state, found = State(policy=policy), []
    for tick in range(SETTLE_TICKS + 1):
        now = tick * WINDOWS.tick_seconds
        done = per_second * now / PODS
        counters = {"arrivals": done, "completed": done, "busy_seconds": done * SERVICE_SECONDS}
        pods = tuple(sample(str(pod), now, **counters) for pod in range(PODS))
        decided = decide(now, Samples(replicas=PODS, ready=PODS, pods=pods), state)
        state = decided.state
        if decided.numbers is not None:
            found.append(max(decided.numbers.steady_pods, decided.numbers.burst_pods))
    return found


@pytest.fixture(scope="module")
def plan() -> Plan:
    """For any constants of the autoscaler."""
    low, high = 1.0, 1_000.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if wanted(middle)[-1] < PODS - 0.7 else (low, middle)
    # Far enough below PODS that the jitter of ticks orders none. The rate is observed after a gap, because a
    # pod with unchanging metrics reports its arrivals later.
    return Plan(low, min(MOST, math.ceil(max(wanted(1.5 * low)))))


def settle(
    api: Api, namespace: str, operator: OperatorProcess, pods: LoadedPods, names: Collection[str], plan: Plan
) -> None:
    """PoseClusters whose load wants just the pods that they have; they may have more, or fewer."""
    holds = {"holdSeconds": HOLD_SECONDS, "maxHoldSeconds": HOLD_SECONDS}
    scaling = {"mode": "Auto", "minReplicas": 1, "maxReplicas": PODS, "scaleDown": holds}
    for name in names:
        pods.of(name).change(per_second=plan.per_second, service_seconds=SERVICE_SECONDS, running=PODS)
        api.create(posecluster(name, namespace, replicas=PODS, scaling=scaling))
    for name in names:
        api.wait_ready(namespace, name, 60)
    wait_ticks(operator, SETTLE_TICKS)
    for name in names:
        api.patch("poseclusters", namespace, name, {"spec": {"scaling": {"maxReplicas": MOST}}})
        api.wait_condition(namespace, name, "ScalingActive", status="True")
    wait_ticks(operator, HOLD_TICKS + 1)
    assert {name: deployment_size(api, namespace, name) for name in names} == dict.fromkeys(names, PODS)


def wait_active(api: Api, namespace: str, wanted: dict[str, tuple[str, str | None]], seconds: float) -> float:
    """Wait until ScalingActive of each has this status and, unless None, reason; how long it took."""
    begin = time.monotonic()

    def left() -> dict[str, str]:
        found = {}
        for item in api.list("poseclusters", namespace):
            status, reason = wanted[item["metadata"]["name"]]
            active = conditions(item)["ScalingActive"]
            if active["status"] != status or reason not in (None, active["reason"]):
                found[item["metadata"]["name"]] = active["reason"]
        return found

    try:
        wait_until(lambda: not left(), seconds, "reported as expected")
    except AssertionError as error:
        raise AssertionError(f"{error}: {left()}") from None
    return time.monotonic() - begin


def assert_held(proxy: FaultProxy, names: Collection[str], plan: Plan, since: float) -> None:
    """No size fell, none rose above what the load of all pods wants."""
    for name in names:
        sizes = [change.size for change in size_changes(proxy, name, since=since)]
        steps = [PODS, *sizes]
        assert steps == sorted(steps), f"{name} shrank: {steps}"
        assert steps[-1] <= plan.most, f"{name} grew: {steps}"


def scrape_seconds(operator: OperatorProcess) -> tuple[float, float]:
    """How many scrapes of all pods there were, and their time together."""
    return operator.metrics("scrape_seconds_count"), operator.metrics("scrape_seconds_sum")


@pytest.mark.acceptance(16)
@pytest.mark.hostile("K-14")
@pytest.mark.timeout(240)
@pytest.mark.parametrize("whose", ["all five", "the busiest"])
def test_bad_metrics_never_shrink(
    whose: str,
    api: Api,
    namespace: str,
    start_operator: Callable[..., OperatorProcess],
    pods: LoadedPods,
    proxy: FaultProxy,
    plan: Plan,
    record_figure: RecordFigure,
) -> None:
    operator = start_operator()
    settle(api, namespace, operator, pods, NAMES, plan)
    if whose == "the busiest":
        for name in NAMES:
            busiest, *others = sorted(pods.addresses(name))
            pods.of(name).change(weights=dict.fromkeys(others, 0.05))
    scrapes, sent = pods.scrapes("huge"), pods.bytes_sent("huge")
    since, before, passes = time.monotonic(), ticks(operator), scrape_seconds(operator)
    expected: dict[str, tuple[str, str | None]] = {}
    spoilt: dict[str, set[str]] = {}
    for name in NAMES:
        busiest, *others = sorted(pods.addresses(name))
        bad = spoilt[name] = {busiest} if whose == "the busiest" else {busiest, *others}
        if name == ONE_OF_FIVE:
            bad = set(others)
        pods.set_fault(name, FAULTS.get(name, Fault.SILENT), pods=bad)
        expected[name] = ("False", "NoMetrics" if len(bad) == PODS else "PartialMetrics")
    told = wait_active(api, namespace, expected, TOLD_SECONDS)
    wait_ticks(operator, max(0, DECISIONS + 1 - (ticks(operator) - before)))
    decisions = ticks(operator) - before - 1
    assert_held(proxy, NAMES, plan, since)
    count, seconds = (now - then for now, then in zip(scrape_seconds(operator), passes, strict=True))
    huge = spoilt["huge"]
    reads = sum(pods.scrapes("huge")[pod] - scrapes[pod] for pod in huge)
    kib = sum(pods.bytes_sent("huge")[pod] - sent[pod] for pod in huge) / reads / 1024

    for name in NAMES:
        pods.set_fault(name, None)
    back = wait_active(api, namespace, dict.fromkeys(NAMES, ("True", None)), 20)
    wait_ticks(operator, HOLD_TICKS + 3)
    for name in NAMES:
        sizes = [change.size for change in size_changes(proxy, name, since=since)]
        assert all(PODS <= size <= plan.most for size in sizes), f"{name} after the fault: {sizes}"

    sample = f"{len(NAMES)} faults x {decisions} decisions"
    record_figure(f"bad metrics of {whose}: sizes that fell", 0, bar="0", sample=sample)
    record_figure("  told after", told, bar=f"<= {TOLD_SECONDS:.0f} s", unit="s", sample=len(NAMES))
    record_figure(
        "  normal after",
        back,
        bar=f"<= {BACK_SECONDS:.0f} s (2 intervals to the decision, then the pass that writes it)",
        unit="s",
        sample=len(NAMES),
    )
    record_figure(
        "  one scrape of all pods, mean",
        seconds / count,
        bar=f"<= {SCRAPE_SECONDS} s",
        unit="s",
        sample=round(count),
    )
    record_figure(
        "  sent for a scrape of 50 MiB",
        kib,
        bar=f"<= {SCRAPE_KIB} KiB read, {KERNEL_KIB} in the kernels",
        unit="KiB",
        sample=reads,
    )
    assert decisions >= DECISIONS
    assert back <= BACK_SECONDS
    assert seconds / count <= SCRAPE_SECONDS
    assert kib <= SCRAPE_KIB + KERNEL_KIB
    assert operator.metrics("scrape_failures_total") >= len(FAULTS) * DECISIONS
    assert pods.metrics.redirect_hits == 0


@pytest.mark.acceptance(16)
@pytest.mark.hostile("K-14")
@pytest.mark.control
def test_missing_read_as_zero_would_shrink(
    api: Api,
    namespace: str,
    pods: LoadedPods,
    proxy: FaultProxy,
    plan: Plan,
    start_operator: Callable[..., OperatorProcess],
    tmp_path: Path,
) -> None:
    operator = start_operator(env=planted(tmp_path / "slip", ZEROS))
    settle(api, namespace, operator, pods, ["slow"], plan)
    since = time.monotonic()
    pods.set_fault("slow", Fault.SLOW)
    wait_ticks(operator, 15)
    with pytest.raises(AssertionError, match="slow shrank"):
        assert_held(proxy, ["slow"], plan, since)
