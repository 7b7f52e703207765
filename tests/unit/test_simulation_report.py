"""The comparison and its text: deterministic, reports failures, and 80 columns wide."""

from array import array
from dataclasses import replace
from typing import Any

import pytest

from posecluster_operator.resource.parsing import parse
from posecluster_operator.resource.reasons import ScalingReason
from posecluster_operator.scaling.policy import Routing
from posecluster_operator.simulation.arrivals import Arrivals, draw
from posecluster_operator.simulation.compare import Comparison, Setting, compare, smallest
from posecluster_operator.simulation.report import report
from posecluster_operator.simulation.textplot import chart, clock, columns_of_steps, time_axis
from posecluster_operator.simulation.trace import Counts

pytestmark = pytest.mark.unit

QUIET, BUSY = (10,) * 60, (120,) * 60
STEP = Counts(1, QUIET + BUSY + QUIET * 6)  # a step out of quiet is held for 300 s, like a burst


def setting(**spec: Any) -> Setting:
    metadata = {"name": "pose", "namespace": "default", "uid": "", "generation": 1, "resourceVersion": ""}
    return Setting(
        cluster=parse({"metadata": metadata, "spec": spec}),
        routing=Routing.RANDOM,
        service_seconds=0.06,
        service_cv=0.5,
        start_seconds=4.0,
        seed=1,
    )


def drawn(counts: Counts = STEP) -> Arrivals:
    return draw(counts, service_seconds=0.06, service_cv=0.5, seed=1)


def compared(counts: Counts = STEP, **spec: Any) -> Comparison:
    return compare(setting(**spec), drawn(counts))


def told(comparison: Comparison, *, every_change: bool = False, **spec: Any) -> str:
    return report(setting(**spec), comparison, load="step", every_change=every_change)


def test_a_step_is_answered_within_two_seconds_and_given_back_after_the_hold() -> None:
    comparison = compared()
    up = next(change for change in comparison.changes if change.at >= 60.0)
    assert up.at <= 62.0
    assert up.decision.replicas > up.before
    assert up.decision.reason in (ScalingReason.BURST, ScalingReason.DEMAND_ROSE)
    down = next(change for change in comparison.changes if change.decision.replicas < change.before)
    assert down.decision.reason is ScalingReason.DEMAND_FELL
    assert down.at >= 175.0, "busy until 120, and what was wanted then is held for 60 at least"
    assert comparison.own.sizes[-1][1] < max(size for _, size in comparison.own.sizes)


def test_every_policy_gets_the_same_requests_and_the_fewest_pods_are_found() -> None:
    comparison = compared()
    assert comparison.hpa is not None
    assert comparison.fewest is not None
    outcomes = [comparison.own, comparison.hpa, *(one.outcome for one in comparison.fixed)]
    assert {outcome.requests for outcome in outcomes} == {len(comparison.arrivals.times)}
    by_size = {one.size: one.outcome for one in comparison.fixed}
    assert by_size[comparison.fewest].late_share <= 0.01
    assert all(one.late_share > 0.01 for size, one in by_size.items() if size < comparison.fewest)
    assert all(one.sizes == ((0.0, size),) for size, one in by_size.items())


def test_equal_seeds_give_equal_reports_and_other_seeds_do_not() -> None:
    text = told(compared(), every_change=True)
    assert text == told(compared(), every_change=True)
    other = compare(replace(setting(), seed=2), draw(STEP, service_seconds=0.06, service_cv=0.5, seed=2))
    assert told(other, every_change=True) != text


@pytest.mark.parametrize(("late", "said"), [(9, "yes"), (10, "yes"), (11, "NO"), (1_000, "NO")])
def test_the_report_says_whether_the_objective_is_kept(late: int, said: str) -> None:
    comparison = compared()
    latencies = array("d", [0.26] * late + [0.1] * (1_000 - late))
    text = told(replace(comparison, own=replace(comparison.own, latencies=latencies, refused=0)))
    line = next(line for line in text.splitlines() if line.startswith("this PoseCluster"))
    assert line.split()[2:4] == [f"{late:.2f}", said]


def test_how_requests_reach_pods_is_known_to_the_policy_and_to_the_pods() -> None:
    for routing in Routing:
        one = replace(setting(), routing=routing)
        assert (one.policy.objective.routing, one.pods.routing) == (routing, routing)


def test_routing_changes_the_wanted_size_and_the_outcome() -> None:
    one = compare(replace(setting(), routing=Routing.SHARED), drawn())
    assert one.fewest is not None
    several = compared().fewest
    assert several is not None
    assert one.fewest < several


def test_a_fixed_size_is_left_as_it_is() -> None:
    comparison = compared(replicas=2, scaling={"mode": "Fixed"})
    assert comparison.own.sizes == ((0.0, 2),)
    text = told(comparison, replicas=2, scaling={"mode": "Fixed"})
    assert "pose: 2 pods, fixed" in text
    assert "The size never changes." in text


def test_no_size_at_all_is_late_all_the_time() -> None:
    spec: dict[str, Any] = {"replicas": 0, "scaling": {"mode": "Fixed"}}
    line = next(
        line for line in told(compared(**spec), **spec).splitlines() if line.startswith("this PoseCluster")
    )
    assert line.split() == ["this", "PoseCluster", "1000.00", "NO", "0.00", "0", "0", "-"]


def test_without_a_cpu_request_the_report_says_that_there_is_no_hpa() -> None:
    spec: dict[str, Any] = {"resources": {"requests": {"cpu": "0"}}}
    comparison = compared(**spec)
    assert comparison.hpa is None
    assert "No HPA: resources.requests.cpu is 0" in told(comparison, **spec)


def test_an_objective_that_no_size_keeps_is_explained() -> None:
    spec: dict[str, Any] = {"scaling": {"objective": {"latencyMilliseconds": 60}}}
    comparison = compared(**spec)
    assert comparison.fewest is None
    text = told(comparison, **spec)
    assert "No fixed size up to 500 pods meets the objective" in text
    assert "this PoseCluster" in text
    assert " NO " in text


def test_the_text_is_eighty_columns_wide_and_cuts_the_changes_only_when_it_may() -> None:
    comparison = compared()
    short, whole = told(comparison), told(comparison, every_change=True)
    assert max(len(line) for text in (short, whole) for line in text.splitlines()) <= 80
    assert len(comparison.changes) > 6
    assert f"{len(comparison.changes) - 6} not shown" in short
    assert "not shown" not in whole
    arrows = [text.count(" -> ") for text in (short, whole)]
    assert arrows == [6, len(comparison.changes)]


@pytest.mark.parametrize(("needed", "first"), [(1, 1), (1, 9), (7, 1), (7, 7), (7, 30), (500, 3), (64, 32)])
def test_the_smallest_size_is_found_wherever_the_search_begins(needed: int, first: int) -> None:
    tried: list[int] = []

    def keeps(size: int) -> bool:
        tried.append(size)
        return size >= needed

    assert smallest(keeps, first=first) == needed
    assert len(tried) <= 20
    assert smallest(lambda size: False, first=first) is None


def test_the_picture_of_a_curve() -> None:
    values = columns_of_steps([(0.0, 1), (5.0, 4), (7.0, 2)], 10.0, width=10)
    assert values == [1, 1, 1, 1, 1, 4, 4, 2, 2, 2]
    marks = [2.0, 2, 2, 2, 2, 2, 3, 3, 3, 3]
    assert chart(values, height=10, marks=marks, whole=True) == [
        "      4 |     ##",
        "      3 |     #oooo",
        "      2 |oooooo####",
        "      1 |##########",
    ]
    assert time_axis(600.0, width=20) == [
        "        +--------------------",
        "         0       5:00   10:00",
    ]


def test_a_short_peak_is_seen_in_a_wide_column() -> None:
    assert columns_of_steps([(0.0, 1), (50.0, 9), (51.0, 1)], 1_000.0, width=4) == [9, 1, 1, 1]


def test_a_picture_of_many_pods_takes_few_lines() -> None:
    lines = chart([0.0, 1, 30, 500], height=10, whole=True)
    assert lines == ["    500 |   #", *(f"{size:>7} |   #" for size in range(450, 50, -50)), "     50 | ###"]


def test_a_picture_of_rates_ends_at_the_highest() -> None:
    assert chart([0.0, 2.5, 5.0], height=2) == ["      5 |  #", "    2.5 | ##"]
    assert chart([0.0, 0.0], height=2) == ["    0.0 |", "    0.0 |"]
    assert chart([0.0], height=5, whole=True) == ["      1 |"]


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "0:00"), (61, "1:01"), (3_599.6, "1:00:00"), (7_325, "2:02:05")]
)
def test_times_are_printed_as_hours_and_minutes(seconds: float, said: str) -> None:
    assert clock(seconds) == said
