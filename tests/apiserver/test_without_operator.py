"""Check 9, the operator's half: without it nothing changes, and afterwards only the last change is applied.

The end-to-end tests show that traffic does not need the operator.
"""

import time

import pytest

from harness.bars import bar_text
from harness.kubernetes.api import Api
from harness.kubernetes.facts import children, identities, templates, wait_quiet, wait_rolled_out
from harness.kubernetes.operator import OperatorProcess, StartOperator
from harness.kubernetes.player import Player
from harness.kubernetes.proxy import FaultProxy
from harness.kubernetes.waiting import Json, posecluster, wait_until
from harness.recorder import RecordFigure

NAME = "demo"
FIRST, LAST = "example.test/pose:1", "example.test/pose:4"
CHANGES: tuple[Json, ...] = (
    {"image": "example.test/pose:2", "replicas": 4},
    {"image": "example.test/pose:3", "model": {"variant": "Heavy"}},
    {"image": LAST, "replicas": 3, "model": {"variant": "Lite"}},
)
BACK_SECONDS = 30.0


def world(api: Api, namespace: str) -> Json:
    """Uid and version of all that the operator and the player make, and the status."""
    pods = [
        (one["metadata"]["uid"], one["metadata"]["resourceVersion"]) for one in api.list("pods", namespace)
    ]
    status = api.get("poseclusters", namespace, NAME)["status"]
    return {"children": identities(children(api, namespace)), "pods": sorted(pods), "status": status}


@pytest.mark.acceptance(9)
@pytest.mark.parametrize("end", ["terminated", "killed"])
def test_only_the_last_change_is_applied_in_one_rollout(
    api: Api,
    namespace: str,
    player: Player,
    proxy: FaultProxy,
    start_operator: StartOperator,
    end: str,
    record_figure: RecordFigure,
    long_run: bool,
) -> None:
    lease_seconds = 15 if long_run else 3
    operator = start_operator(lease_seconds=lease_seconds, resync_seconds=1)
    api.create(posecluster(NAME, namespace, replicas=2))
    wait_rolled_out(api, namespace, NAME)
    wait_quiet(operator, proxy)
    if end == "killed":
        operator.kill()
    else:
        operator.terminate()
        assert operator.wait() == 0

    before, away_since = world(api, namespace), time.monotonic()
    generation = api.get("deployments", namespace, f"{NAME}-pose")["metadata"]["generation"]
    for change in CHANGES:
        api.patch("poseclusters", namespace, NAME, {"spec": change})
    # 20 s are listed; but nothing here runs by the clock, and who waits longer sees the same
    watch_unchanged(api, namespace, before, seconds=20.0 if long_run else 1.0)
    assert proxy.find(since=away_since) == [], "it is away"

    returned = time.monotonic()
    seen = templates(proxy.find(verb="apply", resource="deployments"))
    successor = start_operator(lease_seconds=lease_seconds, resync_seconds=1)
    fewest = watch_rollout(api, namespace, player)
    passed = time.monotonic() - returned
    wait_quiet(successor, proxy)

    applied = proxy.find(verb="apply", resource="deployments", since=returned)
    images = {
        one["image"] for call in applied for one in call.document()["spec"]["template"]["spec"]["containers"]
    }
    assert images == {LAST}
    assert len(templates(applied)) == 1
    assert templates(applied) != seen
    deployment = api.get("deployments", namespace, f"{NAME}-pose")
    assert deployment["metadata"]["generation"] == generation + 1, "the Deployment changed once"
    assert deployment["spec"]["replicas"] == 3
    assert len(api.list("replicasets", namespace)) == 2, "one rollout"
    assert {pod["spec"]["containers"][0]["image"] for pod in api.list("pods", namespace)} == {LAST}
    assert fewest >= 2, "fewer pods were ready than before"
    assert passed <= BACK_SECONDS
    bar = f"<= {BACK_SECONDS:.0f} s"
    away = bar_text("away for 1 s", "away for 20 s", "nothing runs by the clock while it is away")
    record_figure(f"rolled out after the return, {end}", passed, bar=f"{bar}; {away}", unit="s", sample=3)


def watch_unchanged(api: Api, namespace: str, before: Json, *, seconds: float) -> None:
    """Look for so long: nothing may change."""
    end = time.monotonic() + seconds

    def over() -> bool:
        assert world(api, namespace) == before
        return time.monotonic() >= end

    wait_until(over, seconds + 10, "looked for long enough")


def watch_rollout(api: Api, namespace: str, player: Player) -> int:
    """Wait until the present spec is rolled out; the fewest ready pods seen on the way."""
    counts: list[int] = []

    def done() -> bool:
        counts.append(len(player.ready_pods(namespace, f"{NAME}-pose")))
        status = api.get("poseclusters", namespace, NAME)["status"]
        return status["observedGeneration"] == 1 + len(CHANGES) and status["readyReplicas"] == 3

    wait_until(done, BACK_SECONDS, "rolled out")
    wait_rolled_out(api, namespace, NAME)
    return min(counts)


@pytest.mark.acceptance(9)
def test_objects_created_and_deleted_meanwhile_are_found(
    api: Api, namespace: str, player: Player, operator: OperatorProcess, start_operator: StartOperator
) -> None:
    """One created, one deleted, one recreated, and a child deleted, all without an operator."""
    for name in ("stays", "goes", "again"):
        api.create(posecluster(name, namespace))
        wait_rolled_out(api, namespace, name)
    operator.terminate()
    operator.wait()
    old = api.get("poseclusters", namespace, "again")["metadata"]["uid"]
    for name in ("goes", "again"):
        api.delete("poseclusters", namespace, name)
    api.delete("services", namespace, "stays-pose")
    api.create(posecluster("comes", namespace))
    api.create(posecluster("again", namespace, image=LAST))
    collected = player.collect_garbage()
    assert collected, "the children of those that are gone"

    start_operator()
    for name in ("comes", "stays", "again"):
        wait_rolled_out(api, namespace, name)
    assert api.find("services", namespace, "stays-pose")
    player.collect_garbage()
    found = children(api, namespace)
    assert {name for _, name in found} == {
        f"{name}{end}" for name in ("comes", "stays", "again") for end in ("-pose", "-pose-pods")
    }
    assert old not in {one["metadata"]["ownerReferences"][0]["uid"] for one in found.values()}
