"""The size: fixed, or held within the bounds."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posecluster_operator.autoscaler import NOTHING, State, decide
from posecluster_operator.models import ScalingMode
from posecluster_operator.reasons import ScalingReason

pytestmark = pytest.mark.unit

SIZES = st.integers(0, 500)
TIMES = st.floats(0, 1e9)


@st.composite
def states(draw: st.DrawFn, mode: ScalingMode) -> State:
    low = draw(st.integers(1, 500))
    return State(
        mode=mode,
        fixed_replicas=draw(SIZES),
        min_replicas=low,
        max_replicas=draw(st.integers(low, 500)),
        current=draw(st.none() | SIZES),
    )


@given(TIMES, states(ScalingMode.FIXED))
def test_fixed_is_what_the_spec_says(now: float, state: State) -> None:
    decision = decide(now, NOTHING, state)
    assert decision.replicas == state.fixed_replicas
    assert (decision.reason, decision.active) == (ScalingReason.FIXED_SIZE, False)


@given(TIMES, states(ScalingMode.AUTO))
def test_auto_stays_within_the_bounds(now: float, state: State) -> None:
    decision = decide(now, NOTHING, state)
    assert state.min_replicas <= decision.replicas <= state.max_replicas
    assert (decision.reason, decision.active) == (ScalingReason.NO_METRICS, False)


@given(TIMES, states(ScalingMode.AUTO))
def test_without_samples_a_size_within_the_bounds_does_not_change(now: float, state: State) -> None:
    held = state.fixed_replicas if state.current is None else state.current
    if state.min_replicas <= held <= state.max_replicas:
        assert decide(now, NOTHING, state).replicas == held


@pytest.mark.parametrize(
    ("fixed", "current", "size"),
    [(1, None, 2), (4, None, 4), (9, None, 5), (1, 0, 2), (1, 3, 3), (1, 9, 5)],
)
def test_the_first_size_is_the_specs_and_then_the_deployments(
    fixed: int, current: int | None, size: int
) -> None:
    state = State(
        mode=ScalingMode.AUTO, fixed_replicas=fixed, min_replicas=2, max_replicas=5, current=current
    )
    assert decide(math.inf, NOTHING, state).replicas == size
