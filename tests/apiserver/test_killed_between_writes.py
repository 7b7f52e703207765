"""Check 7: the operator may be killed between any two of its writes, and the end is the same."""

import itertools
import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from harness.kubernetes.api import Api
from harness.kubernetes.facts import is_rolled_out, wait_rolled_out
from harness.kubernetes.operator import OperatorProcess
from harness.kubernetes.player import Player
from harness.kubernetes.proxy import Call, FaultProxy, Rule
from harness.kubernetes.waiting import Json, posecluster, wait_until
from harness.server import ROOT

NAME = "demo"
CHILDREN = ("services", "deployments", "poddisruptionbudgets")
READY_SECONDS = 30.0
QUIET_SECONDS = 0.3
MOST_WRITES = 30
# so that a process that was killed and started again is known by its Lease, as a container is
IDENTITY = "operator-0"
Snapshot = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Phase:
    """What is there before, the change to act on, and at how many writes at least there is a kill."""

    name: str
    change: Json
    least: int
    before: Json | None = None
    deleted: bool = False  # the user deletes it while the operator is down


PHASES = (
    Phase("create", {"replicas": 2}, 6),
    Phase("grow", {"replicas": 2}, 3, before={"replicas": 1}),
    Phase("shrink", {"replicas": 1}, 3, before={"replicas": 2}),
    Phase("image", {"image": "example.test/pose:2"}, 2, before={"replicas": 2}),
    Phase("delete", {"replicas": 2}, 6, deleted=True),
)


@dataclass(slots=True)
class World:
    """A namespace with one PoseCluster, made again for each kill, and an operator that is started again."""

    api: Api
    namespace: str
    proxy: FaultProxy
    player: Player
    start: Callable[[], OperatorProcess]
    operator: OperatorProcess = field(init=False)
    restart_seconds: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.operator = self.start()

    def run(
        self, phase: Phase, nth: int | None = None, do: str = "hang_after"
    ) -> tuple[Call | None, Snapshot]:
        """Make the change; kill the operator at its n-th write from there on; what is there in the end."""
        if phase.before is not None:
            self.api.create(posecluster(NAME, self.namespace, **phase.before))
            self._settle()
        rule = self._kill_at(nth, do) if nth is not None else None
        if phase.before is None:
            self.api.create(posecluster(NAME, self.namespace, **phase.change))
        else:
            self.api.patch("poseclusters", self.namespace, NAME, {"spec": phase.change})
        killed = self._settle(rule)
        if killed is not None:
            self.operator.wait()
            self.proxy.clear()
            if phase.deleted:
                self._delete()
            started = time.monotonic()
            self.operator = self.start()
            if not phase.deleted:
                wait_rolled_out(self.api, self.namespace, NAME, READY_SECONDS)
                self.restart_seconds.append(time.monotonic() - started)
            self._settle()
            if phase.deleted:
                self._wait_empty()
        self.proxy.clear()
        found = snapshot(self.api, self.namespace)
        self._delete()
        self._wait_empty()
        return killed, found

    def _kill_at(self, nth: int | None, do: str) -> Rule:
        rule = Rule(verb="write", resource="[!l]*", nth=nth, do=do)  # type: ignore[arg-type]
        if do == "hang_after":
            rule.on_done = lambda call: self.operator.kill_now()
        else:
            rule.on_match = lambda call: self.operator.kill_now()
        return self.proxy.add(rule)

    def _settle(self, rule: Rule | None = None) -> Call | None:
        """Wait until it is Ready (or gone) and nothing is written any more, or a kill; its call."""

        def settled() -> bool:
            if rule is not None and rule.hits:
                return True
            last = self.proxy.writes()[-1:]
            quiet = all(one.ended and time.monotonic() - one.ended > QUIET_SECONDS for one in last)
            cluster = self.api.find("poseclusters", self.namespace, NAME)
            return quiet and (cluster is None or is_rolled_out(cluster))

        wait_until(settled, READY_SECONDS, "settled")
        return rule.hits[0] if rule is not None and rule.hits else None

    def _delete(self) -> None:
        self.api.delete("poseclusters", self.namespace, NAME)

    def _wait_empty(self) -> None:
        def empty() -> bool:
            self.player.collect_garbage()
            return not any(self.api.list(kind, self.namespace) for kind in (*CHILDREN, "pods", "replicasets"))

        wait_until(empty, READY_SECONDS, "empty")


def snapshot(api: Api, namespace: str) -> Snapshot:
    """All that the operator makes, without what differs between two runs that did the same."""
    clusters = {item["metadata"]["uid"]: item for item in api.list("poseclusters", namespace)}
    found: Snapshot = {}
    for item in clusters.values():
        status = dict(item.get("status", {}))
        status["conditions"] = [{**one, "lastTransitionTime": ""} for one in status.get("conditions", [])]
        if "lastScaling" in status:
            status["lastScaling"] = {**status["lastScaling"], "time": ""}
        found[f"poseclusters {item['metadata']['name']}"] = {"spec": item["spec"], "status": status}
    for kind in CHILDREN:
        for item in api.list(kind, namespace):
            found[f"{kind} {item['metadata']['name']}"] = _comparable(item, set(clusters))
    # pods have random names: how many of which template
    templates = [
        item["metadata"]["annotations"]["posecluster.io/template-hash"]
        for item in api.list("pods", namespace)
    ]
    return found | {f"pods {template}": count for template, count in Counter(templates).items()}


def _comparable(item: Json, uids: set[str]) -> Json:
    metadata, spec = item["metadata"], dict(item["spec"])
    for given_by_server in ("clusterIP", "clusterIPs"):
        if spec.get(given_by_server) not in ("None", ["None"]):
            spec.pop(given_by_server, None)
    owners = [
        {**owner, "uid": "live" if owner["uid"] in uids else "gone"} for owner in metadata["ownerReferences"]
    ]
    return {"labels": metadata["labels"], "owners": owners, "spec": spec}


def differences(expected: Snapshot, found: Snapshot) -> list[str]:
    """What is missing, too much, twice, or other than it should be."""
    kinds = Counter(key.split()[0] for key in found)
    kinds.subtract(key.split()[0] for key in expected)
    return [
        *(f"{count:+d} {kind}" for kind, count in sorted(kinds.items()) if count),
        *(f"missing: {key}" for key in sorted(expected.keys() - found.keys())),
        *(f"too much: {key}" for key in sorted(found.keys() - expected.keys())),
        *(f"other: {key}" for key in sorted(expected.keys() & found.keys()) if expected[key] != found[key]),
    ]


@pytest.fixture
def make_world(api, namespace, proxy, player, start_operator) -> Callable[..., World]:
    def make(**options: Any) -> World:
        options = {"identity": IDENTITY, "lease_seconds": 3} | options
        return World(api, namespace, proxy, player, lambda: start_operator(**options))

    return make


@pytest.mark.acceptance(7)
@pytest.mark.parametrize("phase", PHASES, ids=lambda phase: phase.name)
def test_killed_at_any_write_the_end_is_the_same(make_world, phase, record_figure, long_run):
    """Every k until the change needs no k-th write: applied but unanswered; long: not applied either."""
    world = make_world()
    _, undisturbed = world.run(phase)
    killed_at = []
    for do in ("hang_after", "hang") if long_run else ("hang_after",):
        for nth in itertools.count(1):
            assert nth <= MOST_WRITES
            killed, found = world.run(phase, nth, do)
            if killed is None:
                break
            killed_at.append(killed)
            expected = {} if phase.deleted else undisturbed
            assert differences(expected, found) == [], f"killed at {killed}"
        assert nth > phase.least, "too few writes to be killed at"
    if phase.deleted:
        assert undisturbed, "it was there before it was deleted"
    record_figure(f"killed at writes: {phase.name}", len(killed_at), bar=f">= {phase.least}, every one")
    if world.restart_seconds:
        longest = max(world.restart_seconds)
        record_figure(
            f"Ready after a restart: {phase.name}", longest, bar="<= 30 s", unit="s", sample=len(killed_at)
        )


RANDOM_NAMES = """
import secrets
from posecluster_operator.builders import table
suffix = secrets.token_hex(3)
for row in table.CHILDREN:
    object.__setattr__(row, "suffix", f"-{suffix}{row.suffix}")
"""


@pytest.mark.acceptance(7)
@pytest.mark.control
def test_random_names_leave_children_twice(api, namespace, make_world, tmp_path):
    """The same checks on an operator that keeps its names for children only in memory.

    It writes without the chart's policy, which allows no such names.
    """
    (tmp_path / "sitecustomize.py").write_text(RANDOM_NAMES)
    account = api.operator_account(namespaces=(namespace,), lease_namespace=namespace)
    world = make_world(account=account, env={"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT / 'operator'}"})
    _, undisturbed = world.run(PHASES[0])
    killed, found = world.run(PHASES[0], 3)
    assert killed is not None
    assert killed.resource == "deployments"
    assert {"+1 deployments", "+2 services"} <= set(differences(undisturbed, found))
