"""Check 23: of two operators only one writes, whatever happens to it; and it ends in order on SIGTERM.

The proxy's record shows who wrote what and when: each operator has a separate port (`door`).
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise

import pytest

from harness.bars import bar_text
from harness.kubernetes.api import Api
from harness.kubernetes.facts import wait_rolled_out
from harness.kubernetes.operator import OperatorProcess, StartOperator
from harness.kubernetes.player import Player
from harness.kubernetes.proxy import Call, FaultProxy, Rule
from harness.kubernetes.waiting import Json, posecluster, wait_until
from harness.recorder import RecordFigure

LISTED_TAKEOVER_SECONDS = 30.0
LISTED_LEASE_SECONDS = 15
LEASE_SECONDS = 3
AT_ONCE = 6  # PoseClusters made while the leader is taken away
FAULTS = ("killed", "stopped", "cut off", "stopped", "cut off")
LEAST_WRITES = 20


def faults(writes: Sequence[Call], *, handovers: int) -> list[str]:
    """Where two wrote at a time, and whether it went to and fro more often than it was handed over."""
    landed = sorted((call for call in writes if call.forwarded), key=lambda call: call.time)
    spells = [list(spell) for _, spell in groupby(landed, key=lambda call: call.door)]
    found = [
        f"overlap: {call} of {call.door} not over when {after[0].door} wrote"
        for before, after in pairwise(spells)
        for call in before
        if not call.ended or call.ended > after[0].time
    ]
    if len(spells) - 1 > handovers:
        found.append(f"to and fro: {len(spells) - 1} changes of the writer, {handovers} handovers")
    return found


@dataclass(slots=True)
class Pair:
    """Two operators of the same namespace; one that ends is started again as the standby."""

    api: Api
    namespace: str
    proxy: FaultProxy
    start: Callable[[str], OperatorProcess]
    operators: list[OperatorProcess] = field(default_factory=list)
    doors: Iterator[int] = field(default_factory=lambda: iter(range(100)))

    def add(self) -> OperatorProcess:
        """Start one more, through a door of its own."""
        operator = self.start(f"door-{next(self.doors)}")
        self.operators.append(operator)
        return operator

    def leader(self) -> OperatorProcess:
        """Who holds the Lease: exactly one of those that can be asked."""
        leaders = [one for one in self.operators if one.leader()]
        assert len(leaders) == 1
        return leaders[0]

    def make(self, names: Sequence[str]) -> None:
        """PoseClusters, so that there is something to write."""
        for name in names:
            self.api.create(posecluster(name, self.namespace))

    def wait_taken_over(self, standby: OperatorProcess, seconds: float) -> float:
        """Wait until the other one writes; how long it took."""
        since = time.monotonic()
        wait_until(standby.leader, seconds, "taken over")
        return time.monotonic() - since


@pytest.fixture
def make_pair(
    api: Api, namespace: str, player: Player, proxy: FaultProxy, start_operator: StartOperator
) -> Callable[..., Pair]:
    def make(**options: object) -> Pair:
        def start(door: str) -> OperatorProcess:
            operator: OperatorProcess = start_operator(door=door, wait=False, identity=door, **options)
            operator.wait_ready()
            return operator

        pair = Pair(api, namespace, proxy, start)
        pair.add().wait_leader()
        pair.add()
        return pair

    return make


def take_away(proxy: FaultProxy, leader: OperatorProcess, how: str) -> None:
    """Kill it, stop it, or let nothing through its door any more."""
    if how == "killed":
        leader.kill()
    elif how == "stopped":
        leader.stop()
    else:
        proxy.add(Rule(door=leader.door, verb="watch", do="cut"))
        proxy.add(Rule(door=leader.door, do="hang"))


def bring_back(pair: Pair, leader: OperatorProcess, how: str) -> None:
    """Undo it, and wait until there is a standby again."""
    if how == "killed":
        pair.operators.remove(leader)
        pair.add()
        return
    if how == "stopped":
        leader.resume()
    pair.proxy.clear()
    woken = time.monotonic()
    wait_until(
        lambda: pair.proxy.find(verb="get", resource="leases", door=leader.door, since=woken),
        20,
        "looked who holds the Lease",
    )
    wait_until(leader.ready, 20, "ready again")
    assert not leader.leader()


@pytest.mark.acceptance(23)
@pytest.mark.timeout(600)
def test_writes_of_two_holders_never_overlap(
    make_pair: Callable[..., Pair], proxy: FaultProxy, record_figure: RecordFigure, long_run: bool
) -> None:
    lease_seconds = LISTED_LEASE_SECONDS if long_run else LEASE_SECONDS
    # scaled with the Lease; the rest is the standby's turn on shared cores
    limit = LISTED_TAKEOVER_SECONDS * lease_seconds / LISTED_LEASE_SECONDS
    pair = make_pair(lease_seconds=lease_seconds, request_timeout_seconds=min(10, lease_seconds))
    rounds = FAULTS * (2 if long_run else 1)
    takeovers = []
    for number, how in enumerate(rounds):
        leader = pair.leader()
        standby = next(one for one in pair.operators if one is not leader)
        pair.make([f"before-{number}-{index}" for index in range(AT_ONCE)])
        wait_until(lambda: proxy.writes(door=leader.door), 10, "writing")  # noqa: B023
        lost = time.monotonic()
        take_away(proxy, leader, how)
        takeovers.append(pair.wait_taken_over(standby, limit))
        taken = time.monotonic()
        pair.make([f"after-{number}"])
        bring_back(pair, leader, how)
        for name in (f"after-{number}", *(f"before-{number}-{index}" for index in range(AT_ONCE))):
            wait_rolled_out(pair.api, pair.namespace, name)
        late = [call for call in proxy.writes(since=taken, door=leader.door) if call.forwarded]
        assert late == [], f"{how}: the one that was leader wrote"
        assert lost < taken
    writes = proxy.writes()
    assert faults(writes, handovers=len(rounds)) == []
    assert len(writes) >= LEAST_WRITES
    doors = {call.door for call in writes}
    assert len(doors) >= 2
    listed = f"<= {LISTED_TAKEOVER_SECONDS:.0f} s"
    bar = bar_text(f"<= {limit:.0f} s", listed, f"a Lease of {lease_seconds} s instead of 15")
    record_figure("takeover", max(takeovers), bar=bar, unit="s", sample=len(rounds))
    record_figure("writes that overlap", 0, bar="0", sample=len(writes))


@pytest.mark.acceptance(23)
@pytest.mark.control
def test_without_one_lease_writes_overlap(
    api: Api, namespace: str, player: Player, proxy: FaultProxy, start_operator: StartOperator
) -> None:
    """Two operators that were given Leases of different names: the same judge finds them."""
    doors = ["one", "two"]
    account = api.operator_account(namespaces=(namespace,), lease_namespace=namespace)
    role: Json = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role"}
    role["metadata"] = {"name": "their-leases", "namespace": namespace}
    leases = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "resourceNames": doors}
    role["rules"] = [{**leases, "verbs": ["get", "update"]}]
    account.grant(role)
    for door in doors:
        start_operator(door=door, lease_name=door, account=account)
    with proxy.fault(verb="write", delay_seconds=0.05):  # as slow as a busy API server
        for number in range(AT_ONCE):
            api.create(posecluster(f"demo-{number}", namespace))
        for number in range(AT_ONCE):
            wait_rolled_out(api, namespace, f"demo-{number}")
    found = faults(proxy.writes(), handovers=1)
    assert any(one.startswith("overlap") for one in found), found
    assert any(one.startswith("to and fro") for one in found), found


@pytest.mark.acceptance(23)
def test_a_leader_that_gets_sigterm_hands_over_immediately(
    make_pair: Callable[..., Pair], proxy: FaultProxy, record_figure: RecordFigure, long_run: bool
) -> None:
    """It ends with 0, gives the Lease up, and a second signal changes nothing."""
    # so long that a takeover by waiting would be found
    pair = make_pair(lease_seconds=30)
    pair.make(["old"])
    wait_rolled_out(pair.api, pair.namespace, "old")
    leader = pair.leader()
    standby = next(one for one in pair.operators if one is not leader)
    limit = 1.0 if long_run else 3.0
    started = time.monotonic()
    leader.terminate()
    leader.terminate()
    assert leader.wait() == 0
    ended = time.monotonic() - started
    assert ended <= limit
    # a standby looks every 2 s of 15
    taken = pair.wait_taken_over(standby, 10)
    pair.make(["new"])
    wait_rolled_out(pair.api, pair.namespace, "new")
    assert faults(proxy.writes(), handovers=1) == []
    record_figure("ended after SIGTERM", ended, bar=bar_text(f"<= {limit:.0f} s", "<= 1 s"), unit="s")
    record_figure("taken over after SIGTERM", taken, bar="<= 10 s of a Lease of 30 s", unit="s")


@pytest.mark.acceptance(23)
@pytest.mark.parametrize("state", ["writing", "hanging API", "no API", "no API at start", "cut off at start"])
def test_the_operator_ends_on_sigterm_whatever_it_waits_for(
    api: Api,
    namespace: str,
    player: Player,
    proxy: FaultProxy,
    start_operator: StartOperator,
    state: str,
    long_run: bool,
) -> None:
    limit = 1.5 if long_run else 3.0
    if state == "no API at start":
        with proxy.refuse():
            operator = start_operator(wait=False)
            operator.wait_log("Permissions could not be checked, retrying", 20)
            end(operator, limit)
        return
    if state == "cut off at start":
        with proxy.fault(do="hang") as rule:
            operator = start_operator(wait=False)
            wait_until(lambda: rule.hits, 20, "asked for its rights")
            end(operator, limit)
        return
    operator = start_operator()
    if state == "no API":
        with proxy.refuse():
            end(operator, limit)
        return
    with proxy.fault(verb="write", resource="[!l]*", do="hang") as rule:
        for number in range(AT_ONCE):
            api.create(posecluster(f"demo-{number}", namespace))
        wait_until(lambda: rule.hits, 10, "a write under way")
        if state == "hanging API":
            proxy.add(Rule(do="hang"))
        end(operator, limit)
    lease = api.get("leases", namespace, "posecluster-operator")["spec"]
    assert lease.get("holderIdentity"), "a write was on its way: another has to wait as after a kill"


def end(operator: OperatorProcess, limit: float) -> None:
    """SIGTERM: code 0, in time."""
    started = time.monotonic()
    operator.terminate()
    assert operator.wait() == 0
    assert time.monotonic() - started <= limit
