"""The operator starts few rollouts of its own at a time; those that are stuck do not count."""

import asyncio
from typing import Any

import pytest

from posecluster_operator.reconcile.rollout_queue import RolloutQueue, is_rolling_out, starts_rollout

pytestmark = pytest.mark.unit

COMPLETE = {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}
MOVING = {"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated"}
STUCK = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}


def deployment(
    progressing: Any = COMPLETE, *, observed: int = 2, ready: int = 1, template: str = "a", **spec: Any
) -> dict[str, Any]:
    annotations = {"posecluster.io/template-hash": template}
    return {
        "metadata": {"generation": 2},
        "spec": {"replicas": 1, "template": {"metadata": {"annotations": annotations}}} | spec,
        "status": {"observedGeneration": observed, "readyReplicas": ready, "conditions": [progressing]},
    }


@pytest.mark.parametrize(
    ("live", "rolling"),
    [
        (None, False),
        (deployment(), False),
        (deployment(MOVING), True),
        (deployment(observed=1), True),
        (deployment(STUCK), False),
        (deployment(MOVING, replicas=0), False),
        (deployment(MOVING, paused=True), False),
        (deployment(MOVING) | {"metadata": {"generation": 3, "deletionTimestamp": "x"}}, False),
        (deployment({}), False),
    ],
)
def test_a_rollout_is_under_way_while_it_makes_progress(live: Any, rolling: bool) -> None:
    assert is_rolling_out(live) is rolling


@pytest.mark.parametrize(
    ("live", "starts"),
    [
        (None, False),  # the first creation
        (deployment(template="b"), False),
        (deployment(), True),
        (deployment(ready=0), False),
        (deployment(template=""), False),
    ],
)
def test_only_another_template_for_pods_that_serve_is_a_rollout(live: Any, starts: bool) -> None:
    assert starts_rollout(deployment(template="b"), live) is starts


class Cluster:
    """What the API server would list, and the keys that were woken."""

    def __init__(self, limit: int = 2) -> None:
        self.rolling, self.woken, self.lists, self.now = set[str](), list[str](), 0, 100.0
        self.queue = RolloutQueue(
            limit=limit, rolling=self.read, wake=self.woken.append, monotonic=lambda: self.now
        )

    async def read(self) -> set[str]:
        self.lists += 1
        await asyncio.sleep(0)
        return set(self.rolling)

    def done(self, key: str) -> None:
        self.rolling.discard(key)
        self.queue.observe(key, is_rolling=False)


async def test_at_most_the_limit_starts_and_the_next_is_woken_in_order() -> None:
    cluster = Cluster()
    started = await asyncio.gather(*(cluster.queue.may_start(key) for key in "abcde"))
    assert started == [True, True, False, False, False]
    for key in "ab":
        cluster.rolling.add(key)
        cluster.queue.observe(key, is_rolling=True)
    assert (cluster.queue.waiting, cluster.woken) == (3, [])
    cluster.done("a")
    assert cluster.woken == ["c"]
    assert await cluster.queue.may_start("c")
    assert not await cluster.queue.may_start("d")
    assert cluster.queue.waiting == 2


async def test_a_new_process_counts_the_rollouts_of_its_predecessor() -> None:
    cluster = Cluster()
    cluster.rolling = {"x", "y"}
    assert not await cluster.queue.may_start("a")


async def test_while_the_limit_is_reached_the_cluster_is_listed_every_ten_seconds() -> None:
    cluster = Cluster()
    cluster.rolling = {"x", "y"}
    for _ in range(100):
        assert not await cluster.queue.may_start("a")
    assert cluster.lists == 1
    cluster.rolling, cluster.now = {"x"}, cluster.now + 10  # y is stuck, or its namespace is gone
    assert await cluster.queue.may_start("a")


async def test_a_rollout_that_could_not_be_applied_frees_its_place() -> None:
    cluster = Cluster(limit=1)
    assert await cluster.queue.may_start("a")
    assert not await cluster.queue.may_start("b")
    cluster.queue.observe("a", is_rolling=False)
    assert cluster.woken == ["b"]
    assert await cluster.queue.may_start("b")


async def test_a_deleted_or_changed_posecluster_leaves_the_queue() -> None:
    cluster = Cluster(limit=1)
    for key in "abc":
        await cluster.queue.may_start(key)
    cluster.queue.observe("b", is_rolling=False)
    assert cluster.queue.waiting == 1
    cluster.queue.clear()
    assert cluster.queue.waiting == 0
    assert await cluster.queue.may_start("c")
