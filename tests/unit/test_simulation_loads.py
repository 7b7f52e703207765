"""Traces and patterns: read, checked, drawn, and within the bounds of the spec."""

from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posecluster_operator.errors import InvalidInput
from posecluster_operator.resource.posecluster import ScalingMode
from posecluster_operator.scaling.policy import Policy, Routing, ServiceLevel
from posecluster_operator.scaling.policy.target import pods_for_rate
from posecluster_operator.simulation.arrivals import MOST_REQUESTS, draw, scaled
from posecluster_operator.simulation.patterns import PATTERNS, levels, poisson_counts, rates
from posecluster_operator.simulation.trace import Counts, parse_trace, read_trace

pytestmark = pytest.mark.unit

HEAD = "second,requests"


def parse(*lines: str) -> Counts:
    return parse_trace(list(lines), name="t.csv")


def test_a_trace_of_seconds_or_minutes() -> None:
    assert parse(HEAD, "0,3", "1,0", "2,5") == Counts(1, (3, 0, 5))
    assert parse("minute,requests", "0,3", "2,5") == Counts(60, (3, 0, 5))
    assert parse("", " second , requests ", "", " 1 , 4 ") == Counts(1, (0, 4))
    assert parse("minute,requests", "0,3", "2,5").seconds == 180.0


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "must begin with the line second,requests or minute,requests"),
        (["hour,requests", "0,1"], "must begin with"),
        (["second,requests,more", "0,1,2"], "must begin with"),
        (["0,1"], "must begin with"),
        ([HEAD], "has no requests"),
        ([HEAD, "0,0"], "has no requests"),
        ([HEAD, "0,1", "1"], "line 3 of t.csv must be two whole numbers"),
        ([HEAD, "0,1,2"], "line 2 of t.csv must be two"),
        ([HEAD, "0,-1"], "line 2 of t.csv must be two"),
        ([HEAD, "0,1.5"], "line 2 of t.csv must be two"),
        ([HEAD, "0,nan"], "line 2 of t.csv must be two"),
        ([HEAD, "0,٣"], "line 2 of t.csv must be two"),
        ([HEAD, "0,1", "", "0,2"], "line 4 of t.csv is out of order"),
        ([HEAD, "5,1", "4,2"], "line 3 of t.csv is out of order"),
        ([HEAD, "2678400,1"], "line 2 of t.csv is after 31 days"),
        ([HEAD, "9" * 5000 + ",1"], "line 2 of t.csv is after 31 days"),
        ([HEAD, "0,1000000001"], "too many requests"),
        ([HEAD, "0," + "9" * 5000], "too many requests"),
    ],
)
def test_a_bad_trace_is_refused_and_its_line_named(lines: list[str], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        parse(*lines)


def test_a_file_that_cannot_be_read_or_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    with pytest.raises(InvalidInput, match=r"cannot read .*t\.csv: No such file"):
        read_trace(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidInput, match="is not UTF-8 text"):
        read_trace(path)
    path.write_bytes(b"\xef\xbb\xbfsecond,requests\r\n0,7\r\n")
    assert read_trace(path) == Counts(1, (7,))


@given(st.text())
def test_any_text_is_a_trace_or_refused(text: str) -> None:
    try:
        counts = parse(HEAD, *text.splitlines())
    except InvalidInput:
        return
    assert any(counts.requests)


def test_a_part_of_a_trace() -> None:
    counts = Counts(60, (1, 2, 3, 4))
    assert counts.part(skip_seconds=60.0, seconds=90.0).requests == (2, 3)
    assert counts.part(skip_seconds=0.0, seconds=None) == counts
    assert counts.part(skip_seconds=999.0, seconds=None).requests == ()


def test_a_draw_keeps_the_counts_and_the_service_time() -> None:
    counts = Counts(60, (1_000, 0, 40_000))
    arrivals = draw(counts, service_seconds=0.06, service_cv=0.5, seed=3)
    in_minute = [sum(begin <= time < begin + 60 for time in arrivals.times) for begin in (0, 60, 120)]
    assert in_minute == [1_000, 0, 40_000]
    assert list(arrivals.times) == sorted(arrivals.times)
    mean = sum(arrivals.services) / len(arrivals.services)
    spread = (sum((one - mean) ** 2 for one in arrivals.services) / len(arrivals.services)) ** 0.5
    assert mean == pytest.approx(0.06, rel=0.02)
    assert spread / mean == pytest.approx(0.5, rel=0.03)
    assert arrivals.rate(0.0, 60.0) == pytest.approx(1_000 / 60)


def test_drawn_arrivals_end_at_the_given_time() -> None:
    arrivals = draw(Counts(60, (600, 600)), service_seconds=0.06, service_cv=0.5, seed=3, seconds=90.0)
    assert arrivals.seconds == 90.0
    assert 60.0 < arrivals.times[-1] < 90.0


def test_the_same_seed_draws_the_same_and_another_does_not() -> None:
    def drawn(seed: int) -> list[float]:
        arrivals = draw(Counts(1, (50,) * 9), service_seconds=0.06, service_cv=0.5, seed=seed)
        return [*arrivals.times, *arrivals.services, *arrivals.picks]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


def test_no_request_and_too_many_are_refused() -> None:
    with pytest.raises(InvalidInput, match="no request arrives"):
        draw(Counts(1, ()), service_seconds=0.06, service_cv=0.5, seed=1)
    with pytest.raises(InvalidInput, match="too many"):
        draw(Counts(1, (MOST_REQUESTS + 1,)), service_seconds=0.06, service_cv=0.5, seed=1)
    with pytest.raises(InvalidInput, match="too many"):
        scaled(Counts(1, (MOST_REQUESTS // 2,)), 3.0, seed=1)


def test_scaling_keeps_the_mean_of_small_counts() -> None:
    counts = Counts(1, (1,) * 10_000)
    assert sum(scaled(counts, 0.3, seed=1).requests) == pytest.approx(3_000, rel=0.05)
    assert set(scaled(counts, 2.5, seed=1).requests) == {2, 3}
    assert scaled(counts, 1.0, seed=1) is counts


def policy(least: int, most: int, *, latency: float = 0.25, mode: ScalingMode = ScalingMode.AUTO) -> Policy:
    objective = ServiceLevel(latency_seconds=latency, late_share=0.01, workers=2, queue_length=16)
    return Policy(objective=objective, mode=mode, fixed_replicas=3, min_replicas=least, max_replicas=most)


def test_a_pattern_goes_from_a_third_of_a_pod_to_five_pods_worth() -> None:
    quiet, busy = levels(policy(1, 40), service_seconds=0.05)
    assert (quiet, busy) == (pytest.approx(0.3 * 40), pytest.approx(5 * 40)), "one pod does 40 requests/s"


@pytest.mark.parametrize("routing", Routing)
@pytest.mark.parametrize("latency", [0.08, 0.25, 2.0])
@pytest.mark.parametrize(("least", "most"), [(1, 1), (1, 3), (1, 10), (5, 5), (2, 40), (20, 30), (500, 500)])
def test_a_patterns_load_can_be_served_within_the_specs_bounds(
    least: int, most: int, latency: float, routing: Routing
) -> None:
    objective = ServiceLevel(
        latency_seconds=latency, late_share=0.01, workers=2, queue_length=16, routing=routing
    )
    wanted = Policy(objective=objective, min_replicas=least, max_replicas=most)
    quiet, busy = levels(wanted, service_seconds=0.05)
    assert 0.0 < quiet <= busy / 2.0
    assert pods_for_rate(busy, objective, service_seconds=0.05) <= most


def test_a_pattern_for_a_fixed_size_is_within_that_size() -> None:
    spec = policy(1, 100, mode=ScalingMode.FIXED)
    _, busy = levels(spec, service_seconds=0.05)
    assert 2.0 < pods_for_rate(busy, spec.objective, service_seconds=0.05) <= 3.0


@pytest.mark.parametrize("seconds", [10.0, 60.0, 1_800.0])
@pytest.mark.parametrize("name", PATTERNS)
def test_every_pattern_is_quiet_at_first_busy_once_and_quiet_at_last(name: str, seconds: float) -> None:
    means = rates(name, quiet=10.0, busy=100.0, seconds=seconds)
    assert len(means) == seconds
    assert means[0] == pytest.approx(10.0)
    assert max(means) == pytest.approx(100.0, rel=0.1)
    assert means[-1] < 50.0
    assert min(means) >= 10.0 - 1e-9


def test_poisson_counts_have_the_mean_and_the_variance_of_poisson() -> None:
    counts = poisson_counts([3.5] * 20_000, Random(1)).requests
    mean = sum(counts) / len(counts)
    assert mean == pytest.approx(3.5, rel=0.02)
    assert sum((one - mean) ** 2 for one in counts) / len(counts) == pytest.approx(3.5, rel=0.04)
    assert poisson_counts([0.0] * 3, Random(1)).requests == (0, 0, 0)
