"""The autoscaler of one PoseCluster, tick by tick: confirmed decisions, requested passes, memory."""

from collections.abc import Iterable
from dataclasses import replace

import pytest

from harness.scaling import OBJECTIVE, sample
from posecluster_operator.resource.posecluster import ScalingMode
from posecluster_operator.resource.reasons import ScalingReason
from posecluster_operator.scaling.policy import WINDOWS, Autoscaler, PodSample, Policy, Scrape, Windows
from posecluster_operator.scaling.policy.autoscaler import fixed_decision

pytestmark = pytest.mark.unit

SERVICE_SECONDS = 0.05
POLICY = Policy(
    objective=replace(OBJECTIVE, workers=1),
    min_replicas=1,
    max_replicas=20,
    hold_seconds=5.0,
    max_hold_seconds=20.0,
)
FAST = WINDOWS.scaled(0.2)


class World:
    """Pods whose counters rise by a rate, and an autoscaler that sizes them; all time is given."""

    def __init__(self, pods: int = 2, policy: Policy = POLICY) -> None:
        self.now, self.rate, self.size, self.policy = 1000.0, 0.0, pods, policy
        self.silent: set[str] = set()
        self.counters: dict[str, float] = {}
        self.autoscaler = Autoscaler(self.now, policy, replicas=pods, ready=pods)
        self.wakes = 0

    def scrape(self) -> Scrape:
        names = [f"pod-{number}" for number in range(self.size)]
        return Scrape(
            pods={name: None if name in self.silent else self.read(name) for name in names},
            failures={name: "no response in time" for name in names if name in self.silent},
            stale_seconds=self.policy.windows.stale_seconds,
        )

    def read(self, name: str) -> PodSample:
        share = self.rate * self.policy.windows.tick_seconds / self.size
        done = self.counters[name] = self.counters.get(name, 500.0) + share
        return sample(name, self.now, arrivals=done, completed=done, busy_seconds=done * SERVICE_SECONDS)

    def confirm(self, *, taken_over: bool = False, replicas: int | None = None) -> int:
        """A pass up to its decision."""
        replicas = self.size if replicas is None else replicas
        self.autoscaler.confirm(self.now, self.policy, replicas=replicas, taken_over=taken_over)
        return self.autoscaler.decision.replicas

    def apply(self) -> None:
        """A whole pass."""
        self.size = self.confirm()
        self.autoscaler.ordered(self.size)

    def tick(self, count: int = 1, *, passes: bool = True) -> None:
        for _ in range(count):
            self.now += self.policy.windows.tick_seconds
            woken = self.autoscaler.tick(self.now, self.scrape())
            self.wakes += woken
            if woken and passes:
                self.apply()

    def until_smaller(self, ticks: int) -> int:
        """Tick until the size falls; return how many ticks that took."""
        size = self.size
        for count in range(1, ticks + 1):
            self.tick()
            if self.size < size:
                return count
        raise AssertionError(f"still {size} pods after {ticks} ticks")


@pytest.mark.parametrize(("last_replicas", "expected"), [(0, 2), (1, 2), (7, 7)])
def test_a_deleted_deployment_gets_back_the_size_in_the_status(last_replicas: int, expected: int) -> None:
    policy = replace(POLICY, fixed_replicas=2)
    autoscaler = Autoscaler(1000.0, policy, replicas=None, ready=0, last_replicas=last_replicas)
    assert autoscaler.decision.replicas == expected


@pytest.mark.parametrize(("last_replicas", "expected"), [(0, 2), (7, 7), (99, 20)])
def test_a_deployment_deleted_between_two_passes_gets_its_size_back_within_the_bounds(
    last_replicas: int, expected: int
) -> None:
    world = World(pods=7, policy=replace(POLICY, fixed_replicas=2))
    confirmed = world.autoscaler.confirm(world.now, world.policy, replicas=None, last_replicas=last_replicas)
    assert confirmed.replicas == expected


def test_an_existing_deployment_keeps_its_size_whatever_the_status_says() -> None:
    policy = replace(POLICY, fixed_replicas=2)
    assert Autoscaler(1000.0, policy, replicas=3, ready=3, last_replicas=7).decision.replicas == 3


@pytest.mark.parametrize("replicas", [None, 0, 3, 9])
def test_in_mode_fixed_the_spec_decides_and_in_mode_auto_it_does_not(replicas: int | None) -> None:
    policy = replace(POLICY, fixed_replicas=7)
    assert fixed_decision(1000.0, policy, replicas=replicas) is None
    decision = fixed_decision(1000.0, replace(policy, mode=ScalingMode.FIXED), replicas=replicas)
    assert decision is not None
    assert (decision.replicas, decision.blind) == (7, ScalingReason.FIXED_SIZE)


def lowered_at(world: World) -> float | None:
    return world.autoscaler.decision.state.history.lowered_at


def test_a_ticks_decision_counts_only_after_a_pass_confirms_it() -> None:
    world = World()
    world.tick(3)
    world.rate = 200.0
    world.tick(passes=False)
    wanted = world.autoscaler.decision.replicas
    assert wanted > 2
    assert world.autoscaler.samples.replicas == 2
    assert world.confirm() == wanted, "the same samples"


def test_a_pass_decides_by_the_objects_that_it_read() -> None:
    world = World()
    world.tick(3)
    world.rate = 200.0
    world.tick(passes=False)
    world.policy = replace(POLICY, max_replicas=3)
    assert world.confirm() == 3
    assert world.confirm(replicas=9) == 3


def test_a_step_down_counts_for_the_hold_only_when_it_was_made() -> None:
    world = World()
    world.rate = 200.0
    world.tick(10)
    world.rate = 0.0
    high = world.size
    while world.autoscaler.decision.replicas == high:
        world.tick(passes=False)
    first = lowered_at(world)
    world.tick(3, passes=False)
    assert world.size == high
    assert first != lowered_at(world) == world.now, "each tick decides it again"
    world.apply()
    assert world.size < high
    made = lowered_at(world)
    for _ in range(5):
        size = world.size
        world.apply()
        assert world.size == size, "passes between two ticks change nothing"
    assert lowered_at(world) == made


def test_a_size_that_is_not_applied_wakes_a_pass_now_and_then() -> None:
    world = World()
    world.tick(3)
    world.rate = 60.0
    world.tick(2, passes=False)
    world.wakes = 0
    world.tick(30, passes=False)
    assert 2 <= world.wakes <= 8


def test_a_settled_load_wakes_nothing() -> None:
    world = World()
    world.tick(75)
    assert world.size == 1
    world.wakes = 0
    world.tick(60)
    assert world.wakes == 0


def test_a_silent_pods_last_sample_counts_until_it_is_stale() -> None:
    world = World(pods=4)
    world.tick(3)
    world.silent = {"pod-1"}
    world.tick(int(WINDOWS.stale_seconds))
    assert len(world.autoscaler.samples.pods) == 4
    assert world.autoscaler.decision.load is not None
    assert world.autoscaler.decision.load.scraped_pods == 4
    assert world.autoscaler.failures == {"pod-1": "no response in time"}
    world.tick(60)
    assert world.size == 4, "it may be the busiest"
    assert world.autoscaler.shown is not None
    assert world.autoscaler.shown.reason is ScalingReason.PARTIAL_METRICS


def test_a_size_that_is_handed_back_is_held_for_a_whole_window() -> None:
    world = World(pods=4)
    world.tick(3)
    assert world.confirm(taken_over=True) == 4
    for _ in range(60):
        world.now += 1.0
        world.autoscaler.tick(world.now, world.scrape())
        assert world.confirm(taken_over=True) == 4, "it is theirs"
    world.apply()
    assert world.size == 4
    assert world.until_smaller(60) >= WINDOWS.busy_seconds


def test_before_the_list_of_pods_the_deployments_own_number_counts() -> None:
    world = World(pods=4)
    world.now += 1.0
    empty = Scrape(pods={}, listed=False, stale_seconds=WINDOWS.stale_seconds)
    world.autoscaler.tick(world.now, empty)
    assert world.autoscaler.samples.ready == 4
    assert world.autoscaler.shown is None, "nothing is known yet: the status stays as it is"


def test_activity_is_the_work_in_the_pod_then_recent_arrivals() -> None:
    world = World()
    world.rate = 20.0
    world.tick(2)
    assert world.autoscaler.activity() == {"pod-0": (0.0, 10.0), "pod-1": (0.0, 10.0)}


def ticks_to_fall(windows: Windows) -> list[int]:
    """The ticks from each size to the next smaller one, after a load that ended."""
    scale = windows.tick_seconds / WINDOWS.tick_seconds
    world = World(
        policy=replace(
            POLICY, windows=windows, hold_seconds=POLICY.hold_seconds * scale, max_hold_seconds=20.0 * scale
        )
    )
    world.rate = 100.0
    world.tick(40)
    world.rate = 0.0
    found = []
    while world.size > 1:
        found.append(world.until_smaller(100))
    return found


def test_shorter_windows_make_the_same_decisions_sooner() -> None:
    usual, fast = ticks_to_fall(WINDOWS), ticks_to_fall(FAST)
    assert sum(usual) >= 20, "seconds"
    assert abs(sum(fast) - sum(usual)) <= 0.2 * sum(usual), "ticks, of which each is a fifth as long"


def test_all_windows_are_scaled() -> None:
    def lengths(windows: Windows) -> Iterable[float]:
        for name in Windows.__slots__:
            value = getattr(windows, name)
            yield from value if isinstance(value, tuple) else (value,)

    pairs = list(zip(lengths(WINDOWS), lengths(FAST), strict=True))
    assert len(pairs) >= 10
    assert [fast for _, fast in pairs] == pytest.approx([0.2 * usual for usual, _ in pairs])
