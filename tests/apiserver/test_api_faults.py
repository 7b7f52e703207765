"""Check 12: the operator obeys what a failing API server asks for, and no PoseCluster fails permanently."""

import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import pytest

from harness.bars import bar_text
from harness.kubernetes.api import Api
from harness.kubernetes.facts import is_rolled_out, wait_rolled_out
from harness.kubernetes.operator import OperatorProcess, StartOperator
from harness.kubernetes.player import Player
from harness.kubernetes.proxy import Call, FaultProxy
from harness.kubernetes.waiting import Json, conditions, posecluster, wait_until
from harness.recorder import RecordFigure

PENDING = 20
HITS = 20
# a timer may fire this much before the whole seconds of a Retry-After are over, seen from the proxy
CLOCK_SECONDS = 0.02
OUTAGE_SECONDS = 10.0
# the Lease's calls meet most faults too; so long that it is held all the while, and passes go on
LEASE_SECONDS = 15
NO_RIGHT = {
    "kind": "Status",
    "apiVersion": "v1",
    "metadata": {},
    "status": "Failure",
    "message": 'poseclusters.posecluster.io "x" is forbidden: User "u" cannot get resource "poseclusters" in '
    'API group "posecluster.io" in the namespace "n"',
    "reason": "Forbidden",
    "code": 403,
}


@dataclass(frozen=True, slots=True)
class Fault:
    """What the proxy does to each call, for how long, and which calls of them."""

    rule: Json
    seconds: float = 5.0
    pending: int = PENDING
    hits: int = HITS


FAULTS = {
    "429": Fault({"do": "answer", "status": 429, "retry_after": 2}),
    "503": Fault({"do": "answer", "status": 503, "retry_after": 1}),
    "hang": Fault({"do": "hang"}),
    "reset": Fault({"do": "reset"}),
}
# test_watch_faults.py covers broken watches
NO_WATCH = "[!w]*"
# these run shorter, and on fewer PoseClusters
OTHERS = {
    "500": Fault({"do": "answer", "status": 500}, 2.0, 5, 5),
    "409": Fault({"do": "answer", "status": 409, "verb": "write", "resource": "[!l]*"}, 2.0, 5, 5),
    "403": Fault({"do": "answer", "status": 403, "body": NO_RIGHT}, 2.0, 5, 5),
    "401": Fault({"do": "answer", "status": 401}, 2.0, 5, 5),
    "bad JSON": Fault({"do": "bad_json", "verb": NO_WATCH}, 2.0, 5, 5),
    "cut": Fault({"do": "cut", "verb": NO_WATCH}, 2.0, 5, 5),
    "lost answers": Fault({"do": "lose", "verb": "write", "resource": "[!l]*"}, 2.0, 5, 5),
}


def long(fault: Fault) -> Fault:
    """The same fault for as long as in a long run."""
    return Fault(fault.rule, 60.0, PENDING, HITS)


def subject(call: Call) -> str:
    """The PoseCluster that a call is about; "" for none."""
    label = "app.kubernetes.io/instance="
    for part in call.query.get("labelSelector", "").split(","):
        if part.startswith(label):
            return part.removeprefix(label)
    name = call.name or (call.document()["metadata"].get("name", "") if call.verb == "create" else "")
    return name.removesuffix("-pods").removesuffix("-pose").partition(".")[0]


def by_subject(calls: Iterable[Call], namespace: str) -> dict[str, list[Call]]:
    """Calls about PoseClusters of a namespace, without watches."""
    found: dict[str, list[Call]] = defaultdict(list)
    for call in calls:
        if (
            call.namespace == namespace
            and call.verb != "watch"
            and call.resource != "leases"
            and subject(call)
        ):
            found[subject(call)].append(call)
    return found


def early(calls: list[Call]) -> list[str]:
    """Calls about one object that came before an earlier answer's Retry-After was over."""
    found, not_before = [], 0.0
    for call in calls:
        if call.time < not_before - CLOCK_SECONDS:
            found.append(f"{call} {not_before - call.time:.2f} s early")
        if call.retry_after is not None:
            not_before = max(not_before, (call.ended or call.time) + call.retry_after)
    return found


def endure(
    api: Api, namespace: str, proxy: FaultProxy, fault: Fault, *, ready_seconds: float, most_calls: int
) -> dict[str, float]:
    """Make PoseClusters while every call meets the fault; the figures of it. They are gone afterwards."""
    names = [f"demo-{number}" for number in range(fault.pending)]
    started = time.monotonic()
    with proxy.fault(**fault.rule) as rule:
        for name in names:
            api.create(posecluster(name, namespace))

        def over() -> bool:
            return time.monotonic() - started >= fault.seconds and len(rule.hits) >= fault.hits

        wait_until(over, fault.seconds + 10, f"{fault.hits} hits in {fault.seconds} s")
        during = by_subject(rule.hits, namespace)
    ended = time.monotonic()
    left = set(names)

    def ready() -> bool:
        found = {item["metadata"]["name"]: item for item in api.list("poseclusters", namespace)}
        left.difference_update({name for name in left if is_rolled_out(found[name])})
        return not left

    wait_until(ready, ready_seconds, "all Ready")
    passed = time.monotonic() - ended
    for item in api.list("poseclusters", namespace):
        assert conditions(item)["Progressing"]["status"] == "True"
    for name, calls in by_subject(proxy.find(since=started), namespace).items():
        assert early(calls) == [], name
    assert set(during) >= set(names), "each met the fault"
    calls = {name: len(found) for name, found in during.items()}
    assert max(calls.values()) <= most_calls, calls
    for name in names:
        api.delete("poseclusters", namespace, name)
    return {"hits": len(rule.hits), "most": max(calls.values()), "ready": passed}


@pytest.mark.acceptance(12)
@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.timeout(400)
def test_twenty_pending_poseclusters_survive_five_seconds_of_faults(
    api: Api,
    namespace: str,
    player: Player,
    proxy: FaultProxy,
    start_operator: StartOperator,
    name: str,
    record_figure: RecordFigure,
    long_run: bool,
) -> None:
    operator = start_operator(
        lease_seconds=LEASE_SECONDS,
        workers=PENDING,  # so that each of them meets a fault that hangs
    )
    fault = long(FAULTS[name]) if long_run else FAULTS[name]
    found = endure(
        api,
        namespace,
        proxy,
        fault,
        ready_seconds=120 if long_run else 15,
        most_calls=10 if long_run else 5,
    )
    most, ready = ("<= 10 a minute", "<= 120 s") if long_run else ("<= 5", "<= 15 s")
    record_figure(f"calls an object, {name}", found["most"], bar=most, sample=int(found["hits"]))
    record_figure(f"Ready after {name}", found["ready"], bar=ready, unit="s", sample=fault.pending)
    assert operator.leader()
    assert operator.probe("/livez") == 200


@pytest.mark.acceptance(12)
@pytest.mark.timeout(900)
def test_other_faults_leave_no_posecluster_failed(
    api: Api,
    namespace: str,
    player: Player,
    proxy: FaultProxy,
    start_operator: StartOperator,
    record_figure: RecordFigure,
    long_run: bool,
) -> None:
    operator = start_operator(lease_seconds=LEASE_SECONDS)
    slowest = {}
    for name, fault in OTHERS.items():
        found = endure(
            api,
            namespace,
            proxy,
            long(fault) if long_run else fault,
            ready_seconds=120 if long_run else 15,
            # a pass that is refused half-way has made more than one call
            most_calls=20 if long_run else 12,
        )
        slowest[name] = found["ready"]
        player.collect_garbage()
    bar = bar_text("<= 15 s", "<= 120 s", "2 s each, 5 PoseClusters")
    record_figure(f"Ready after {', '.join(OTHERS)}", max(slowest.values()), bar=bar, unit="s", sample=5)
    assert operator.leader()


@pytest.mark.acceptance(12)
@pytest.mark.control
def test_a_caller_that_does_not_wait_is_found() -> None:
    def call(at: float, retry_after: int | None = None) -> Call:
        return Call(time=at, verb="get", resource="poseclusters", ended=at, retry_after=retry_after)

    assert early([call(0, 2), call(2.0, 1), call(3.5)]) == []
    assert len(early([call(0, 2), call(1.5), call(2.5)])) == 1
    assert len(early([call(0, 5), call(1, 1), call(3), call(6)])) == 2


@pytest.mark.acceptance(12)
def test_the_operator_survives_an_outage(
    api: Api,
    namespace: str,
    player: Player,
    proxy: FaultProxy,
    operator: OperatorProcess,
    record_figure: RecordFigure,
) -> None:
    api.create(posecluster("old", namespace))
    wait_rolled_out(api, namespace, "old")
    with proxy.refuse():
        started = time.monotonic()
        api.patch("poseclusters", namespace, "old", {"spec": {"replicas": 3}})
        api.create(posecluster("new", namespace))
        api.delete("services", namespace, "old-pose")

        def over() -> bool:
            assert operator.probe("/livez") == 200, "it is not the operator's fault"
            return time.monotonic() - started >= OUTAGE_SECONDS

        wait_until(over, OUTAGE_SECONDS + 10, "the outage over")
        assert not operator.leader(), "nobody renews the Lease"
    ended = time.monotonic()
    for name in ("old", "new"):
        wait_rolled_out(api, namespace, name, 30)
    assert api.find("services", namespace, "old-pose")
    passed = time.monotonic() - ended
    record_figure("Ready after an outage of 10 s", passed, bar="<= 15 s", unit="s", sample=2)
    assert passed <= 15
    assert operator.leader()
    assert operator.logs().count("Lease cannot be read or written") <= 3, "said once, not each time"
