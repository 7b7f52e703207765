"""The simulated HPA follows Kubernetes: its formula, its stabilization window and its limits."""

import pytest

from posecluster_operator.scaling.policy import PodSample, Samples
from posecluster_operator.simulation.baselines import SYNC_SECONDS, Hpa, recommended

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("usage", "replicas", "unready", "wanted", "why"),
    [
        ([250], 1, 0, 1, "on target"),
        ([275], 1, 0, 1, "a tenth above is tolerated"),
        ([279], 1, 0, 1, "whole percent, cut off"),
        ([280], 1, 0, 2, "more than a tenth above"),
        ([225], 1, 0, 1, "a tenth below is tolerated"),
        ([220, 220, 220], 3, 0, 3, "0.88 of three is 2.64, rounded up"),
        ([100] * 4, 4, 0, 2, "0.4 of four is 1.6"),
        ([400, 0, 0, 0], 4, 0, 2, "the sum counts, not who has it"),
        ([2_000], 1, 0, 8, "more than what is requested"),
        ([0, 0], 2, 0, 0, "idle: the caller's minimum holds"),
        ([500], 2, 1, 2, "up: a pod that starts counts as idle, and then it is enough"),
        ([1_000], 2, 1, 4, "up: not enough even so"),
        ([540], 2, 1, 2, "up: with it, less than a tenth above"),
        ([300], 3, 2, 3, "up would become down: nothing"),
        ([100, 100], 3, 1, 1, "down: a starting pod is not counted"),
        ([], 3, 3, 3, "nothing is measured"),
    ],
)
def test_the_hpa_formula_gives_the_documented_sizes(
    usage: list[int], replicas: int, unready: int, wanted: int, why: str
) -> None:
    assert recommended(usage, replicas=replicas, unready=unready, request_millicores=500) == wanted, why


class Cluster:
    """Pods that each use so many cores, asked about by an HPA every 15 s."""

    def __init__(self, *, size: int, most: int = 20, limit: int = 2_000) -> None:
        self.hpa = Hpa(least=2, most=most, size=size, request_millicores=500, limit_millicores=limit)
        self.size, self.now, self.busy = size, 0.0, 0.0

    def sync(self, cores: float) -> int:
        """All pods are ready, and as busy."""
        self.now += SYNC_SECONDS
        self.busy += cores * SYNC_SECONDS
        pods = tuple(
            PodSample(
                name=str(number),
                at=self.now,
                started=0.0,
                arrivals=0.0,
                completed=0.0,
                busy_seconds=self.busy,
                queued=0.0,
            )
            for number in range(self.size)
        )
        self.size = self.hpa.size(self.now, Samples(replicas=self.size, ready=self.size, pods=pods))
        return self.size


def test_up_by_four_pods_or_twice_as_many_at_once() -> None:
    assert Cluster(size=2, most=100).sync(2.0) == 6
    assert Cluster(size=10, most=100).sync(2.0) == 20


def test_the_hpa_stays_within_its_bounds() -> None:
    assert Cluster(size=10, most=12).sync(2.0) == 12
    cluster = Cluster(size=3)
    for _ in range(30):
        cluster.sync(0.0)
    assert cluster.size == 2


def test_a_pod_uses_no_more_than_its_limit() -> None:
    assert Cluster(size=10, limit=300).sync(2.0) == 12, "60 % of the request, not 400"


def test_down_only_after_three_hundred_seconds_to_the_highest_recommendation() -> None:
    cluster = Cluster(size=10)
    sizes = [cluster.sync(0.1) for _ in range(25)]
    assert sizes[:19] == [10] * 19, "the size that it found counts for 300 s"
    assert sizes[20] == 4, "0.4 of ten pods"
    assert min(sizes) == 4, "as it was when there were ten; then 0.4 of four for 300 s more"


def test_a_pod_that_became_ready_since_the_last_sync_is_not_measured() -> None:
    hpa = Hpa(least=1, most=10, size=2, request_millicores=500, limit_millicores=2_000)

    def sample(name: str, *, at: float, started: float, busy: float) -> PodSample:
        return PodSample(
            name=name, at=at, started=started, arrivals=0.0, completed=0.0, busy_seconds=busy, queued=0.0
        )

    hpa.size(15.0, Samples(replicas=2, ready=1, pods=(sample("a", at=15.0, started=0.0, busy=0.0),)))
    pods = (
        sample("a", at=30.0, started=0.0, busy=7.5),
        sample("b", at=30.0, started=20.0, busy=9.9),
    )
    assert hpa.size(30.0, Samples(replicas=2, ready=2, pods=pods)) == 2, "100 % of one pod, 50 % of two"
    pods = (
        sample("a", at=45.0, started=0.0, busy=15.0),
        sample("b", at=45.0, started=20.0, busy=17.4),
    )
    assert hpa.size(45.0, Samples(replicas=2, ready=2, pods=pods)) == 4
