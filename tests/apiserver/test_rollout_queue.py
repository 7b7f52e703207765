"""A new default image rolls few PoseClusters at a time; users' changes and new ones do not wait."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from harness.background import repeating
from harness.kubernetes.api import Api
from harness.kubernetes.facts import wait_rolled_out
from harness.kubernetes.operator import OperatorProcess
from harness.kubernetes.player import Player
from harness.kubernetes.pod_status import Behaviour
from harness.kubernetes.waiting import Json, conditions, posecluster

NAMES = [f"demo{number}" for number in range(6)]
OLD, NEW, OWN = "example.test/pose:old", "example.test/pose:new", "example.test/pose:own"


def image(deployment: Json) -> str:
    found: str = deployment["spec"]["template"]["spec"]["containers"][0]["image"]
    return found


def deployments(api: Api, namespace: str) -> dict[str, Json]:
    return {one["metadata"]["name"].removesuffix("-pose"): one for one in api.list("deployments", namespace)}


def is_rolling(deployment: Json) -> bool:
    """Whether the Deployment has pods of an older template, or has not been observed by its controller."""
    status, metadata = deployment.get("status", {}), deployment["metadata"]
    return status.get("observedGeneration", 0) < metadata["generation"] or status.get(
        "replicas", 0
    ) != status.get("updatedReplicas", 0)


@contextmanager
def counting(api: Api, namespace: str) -> Iterator[list[int]]:
    """How many Deployments are rolling out, sampled until the end of the block."""
    counts = list[int]()

    def sample() -> None:
        counts.append(sum(map(is_rolling, deployments(api, namespace).values())))

    with repeating(sample, every_seconds=0.05):
        yield counts


@pytest.fixture
def player(start_player: Callable[..., Player]) -> Player:
    """With a progress deadline that the tests shorten."""
    return start_player(progress_deadline_seconds=45.0)


@pytest.fixture
def upgrade(
    api: Api, namespace: str, player: Player, start_operator: Callable[..., OperatorProcess]
) -> Callable[..., OperatorProcess]:
    """Create PoseClusters without an image, then replace the operator by one with another default image."""
    first = start_operator(inference_image=OLD)
    for name in NAMES:
        api.create(posecluster(name, namespace, image=None))
    for name in NAMES:
        wait_rolled_out(api, namespace, name)

    def replace(**settings: object) -> OperatorProcess:
        first.terminate()
        first.wait()
        return start_operator(inference_image=NEW, **settings)

    return replace


def all_new(api: Api, namespace: str) -> bool:
    found = deployments(api, namespace).values()
    return all(image(one) == NEW and not is_rolling(one) for one in found)


def test_a_new_default_image_rolls_few_at_a_time_and_says_so(
    api: Api, namespace: str, upgrade: Callable[..., OperatorProcess]
) -> None:
    with counting(api, namespace) as counts:
        operator = upgrade(concurrent_rollouts=1)
        found = api.wait_condition(namespace, NAMES[-1], "Progressing")
        told = {found["reason"]}
        deadline = time.monotonic() + 60
        while not all_new(api, namespace):
            assert time.monotonic() < deadline, "not all rolled out"
            items = api.list("poseclusters", namespace)
            told |= {conditions(one)["Progressing"]["reason"] for one in items}
            queued = [one for one in items if conditions(one)["Progressing"]["reason"] == "RolloutQueued"]
            for one in queued:
                assert (
                    conditions(one)["Progressing"]["status"] == conditions(one)["Ready"]["status"] == "True"
                )
                assert "CONCURRENT_ROLLOUTS" in conditions(one)["Progressing"]["message"]
            assert operator.metrics("queued_rollouts") <= len(NAMES)
            time.sleep(0.1)
    assert "RolloutQueued" in told
    assert max(counts) == 1
    for name in NAMES:
        wait_rolled_out(api, namespace, name)
    assert operator.metrics("queued_rollouts") == 0


@pytest.mark.control
def test_control_with_a_high_limit_all_roll_at_once(
    api: Api, namespace: str, player: Player, upgrade: Callable[..., OperatorProcess]
) -> None:
    """The rollouts do not end, so that a busy machine cannot separate them."""
    player.behave(NEW, Behaviour.NEVER_READY)
    with counting(api, namespace) as counts:
        upgrade(concurrent_rollouts=100)
        api.wait_until(lambda: max(counts, default=0) == len(NAMES), 30, "all roll out at once")


def test_users_changes_sizes_and_new_poseclusters_do_not_wait_behind_a_stuck_rollout(
    api: Api, namespace: str, player: Player, upgrade: Callable[..., OperatorProcess]
) -> None:
    player.behave(NEW, Behaviour.IMAGE_MISSING)
    operator = upgrade(concurrent_rollouts=1)
    api.wait_until(lambda: operator.metrics("queued_rollouts") == len(NAMES) - 1, 30, "the others queued")
    api.wait_until(lambda: NEW in map(image, deployments(api, namespace).values()), 30, "one has begun")
    waiting = [name for name, one in deployments(api, namespace).items() if image(one) == OLD]
    mine, larger, *_ = waiting
    begin = time.monotonic()
    api.patch("poseclusters", namespace, mine, {"spec": {"image": OWN}})
    api.create(posecluster("another", namespace, image=OWN))
    for name in (mine, "another"):
        assert image_of_ready(api, namespace, name) == OWN
    assert time.monotonic() - begin < 15
    before = api.get("deployments", namespace, f"{larger}-pose")
    api.patch("deployments", namespace, f"{larger}-pose", {"spec": {"replicas": 3}})
    api.wait_until(
        lambda: api.get("deployments", namespace, f"{larger}-pose")["spec"]["replicas"] == 1, 10, "resized"
    )
    assert image(api.get("deployments", namespace, f"{larger}-pose")) == image(before) == OLD


def image_of_ready(api: Api, namespace: str, name: str) -> str:
    wait_rolled_out(api, namespace, name)
    return image(api.get("deployments", namespace, f"{name}-pose"))


def test_a_restarted_operator_keeps_to_the_limit(
    api: Api,
    namespace: str,
    player: Player,
    upgrade: Callable[..., OperatorProcess],
    start_operator: Callable[..., OperatorProcess],
) -> None:
    player.behave(NEW, Behaviour.NEVER_READY)
    second = upgrade(concurrent_rollouts=1)
    api.wait_until(lambda: second.metrics("queued_rollouts") == len(NAMES) - 1, 30, "the others queued")
    api.wait_until(lambda: NEW in map(image, deployments(api, namespace).values()), 30, "one has begun")
    second.kill()
    third = start_operator(inference_image=NEW, concurrent_rollouts=1)
    api.wait_until(lambda: third.metrics("queued_rollouts") == len(NAMES) - 1, 30, "queued again")
    assert [image(one) for one in deployments(api, namespace).values()].count(NEW) == 1


def test_a_stuck_rollout_holds_up_the_others_only_until_its_progress_deadline(
    api: Api, namespace: str, player: Player, upgrade: Callable[..., OperatorProcess]
) -> None:
    player.progress_deadline_seconds = 1.0
    player.behave(NEW, Behaviour.IMAGE_MISSING)
    with counting(api, namespace) as counts:
        upgrade(concurrent_rollouts=1)
        api.wait_until(
            lambda: all(image(one) == NEW for one in deployments(api, namespace).values()), 40, "all tried"
        )
    assert max(counts) > 1, "the stuck ones are still there"
    for name in NAMES:
        assert api.get("deployments", namespace, f"{name}-pose")["status"]["readyReplicas"] == 1
