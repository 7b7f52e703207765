"""The explanation of a size: reviewed texts for each reason, and forecasts of steps down that come true."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from harness.golden import Golden
from harness.scaling import POLICY, decision, fixed_decision
from harness.simulated_pods import POLICY as PODS_POLICY
from harness.simulated_pods import SimulatedPods
from posecluster_operator.explain.decision import explain, next_step_down
from posecluster_operator.resource.posecluster import ScalingMode
from posecluster_operator.resource.reasons import ScalingReason
from posecluster_operator.scaling.policy import Decision, Numbers, Policy, Samples, State
from posecluster_operator.scaling.policy.autoscaler import Snapshot
from posecluster_operator.scaling.policy.demand import PodSample
from posecluster_operator.scaling.policy.history import History, Need

pytestmark = pytest.mark.unit

AT = 1000.0
R = ScalingReason
SILENT = {f"demo-pose-{letter}": "no response in time" for letter in "abcde"}


def known(
    made: Decision,
    *,
    ordered: int | None = None,
    ready: int = 3,
    read: int | None = None,
    policy: Policy = POLICY,
    failures: dict[str, str] | None = None,
    needs: tuple[Need, ...] = (),
    service: float | None = 0.095,
    listed: bool = True,
    **figures: float,
) -> Snapshot:
    """A decision of a moment ago; `figures` are those of its numbers."""
    usual: dict[str, Any] = {"ready": ready, "measured": ready}
    load = None if made.load is None else replace(made.load, scraped_pods=ready if read is None else read)
    numbers = None if made.numbers is None else replace(made.numbers, **usual | figures)
    history = History(needs=needs, service_seconds=service)
    made = replace(made, numbers=numbers, load=load, state=State(policy=policy, history=history))
    samples = Samples(replicas=made.replicas if ordered is None else ordered, ready=ready, listed=listed)
    return Snapshot(
        policy=policy, samples=samples, decision=made, failures=failures or {}, at=AT, now=AT + 0.3
    )


def needs(*pairs: tuple[float, float], burst: bool = False) -> tuple[Need, ...]:
    """Pods wanted, and how many seconds ago."""
    return tuple(Need(at=AT - ago, pods=pods, burst=burst and ago > 0) for pods, ago in pairs)


def of(reason: ScalingReason, replicas: int = 3) -> Decision:
    return decision(replicas, reason)


def blind(reason: ScalingReason, replicas: int = 3) -> Decision:
    return decision(replicas, reason, blind=reason, measured=False)


CALM: dict[str, float] = {"steady_pods": 1.1, "burst_pods": 0.9, "refused_per_second": 0.0}
HELD: dict[str, float] = CALM | {"highest_pods": 4.6, "highest_age_seconds": 12.0}
KNOWN: dict[ScalingReason, Snapshot] = {
    R.STEADY: known(of(R.STEADY), needs=needs((2.9, 0)), **CALM | {"steady_pods": 2.9, "highest_pods": 2.9}),
    R.DEMAND_ROSE: known(
        of(R.DEMAND_ROSE, 5), ordered=3, needs=needs((4.6, 0)), steady_pods=4.6, highest_age_seconds=0.0
    ),
    R.BURST: known(of(R.BURST, 5), needs=needs((4.6, 0)), ready=3, highest_age_seconds=0.0),
    R.DEMAND_FELL: known(
        of(R.DEMAND_FELL, 2), ordered=2, needs=needs((1.5, 30), (1.1, 0)), **HELD | {"highest_pods": 1.5}
    ),
    R.HOLDING_AFTER_BURST: known(
        of(R.HOLDING_AFTER_BURST, 5),
        ready=5,
        needs=needs((4.6, 12), (2.5, 8), (1.1, 0), burst=True),
        **HELD | {"hold_seconds": 120.0},
    ),
    R.JUST_STARTED: known(
        of(R.JUST_STARTED), needs=needs((1.1, 0)), **CALM | {"watched_seconds": 22.0, "highest_pods": 1.1}
    ),
    R.WAITING_FOR_PODS: known(
        of(R.WAITING_FOR_PODS, 5),
        ready=4,
        read=3,
        needs=needs((4.6, 3)),
        failures={"demo-pose-b": "connection refused"},
        service=None,
        **{"measured": 2, "service_seconds": 0.05},
    ),
    R.AT_MAXIMUM: known(
        of(R.AT_MAXIMUM, 10), ready=10, steady_pods=12.3, highest_pods=12.3, service_seconds=0.4
    ),
    R.AT_MINIMUM: known(
        of(R.AT_MINIMUM, 2),
        ready=2,
        policy=replace(POLICY, min_replicas=2),
        **CALM | {"highest_pods": 1.1},
    ),
    R.NO_METRICS: known(blind(R.NO_METRICS), failures=SILENT, listed=False),
    R.PARTIAL_METRICS: known(
        decision(3, R.STEADY, blind=R.PARTIAL_METRICS),
        read=2,
        failures={"demo-pose-c": "response is a redirect"},
        needs=needs((2.0, 0)),
        **CALM | {"measured": 2},
    ),
    R.REPLICAS_TAKEN_OVER: known(blind(R.REPLICAS_TAKEN_OVER, 7), ready=7),
    R.FIXED_SIZE: known(fixed_decision(4), ready=4, policy=replace(POLICY, mode=ScalingMode.FIXED)),
}
# nothing is decided for it; the resource shows that
NEVER_KNOWN = {R.PAUSED}


def text(found: Snapshot) -> str:
    return explain("demo", "pose", found)


def test_every_reason_has_a_case() -> None:
    assert KNOWN.keys() | NEVER_KNOWN == set(ScalingReason)
    assert not KNOWN.keys() & NEVER_KNOWN


def test_the_texts_are_those_of_the_golden_file(golden: Golden) -> None:
    golden(
        "explanations",
        [{"reason": reason.value, "text": text(found).splitlines()} for reason, found in KNOWN.items()],
    )


@pytest.mark.parametrize("reason", KNOWN)
def test_each_says_what_it_means_what_to_do_and_fits_a_terminal(reason: ScalingReason) -> None:
    lines = text(KNOWN[reason]).splitlines()
    assert reason.value in lines[0]
    words = " ".join(" ".join(lines).split())
    assert reason.message in words
    assert "  To do " in text(KNOWN[reason])
    assert not any("{" in line for line in lines if not line.lstrip().startswith("kubectl"))
    assert "None" not in words
    assert all(len(line) <= 100 for line in lines if "kubectl" not in line)


@pytest.mark.parametrize(
    ("field", "value", "shown"),
    [
        ("requests_per_second", 77.7, "77.7 requests/s"),
        ("refused_per_second", 9.3, "9.3/s refused"),
        ("service_seconds", 0.123, "123 ms of work each (measured)"),
        ("utilisation", 0.61, "61 % busy"),
        ("steady_pods", 3.3, "3.3 pods for the rate"),
        ("burst_pods", 4.4, "4.4 for bursts"),
        ("highest_pods", 8.8, "8.8 pods, which were needed 12 s ago"),
        ("highest_age_seconds", 43.0, "needed 43 s ago"),
        ("hold_seconds", 90.0, "instead of 60 s"),
        ("watched_seconds", 31.0, "without a gap for 31 s"),
    ],
)
def test_every_number_in_the_text_comes_from_the_decision(field: str, value: float, shown: str) -> None:
    usual: dict[str, Any] = {"highest_pods": 4.7}
    found = text(known(of(R.STEADY), **usual | {field: value}))
    assert shown in " ".join(found.split())
    assert shown not in " ".join(text(known(of(R.STEADY), **usual)).split())


def test_an_objective_that_no_size_can_keep_is_reported() -> None:
    assert "More pods cannot meet it" in text(KNOWN[R.AT_MAXIMUM])
    assert "More pods cannot meet it" not in text(KNOWN[R.BURST])


def test_at_the_maximum_it_says_how_much_more_would_be_enough() -> None:
    words = " ".join(text(KNOWN[R.AT_MAXIMUM]).split())
    assert "The objective may be missed: 12.3 pods are needed, but only 10 are allowed" in words
    assert "Raise spec.scaling.maxReplicas to 13 or more" in words
    lowered = known(of(R.AT_MAXIMUM, 10), ordered=12)  # only by the bound
    assert "may be missed" not in text(lowered)
    assert "Nothing: the Deployment had more pods than spec.scaling.maxReplicas (10) allows" in text(lowered)


@pytest.mark.parametrize(
    ("requests", "is_uneven"),
    [([(9, 2), (0, 0), (0, 0)], True), ([(9, 2), (8, 2), (9, 2)], False), ([(0, 2), (0, 0), (0, 0)], False)],
)
def test_at_the_maximum_it_says_that_load_does_not_reach_idle_pods(
    requests: list[tuple[int, int]], is_uneven: bool
) -> None:
    pods = tuple(
        PodSample(
            name=str(number),
            at=AT,
            started=1.0,
            arrivals=9.0,
            completed=5.0,
            busy_seconds=1.0,
            queued=queued,
            running=running,
        )
        for number, (queued, running) in enumerate(requests)
    )
    snapshot = KNOWN[R.AT_MAXIMUM]
    words = " ".join(text(replace(snapshot, samples=replace(snapshot.samples, pods=pods))).split())
    assert ("requests wait in one pod while others (2) have none" in words) == is_uneven


def test_right_after_a_start_the_text_says_until_when_the_size_is_held() -> None:
    assert "the size is held for 38 s more" in text(KNOWN[R.JUST_STARTED])
    unread = replace(KNOWN[R.JUST_STARTED], decision=decision(3, R.JUST_STARTED, measured=False))
    assert "two measurements" in " ".join(text(unread).split())


# ---- the forecast: it comes true if the load stays the same


def look(fleet: SimulatedPods, rate: float) -> Snapshot:
    """Let a second pass, decide, and be asked."""
    pods = fleet.pass_second(rate)
    samples = Samples(replicas=fleet.replicas, ready=len(fleet.ready), pods=pods)
    made = fleet.size(pods)
    return Snapshot(policy=fleet.policy, samples=samples, decision=made, at=fleet.now, now=fleet.now)


def comes_true(
    fleet: SimulatedPods, rate: float, expected: Callable[[Snapshot], tuple[float, int] | None]
) -> int:
    """Ask each second, until the size no longer changes; return how many steps down happened as announced."""
    steps, told = 0, None
    for _ in range(int(3 * fleet.policy.max_hold_seconds)):
        before = fleet.replicas
        found = look(fleet, rate)
        if fleet.replicas < before:
            assert told is not None, "a step down that was not announced"
            assert fleet.replicas == told[1], "to another size than announced"
            assert told[0] <= 1.5, "earlier than announced"
            steps += 1
        else:
            assert told is None or told[0] > 0.0, "an announced step down did not happen"
        told = expected(found)
    return steps


def after(peak: float, calm: float) -> SimulatedPods:
    """A fleet that knows its load for long, then had a peak; now it is calm again and its pods are ready."""
    fleet = SimulatedPods(policy=replace(PODS_POLICY, max_replicas=30))
    fleet.run(400, calm)
    fleet.run(3, peak)
    fleet.run(25, calm)
    return fleet


@pytest.mark.parametrize(("peak", "calm"), [(200.0, 20.0), (120.0, 30.0), (60.0, 5.0)])
def test_the_announced_step_down_happens(peak: float, calm: float) -> None:
    assert comes_true(after(peak, calm), calm, next_step_down) >= 1


def test_the_step_down_announced_right_after_a_start_happens() -> None:
    fleet = after(150.0, 20.0)
    fleet.run(10, 20.0)
    fleet.forget()
    fleet.run(2, 20.0)
    assert comes_true(fleet, 20.0, next_step_down) >= 1


def test_a_load_that_needs_its_size_has_no_step_down() -> None:
    fleet = SimulatedPods()
    fleet.run(700, 100.0)
    assert next_step_down(look(fleet, 100.0)) is None


@pytest.mark.control
@pytest.mark.parametrize("wrong", [(0.0, 1), (0.0, -1), (-5.0, 0), (5.0, 0)], ids=str)
def test_control_a_wrong_look_ahead_is_seen(wrong: tuple[float, int]) -> None:
    def off(found: Snapshot) -> tuple[float, int] | None:
        told = next_step_down(found)
        return None if told is None else (told[0] + wrong[0], told[1] + wrong[1])

    with pytest.raises(AssertionError):
        comes_true(after(200.0, 20.0), 20.0, off)


def test_a_new_figure_is_noticed() -> None:
    """A figure that is added to Numbers must be considered here: should the text show it?"""
    assert set(Numbers.__dataclass_fields__) == {
        *("requests_per_second", "busy_seconds", "refused_per_second", "service_seconds", "utilisation"),
        *(
            "steady_pods",
            "burst_pods",
            "highest_pods",
            "highest_age_seconds",
            "hold_seconds",
            "watched_seconds",
        ),
        *("ready", "measured"),
    }
