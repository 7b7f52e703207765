"""Check 1 on a real cluster: image and model change under traffic while endpoints lag, without losses."""

from collections.abc import Callable

import pytest

from harness.e2e.cluster import SAME_IMAGE
from harness.e2e.pods import uids
from harness.e2e.pose import Place, Pose
from harness.e2e.release import Release
from harness.e2e.rollout import watch_replaced
from harness.kubernetes.waiting import Json
from harness.recorder import RecordFigure

SIZE = 2
LEAST, LEAST_ENDING, LEAST_EACH = 400, 40, 100
DRAIN, DEFAULT_DRAIN = 3, 15
CONTROL_ROUNDS = 3


@pytest.fixture(scope="module")
def pose(shared_place: Place) -> Pose:
    """Two pods for all tests here."""
    return shared_place.pose()


@pytest.mark.acceptance(1)
@pytest.mark.usefixtures("release")
@pytest.mark.parametrize(
    ("what", "drain", "change"),
    [
        # drain: of the pods that are replaced; those of the second have theirs from the first
        ("model variant", DRAIN, {"model": {"variant": "Full"}, "drainSeconds": DEFAULT_DRAIN}),
        ("image, default drain", DEFAULT_DRAIN, {"image": SAME_IMAGE, "model": {"variant": "Lite"}}),
    ],
)
def test_a_rollout_loses_nothing(
    shared_place: Place,
    pose: Pose,
    record_figure: RecordFigure,
    what: str,
    drain: int,
    change: dict[str, object],
) -> None:
    pose.patch(drainSeconds=drain)  # this is the state already, unless the test runs on its own
    pose.wait_rolled_out()
    pose.wait_settled(SIZE)
    old = uids(pose.pods())
    assert {drain_of(pod) for pod in pose.pods()} == {drain * 1_000}
    with shared_place.agent.traffic(pose.url) as traffic:
        traffic.wait(20)
        pose.patch(**change)
        rollout = watch_replaced(pose, old)
        traffic.wait_total(LEAST)

    meanwhile = rollout.asked_meanwhile(traffic.asked)
    record_figure(f"{what}: failed requests", len(traffic.failures), bar="0", sample=traffic.shown())
    record_figure(f"{what}: requests while pods ended", meanwhile, bar=f">= {LEAST_ENDING}")
    record_figure(f"{what}: all replaced after", rollout.seconds, bar="bounded", unit="s")
    assert traffic.failures == []
    # that it was put to the test
    assert rollout.ending.keys() == old
    assert rollout.fewest_ready >= SIZE
    assert len(traffic.asked) >= LEAST
    assert meanwhile >= LEAST_ENDING
    assert min(traffic.count(kept=True), traffic.count(kept=False)) >= LEAST_EACH
    assert any(one.last for one in traffic.asked if one.kept), "no kept connection was on a pod that ended"


def drain_of(pod: Json) -> int:
    """A setting of its server, in milliseconds."""
    env = {one["name"]: one["value"] for one in pod["spec"]["containers"][0]["env"]}
    return int(env["POSECLUSTER_DRAIN_DELAY_MS"])


@pytest.mark.acceptance(1)
@pytest.mark.control
def test_without_a_drain_delay_a_rollout_loses_requests(
    release: Release, make_place: Callable[[], Place], record_figure: RecordFigure
) -> None:
    place = make_place()
    pose = place.pose(drainSeconds=0)
    with place.agent.traffic(pose.url, new=6, kept=2, every_seconds=0.1) as traffic:
        for turn in range(CONTROL_ROUNDS):
            traffic.wait(50)
            old = uids(pose.pods())
            pose.patch(limits={"maxBodyBytes": 1_000_000 + turn})
            watch_replaced(pose, old)
            traffic.look()
            if traffic.failures:
                break
    record_figure(
        "drain delay 0: failed requests", len(traffic.failures), bar="> 0", sample=len(traffic.asked)
    )
    assert traffic.failures, "nothing was lost: the check beside this proves nothing"
