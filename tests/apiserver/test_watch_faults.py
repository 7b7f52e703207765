"""Check 11: a watch that is silent, gets 410 or is cut misses nothing for long.

The periodic resync is postponed, so that only the watches can report changes.
"""

import time
from collections.abc import Callable

import pytest

from harness.bars import bar_text
from harness.kubernetes.api import Api
from harness.kubernetes.facts import wait_rolled_out
from harness.kubernetes.operator import OperatorProcess, StartOperator
from harness.kubernetes.player import Player
from harness.kubernetes.proxy import Call, FaultProxy, Rule
from harness.kubernetes.waiting import posecluster, wait_until
from harness.recorder import RecordFigure

ROUNDS = 3
NO_RESYNC_SECONDS = 86_400
INACTIVITY_SECONDS = 2
# Seconds allowed beyond the inactivity time-out. A line that is not JSON ends kopf, whose third start in a
# row waits for 4 s.
ALLOWED = {"silence": 5.0, "gone": 5.0, "cut": 3.0, "bad_json": 10.0}
SHARED = 2  # times that, where other tests share the processors
Start = Callable[..., OperatorProcess]


@pytest.fixture
def start(start_operator: StartOperator) -> Start:
    def start_one(inactivity_seconds: int) -> OperatorProcess:
        return start_operator(
            resync_seconds=NO_RESYNC_SECONDS,
            watch_inactivity_seconds=inactivity_seconds,
            stall_seconds=7_200,
        )

    return start_one


def break_watch(proxy: FaultProxy, do: str, resource: str = "poseclusters") -> Call:
    """Do this to the one watch of a kind that is open; it."""
    wait_until(lambda: proxy.open_watches(resource), 10, f"watching {resource}")
    rule = proxy.add(Rule(verb="watch", resource=resource, do=do, times=1))  # type: ignore[arg-type]
    wait_until(lambda: rule.hits, 5, f"{do} on the watch")
    return rule.hits[0]


def is_known(operator: OperatorProcess, name: str) -> bool:
    """Whether the operator shows the size of a PoseCluster, which it does until it finds it gone."""
    return operator.metrics("desired_replicas", name=name) > 0


def is_resting(operator: OperatorProcess) -> bool:
    """Whether half a second passes without a reconcile pass."""
    before = operator.metrics("reconcile_total")
    time.sleep(0.5)
    return operator.metrics("reconcile_total") == before


def notice(api: Api, operator: OperatorProcess, namespace: str, number: int, seconds: float) -> float:
    """Create one PoseCluster and delete the one before; seconds until both are noticed."""
    started = time.monotonic()
    new, old = f"round-{number}", f"round-{number - 1}"
    api.create(posecluster(new, namespace))
    api.delete("poseclusters", namespace, old)

    def noticed() -> bool:
        return bool(api.find("deployments", namespace, f"{new}-pose")) and not is_known(operator, old)

    wait_until(noticed, seconds, "noticed")
    return time.monotonic() - started


@pytest.mark.acceptance(11)
@pytest.mark.parametrize("do", ALLOWED)
@pytest.mark.timeout(400)
def test_changes_missed_by_a_broken_watch_are_noticed(
    api: Api,
    namespace: str,
    player: Player,
    proxy: FaultProxy,
    start: Start,
    do: str,
    record_figure: RecordFigure,
    long_run: bool,
) -> None:
    inactivity = 70 if long_run else INACTIVITY_SECONDS
    operator = start(inactivity)
    api.create(posecluster("round-0", namespace))
    wait_rolled_out(api, namespace, "round-0")
    limit = ALLOWED[do] * (1 if long_run else SHARED) + (inactivity if do == "silence" else 0)
    times = []
    for number in range(1, ROUNDS + 1):
        broken = break_watch(proxy, do)
        times.append(notice(api, operator, namespace, number, limit))
        wait_until(lambda: broken.ended, 5, "the broken watch ended")  # noqa: B023
        assert proxy.find(verb="watch", resource="poseclusters", since=broken.ended), "another in its place"
        wait_rolled_out(api, namespace, f"round-{number}")
        proxy.clear()
    listed = f"<= {ALLOWED[do] + (70 if do == 'silence' else 0):.0f} s"
    shared = f"other tests share the two cores, the inactivity time-out is {inactivity} s"
    bar = bar_text(f"<= {limit:.0f} s", listed, shared)
    record_figure(f"noticed after {do}", max(times), bar=bar, unit="s", sample=ROUNDS)
    assert operator.probe("/livez") == 200


@pytest.mark.acceptance(11)
@pytest.mark.control
def test_without_the_inactivity_limit_a_silent_watch_misses_both(
    api: Api, namespace: str, player: Player, proxy: FaultProxy, start: Start
) -> None:
    operator = start(3_600)
    api.create(posecluster("round-0", namespace))
    wait_rolled_out(api, namespace, "round-0")
    wait_until(lambda: is_resting(operator), 10, "no pass is left to find it gone")
    broken = break_watch(proxy, "silence")
    with pytest.raises(AssertionError, match="not noticed"):
        notice(api, operator, namespace, 1, INACTIVITY_SECONDS + ALLOWED["silence"])
    assert not broken.ended
    assert api.find("deployments", namespace, "round-1-pose") is None, "neither was"
    assert is_known(operator, "round-0")
    # it was the watch: let go, it is noticed
    proxy.clear()
    api.delete("poseclusters", namespace, "round-1")


@pytest.mark.acceptance(11)
@pytest.mark.parametrize("do", ALLOWED)
def test_drift_missed_by_a_broken_watch_of_children_is_repaired(
    api: Api, namespace: str, player: Player, proxy: FaultProxy, start: Start, do: str
) -> None:
    start(INACTIVITY_SECONDS)
    api.create(posecluster("demo", namespace))
    wait_rolled_out(api, namespace, "demo")
    uid = api.get("services", namespace, "demo-pose")["metadata"]["uid"]
    break_watch(proxy, do, "services")
    api.delete("services", namespace, "demo-pose")

    def repaired() -> bool:
        found = api.find("services", namespace, "demo-pose")
        return found is not None and found["metadata"]["uid"] != uid

    wait_until(repaired, INACTIVITY_SECONDS + SHARED * ALLOWED[do], "repaired")
