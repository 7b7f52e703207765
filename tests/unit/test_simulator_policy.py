"""The adapter for simulators, used as a simulator does: loaded by path, called with the same tuples."""

import importlib.util
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from posecluster_operator.scaling.policy import Routing

pytestmark = pytest.mark.unit

PATH = Path(__file__).resolve().parents[1] / "tools" / "simulator_policy.py"
SERVICE_SECONDS = 0.033


@dataclass
class SimConfig:
    """The fields of the simulator's, that a policy may read."""

    workers: int = 1
    queue: int = 16
    routing: str = "random"
    min_replicas: int = 1
    max_replicas: int = 60


class PodSample(NamedTuple):
    """The simulator's sample, field by field."""

    pod: int
    ready_at: float
    queue: int
    busy: int
    inflight_avg: float
    workers: int
    queue_limit: int
    arrivals: int
    rejected: int
    completed: int
    busy_seconds: float


@pytest.fixture(scope="module")
def adapter() -> ModuleType:
    """The module as `--policy-module` loads it."""
    spec = importlib.util.spec_from_file_location("external_policy", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def simulate(policy: Any, trace: list[int], current: int = 1, start_seconds: int = 4) -> list[int]:
    """Run a trace of requests a second: even routing, no chance. Returns the size of each second."""
    pods = [[0, 0] for _ in range(current)]  # ready at, arrivals
    sizes = []
    for second, requests in enumerate(trace, start=1):
        ready = [pod for pod in pods if pod[0] <= second]
        for number in range(requests):
            ready[number % len(ready)][1] += 1
        samples = [
            PodSample(number, float(at), 0, 0, 0.0, 1, 16, arrivals, 0, arrivals, arrivals * SERVICE_SECONDS)
            for number, (at, arrivals) in enumerate(pods)
            if at <= second
        ]
        sizes.append(policy.decide(float(second), samples, len(pods)))
        del pods[sizes[-1] :]
        pods += [[second + start_seconds, 0] for _ in range(sizes[-1] - len(pods))]
    return sizes


STEP = [20] * 60 + [200] * 120 + [20] * 480


def test_a_step_up_and_down_is_followed(adapter: ModuleType) -> None:
    sizes = simulate(adapter.PoseClusterPolicy(SimConfig()), STEP)
    assert sizes[55] < 200 * SERVICE_SECONDS < sizes[62]
    assert max(sizes[62:180]) < 3 * 200 * SERVICE_SECONDS
    assert min(sizes[62:230]) > 200 * SERVICE_SECONDS  # held
    assert sizes[-1] < 200 * SERVICE_SECONDS


def test_a_stricter_objective_costs_more_pods(adapter: ModuleType) -> None:
    hours = [
        sum(simulate(adapter.PoseClusterPolicy(SimConfig(), **fields), STEP))
        for fields in (
            {"late_permille": 100},
            {"late_permille": "10"},  # --set passes text that is not a number
            {"late_permille": 1, "latency_ms": 120.0},
        )
    ]
    assert hours[0] < hours[1] < hours[2]


def test_a_longer_hold_holds_longer(adapter: ModuleType) -> None:
    short, long = (
        simulate(adapter.PoseClusterPolicy(SimConfig(), hold_seconds=hold, max_hold_seconds=hold), STEP)
        for hold in ("30", 240)
    )
    assert sum(short) < sum(long)


@pytest.mark.parametrize(
    ("simulated", "given", "expected"),
    [
        ("random", None, Routing.RANDOM),
        ("least", None, Routing.SHARED),
        ("p2c", None, Routing.SHARED),
        ("least", "Random", Routing.RANDOM),
    ],
)
def test_routing_is_the_simulators_unless_it_is_given(
    adapter: ModuleType, simulated: str, given: str | None, expected: Routing
) -> None:
    policy = adapter.PoseClusterPolicy(SimConfig(routing=simulated), routing=given)
    assert policy.state.policy.objective.routing == expected.value


def test_the_bounds_are_the_simulators(adapter: ModuleType) -> None:
    sizes = simulate(adapter.PoseClusterPolicy(SimConfig(min_replicas=2, max_replicas=5)), STEP)
    assert (min(sizes), max(sizes)) == (2, 5)


def test_it_needs_nothing_installed() -> None:
    """As with any other Python: no site-packages, so that only the path that the file itself adds helps."""
    command = f"import runpy; print(runpy.run_path({str(PATH)!r})['PoseClusterPolicy'].__name__)"
    found = subprocess.run(
        [sys.executable, "-I", "-S", "-c", command], capture_output=True, text=True, timeout=60, check=True
    )
    assert found.stdout.strip() == "PoseClusterPolicy"
