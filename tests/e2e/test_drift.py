"""Check 26 on a real cluster: deleted or edited children are restored under traffic; pause stops changes."""

import time

import pytest

from harness.e2e.pose import Place, Pose
from harness.kubernetes.api import Api
from harness.kubernetes.facts import CHILDREN, is_rolled_out
from harness.kubernetes.waiting import Json, conditions, wait_until
from harness.recorder import RecordFigure

BACK_SECONDS = 30.0
LEAST = 400
PAUSED_SECONDS = 3.0
# plural, pattern -> an edit that does harm if it stays, by strategic merge
EDITS: dict[tuple[str, str], Json] = {
    ("deployments", "{}-pose"): {"spec": {"minReadySeconds": 1, "replicas": 1, "paused": True}},
    ("services", "{}-pose"): {"spec": {"publishNotReadyAddresses": True}},
    ("services", "{}-pose-pods"): {"spec": {"publishNotReadyAddresses": True}},
    ("poddisruptionbudgets", "{}-pose"): {"spec": {"maxUnavailable": 2}},
}


@pytest.fixture(scope="module")
def pose(shared_place: Place) -> Pose:
    """Two pods."""
    return shared_place.pose()


def child(api: Api, pose: Pose, kind: tuple[str, str]) -> Json | None:
    return api.find(kind[0], pose.namespace, kind[1].format(pose.name))


def shape(item: Json) -> Json:
    """What an edit of EDITS changes."""
    names = ("replicas", "paused", "publishNotReadyAddresses", "maxUnavailable", "selector")
    return {name: item["spec"].get(name) for name in names}


@pytest.mark.acceptance(26)
@pytest.mark.usefixtures("release")
def test_edited_and_deleted_children_come_back(
    api: Api, shared_place: Place, pose: Pose, record_figure: RecordFigure
) -> None:
    edited, deleted = {}, {}
    with shared_place.agent.traffic(pose.url) as traffic:
        traffic.wait(20)
        for kind, edit in EDITS.items():
            edited[kind] = put_right(api, pose, kind, edit)
            # a Service that publishes addresses that are not ready also leads to a pod that starts or ends
            pose.wait_settled(2)
        # all except the clients' Service and the pods, without which no request can be answered
        for kind in (("services", "{}-pose-pods"), ("poddisruptionbudgets", "{}-pose")):
            deleted[kind] = made_anew(api, pose, kind)
        traffic.wait_total(LEAST)
    # now these: the pods are recreated, the Service has another address
    for kind in (("services", "{}-pose"), ("deployments", "{}-pose")):
        deleted[kind] = made_anew(api, pose, kind)
    pose.wait_settled(2)
    wait_until(lambda: is_rolled_out(pose.get()), BACK_SECONDS, "rolled out")
    with shared_place.agent.traffic(pose.url, most=20) as rest:
        rest.wait_total(20)

    assert set(edited) == set(deleted) == set(CHILDREN)
    record_figure(
        "edit put right, slowest", max(edited.values()), bar=f"<= {BACK_SECONDS:.0f} s", unit="s", sample=4
    )
    record_figure(
        "deleted, made anew, slowest",
        max(deleted.values()),
        bar=f"<= {BACK_SECONDS:.0f} s",
        unit="s",
        sample=4,
    )
    record_figure(
        "failed requests while the Service stays", len(traffic.failures), bar="0", sample=traffic.shown()
    )
    assert traffic.failures == []
    assert rest.failures == []


def put_right(api: Api, pose: Pose, kind: tuple[str, str], edit: Json) -> float:
    """Edit a child, with a note of another's; the seconds until it is as before, the note still there."""
    before = child(api, pose, kind)
    assert before is not None
    name = before["metadata"]["name"]
    begin = time.monotonic()
    note = {"metadata": {"annotations": {"example.test/note": "kept"}}}
    changed = api.patch(kind[0], pose.namespace, name, edit | note, kind="strategic")
    assert shape(changed) != shape(before)

    def right() -> bool:
        now = child(api, pose, kind)
        return now is not None and shape(now) == shape(before)

    wait_until(right, BACK_SECONDS, f"{kind[0]} {name} put right")
    after = child(api, pose, kind)
    assert after is not None
    assert after["metadata"]["annotations"]["example.test/note"] == "kept"
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    return time.monotonic() - begin


def made_anew(api: Api, pose: Pose, kind: tuple[str, str]) -> float:
    """Delete a child; the seconds until there is another of its name."""
    before = child(api, pose, kind)
    assert before is not None
    begin = time.monotonic()
    api.delete(kind[0], pose.namespace, before["metadata"]["name"], grace_seconds=None)

    def recreated() -> bool:
        now = child(api, pose, kind)
        return now is not None and now["metadata"]["uid"] != before["metadata"]["uid"]

    wait_until(recreated, BACK_SECONDS, f"{kind[0]} recreated")
    return time.monotonic() - begin


@pytest.mark.acceptance(26)
@pytest.mark.usefixtures("release")
def test_while_paused_nothing_changes(api: Api, pose: Pose) -> None:
    pose.wait_settled(2)
    pose.annotate(paused="true")
    wait_paused(pose)
    before = {kind: child(api, pose, kind) for kind in CHILDREN}
    pose.patch(replicas=1, drainSeconds=4)
    api.delete("poddisruptionbudgets", pose.namespace, f"{pose.name}-pose")
    end = time.monotonic() + PAUSED_SECONDS

    def unchanged() -> bool:
        for kind in CHILDREN[:3]:
            now, then = child(api, pose, kind), before[kind]
            assert now
            assert then
            assert now["metadata"].get("generation") == then["metadata"].get("generation")
            assert now["spec"] == then["spec"]
        assert child(api, pose, ("poddisruptionbudgets", "{}-pose")) is None
        return time.monotonic() >= end

    wait_until(unchanged, PAUSED_SECONDS + 10, "looked for long enough")
    item = pose.get()
    # a spec that nothing is done about counts as not seen
    assert item["status"]["observedGeneration"] == item["metadata"]["generation"] - 1
    pose.annotate(paused=None)
    pose.wait_rolled_out()
    pose.wait_settled(1)


def wait_paused(pose: Pose) -> None:
    """Wait until the operator reports that it ignores the present spec."""

    def paused() -> bool:
        item = pose.get()
        found = conditions(item)["Progressing"]
        return bool(
            found["reason"] == "Paused" and found["observedGeneration"] == item["metadata"]["generation"]
        )

    wait_until(paused, BACK_SECONDS, "paused")
