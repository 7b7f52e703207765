"""Check 30 on a real cluster: the chart is upgraded and rolled back under traffic without losses."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.e2e.cluster import INFERENCE_IMAGE, SAME_IMAGE
from harness.e2e.pods import uids
from harness.e2e.pose import Place, Pose
from harness.e2e.release import Release, renumbered
from harness.e2e.rollout import watch_replaced
from harness.kubernetes.api import Api
from harness.kubernetes.facts import wait_rolled_out
from harness.recorder import RecordFigure

pytestmark = pytest.mark.serial

LEAST = 400
BEFORE = "0.0.9"  # the release before this one, until there is one: this chart, renumbered


@pytest.fixture
def before(installed: Release, tmp_path: Path) -> Iterator[Release]:
    """The chart N-1, installed."""
    if installed.ensure().revision():
        installed.uninstall()
    installed.install(renumbered(tmp_path, BEFORE))
    yield installed
    installed.uninstall()


@pytest.mark.acceptance(30)
@pytest.mark.timeout(240)
def test_upgrade_and_rollback_lose_no_request(
    before: Release, api: Api, place: Place, record_figure: RecordFigure
) -> None:
    # one has its own image, the other the chart's: only the latter's pods depend on the chart
    own, charts = place.pose("own", replicas=1), place.pose("charts", image=None)
    operator, kept, old = uids(before.ready_pods()), uids(own.pods()), uids(charts.pods())
    with place.agent.traffic(charts.url) as traffic, place.agent.traffic(own.url, new=1, kept=1) as other:
        traffic.wait(20)
        before.upgrade(inference__image__repository=SAME_IMAGE.rpartition(":")[0])  # N
        wait_judged(api, own)
        up = watch_replaced(charts, old)
        assert charts.deployment()["spec"]["template"]["spec"]["containers"][0]["image"] == SAME_IMAGE
        assert uids(own.pods()) == kept, "replaced, though its template is the same"
        assert not operator & uids(before.ready_pods())

        old = uids(charts.pods())
        before.rollback(1)  # N-1
        wait_judged(api, own)
        back = watch_replaced(charts, old)
        traffic.wait_total(LEAST)
    failed = len(traffic.failures) + len(other.failures)
    record_figure("up and back: failed requests", failed, bar="0", sample=traffic.shown())
    record_figure("pods replaced, up", up.seconds, bar="bounded", unit="s", sample=f"{len(up.ending)} pods")
    record_figure(
        "pods replaced, back", back.seconds, bar="bounded", unit="s", sample=f"{len(back.ending)} pods"
    )
    assert traffic.failures == []
    assert other.failures == []
    assert uids(own.pods()) == kept, "replaced, though its template is the same"
    assert min(up.fewest_ready, back.fewest_ready) >= 2
    assert charts.deployment()["spec"]["template"]["spec"]["containers"][0]["image"] == INFERENCE_IMAGE
    assert before.revision() == 3


def wait_judged(api: Api, pose: Pose) -> None:
    """Wait until the present operator has reconciled it, by a change that it must react to."""
    pose.patch(scaling={"maxReplicas": 11 if pose.get()["spec"]["scaling"]["maxReplicas"] == 10 else 10})
    wait_rolled_out(api, pose.namespace, pose.name, 60)
