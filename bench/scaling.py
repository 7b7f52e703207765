"""`make bench-scaling`: late requests and pod-hours of our autoscaler and of others.

The simulator and the traces are not part of the repository; `--simulator` and `--traces` name them. The
simulator is a Python module with `POLICIES`, `SimConfig`, `load_policy`, `load_trace` and `simulate`; the
traces are CSV files of request counts, whose names and sources scaling_windows.py lists. Our autoscaler is
the operator's own `decide`, through tests/tools/simulator_policy.py, with the same settings for all traces
except the objective. Prints the table, keeps every figure in build/bench-scaling.json, and with --write puts
the table and the picture of the frontier into docs/autoscaling.md.
"""

import argparse
import importlib.util
import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any

from bench import page
from bench.scaling_windows import FAMILIES, WINDOWS, Window

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))  # the fleet that `decide` is timed with is the tests'

from harness.simulated_pods import POLICY, SimulatedPods  # noqa: E402
from posecluster_operator.scaling.policy import Samples, decide  # noqa: E402

_MARKER = "bench-scaling"
_PAGE = ROOT / "docs" / "autoscaling.md"
_PICTURE = ROOT / "docs" / "autoscaling-frontier.svg"
_ADAPTER = ROOT / "tests" / "tools" / "simulator_policy.py"
_OURS = "PoseCluster"
# name in the table -> name in the simulator, parameters
_OTHERS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "Knative KPA, 60 s delay": ("kpa", {"delay": 60}),
    "HPA on CPU, 50 %": ("hpa-cpu", {"target": 0.5}),
    "Ray Serve": ("rayserve", {}),
    "oracle (knows the future)": ("oracle", {}),
}
_PODS, _DECISIONS = 100, 200


@dataclass(frozen=True, slots=True)
class Row:
    """One policy on one window."""

    policy: str
    window: str
    family: str
    requests: int
    late_percent: float
    pod_hours: float
    flaps: int  # changes of direction within 60 s


def load(simulator: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("autoscale_sim", simulator)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


def policies(simulator: ModuleType, permilles: Iterable[int]) -> dict[str, tuple[Any, dict[str, Any]]]:
    """Return the class and the parameters of each policy, by its name in the table."""
    found = {
        shown: (simulator.POLICIES[name][0], {**simulator.POLICIES[name][1], **params})
        for shown, (name, params) in _OTHERS.items()
    }
    ours = simulator.load_policy(f"{_ADAPTER}:PoseClusterPolicy")
    return found | {f"{_OURS}, {late} ‰": (ours, {"late_permille": late}) for late in permilles}


def run(
    simulator: ModuleType, traces: Path, windows: Sequence[Window], permilles: Iterable[int], most: int | None
) -> list[Row]:
    rows = []
    config = simulator.SimConfig()
    for policy, (kind, params) in policies(simulator, permilles).items():
        for window in windows:
            seconds = min(window.seconds, most or window.seconds)
            counts, bin_seconds = simulator.load_trace(str(traces / window.file), window.start, seconds)
            found = simulator.simulate(counts, bin_seconds, kind, config, params, window.scale)
            rows.append(
                Row(
                    policy,
                    window.name,
                    window.family,
                    found["requests"],
                    found["late250_pct"],
                    found["pod_seconds"] / 3600,
                    found["flaps"],
                )
            )
        print(" | ".join(_cells(policy, rows)), flush=True)
    return rows


def decide_milliseconds() -> float:
    """Return the median time of one decision for a hundred pods."""
    fleet = SimulatedPods(replicas=_PODS, policy=POLICY, start_seconds=1e9)
    fleet.run(90, 15.0 * _PODS)
    times = []
    for _ in range(_DECISIONS):
        pods = fleet.pass_second(15.0 * _PODS)[:_PODS]
        begun = time.perf_counter()
        decision = decide(fleet.now, Samples(replicas=_PODS, ready=len(pods), pods=pods), fleet.state)
        times.append(time.perf_counter() - begun)
        fleet.state = decision.state
    return 1000 * median(times)


def total(rows: Sequence[Row]) -> tuple[float, float, int]:
    """Return late per cent of all requests, pod-hours and flaps of these."""
    requests = max(1, sum(row.requests for row in rows))
    late = sum(row.late_percent * row.requests for row in rows) / requests
    return late, sum(row.pod_hours for row in rows), sum(row.flaps for row in rows)


def _cells(policy: str, rows: Iterable[Row]) -> list[str]:
    """A line of the table: all windows, then each family."""
    own = [row for row in rows if row.policy == policy]
    late, hours, flaps = total(own)
    cells = [policy, f"{late:.3f}", f"{hours:.2f}", str(flaps)]
    for family in FAMILIES:
        some = [row for row in own if row.family == family]
        late, hours, _ = total(some)
        cells.append(f"{late:.3f} at {hours:.2f}" if some else "-")
    return cells


def table(rows: Sequence[Row], milliseconds: float, windows: Sequence[Window]) -> str:
    """Return the figures as Markdown."""
    head = [
        "policy",
        "late %",
        "pod-hours",
        "flaps",
        *(f"{family}: late % at pod-hours" for family in FAMILIES),
    ]
    names = list(dict.fromkeys(row.policy for row in rows))
    lines = [head, ["---"] * len(head), *(_cells(name, rows) for name in names)]
    return "\n".join(
        [
            f"{page.machine(('numpy',), 'nothing else')}; {len(windows)} windows, 33 ms a request, 1 worker "
            "and 16 places a pod, random routing, 4 s from decision to ready; late: over 250 ms, or refused.",
            "",
            *(f"| {' | '.join(line)} |" for line in lines),
            "",
            f"One decision for {_PODS} pods takes {milliseconds:.2f} ms (median; to reach: 1 ms).",
        ]
    )


def draw(rows: Sequence[Row], path: Path) -> None:
    """Draw late requests against pod-hours: a curve for ours, a point for each other one."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams |= {"svg.hashsalt": "posecluster", "svg.fonttype": "none", "font.size": 9}
    from matplotlib import pyplot

    points = {name: total([row for row in rows if row.policy == name])[:2] for name in _names(rows)}
    figure, axes = pyplot.subplots(figsize=(6.4, 3.6), layout="constrained")
    ours = {name: point for name, point in points.items() if name.startswith(_OURS)}
    late, hours = zip(*ours.values(), strict=True)
    axes.plot(hours, late, marker="o", color="tab:red", label=f"{_OURS}, late objective in ‰")
    for name, point in points.items():
        text, colour = (name.rpartition(", ")[2], "tab:red") if name in ours else (name, "tab:gray")
        if name not in ours:
            axes.plot(point[1], point[0], marker="s", color=colour)
        axes.annotate(text, (point[1], point[0]), (4, 4), textcoords="offset points", color=colour)
    axes.set(xlabel="pod-hours", ylabel="late requests, %", yscale="log")
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.margins(0.15)
    axes.legend()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def _names(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row.policy for row in rows))


def _wrong(options: argparse.Namespace) -> str | None:
    """Say what is missing, before minutes are spent."""
    if options.simulator is None or options.traces is None:
        return (
            "needs a simulator and recorded traces, which are not part of the repository: make bench-scaling "
            "SIMULATOR=FILE TRACES=FOLDER. bench/scaling.py says what both must provide; without them, "
            "`posecluster-operator simulate` compares autoscalers on synthetic load"
        )
    if not options.simulator.is_file():
        return f"there is no simulator at {options.simulator}: name its Python file with --simulator"
    missing = {window.file for window in options.windows if not (options.traces / window.file).is_file()}
    if missing:
        return f"{options.traces} lacks {', '.join(sorted(missing))}: name the folder of traces with --traces"
    if not options.windows:
        return "no window of that name"
    if options.write and not (_PAGE.is_file() and f"<!-- {_MARKER}: end -->" in _PAGE.read_text()):
        return f"docs/{_PAGE.name} has no place for {_MARKER}"
    if options.write and importlib.util.find_spec("matplotlib") is None:
        return "the picture needs matplotlib: install the extra `plot`"
    return None


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench.scaling", description=__doc__)
    parser.add_argument("--simulator", type=Path, help="Python file of the simulator")
    parser.add_argument("--traces", type=Path, help="folder of the CSV files")
    parser.add_argument("--late", type=int, nargs="+", default=[1, 3, 10, 30, 100], help="objectives, in ‰")
    parser.add_argument("--family", nargs="+", choices=FAMILIES, default=FAMILIES, help="only these windows")
    parser.add_argument("--seconds", type=int, help="only so much of each window, to try it out")
    parser.add_argument("--write", action="store_true", help="put table and picture into docs/autoscaling.md")
    options = parser.parse_args(arguments)
    options.windows = [window for window in WINDOWS if window.family in options.family]
    if wrong := _wrong(options):
        sys.stderr.write(f"bench.scaling: {wrong}\n")
        return 1
    milliseconds = decide_milliseconds()
    rows = run(load(options.simulator), options.traces, options.windows, options.late, options.seconds)
    (ROOT / "build").mkdir(exist_ok=True)
    figures = {"decide_milliseconds": milliseconds, "rows": [asdict(row) for row in rows]}
    (ROOT / "build" / "bench-scaling.json").write_text(json.dumps(figures, indent=1))
    text = table(rows, milliseconds, options.windows)
    print(f"\n{text}")
    if options.write:
        draw(rows, _PICTURE)
        page.fill(_MARKER, text, _PAGE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
