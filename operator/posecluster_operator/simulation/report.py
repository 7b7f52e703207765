"""The report of a comparison, as text with 80 columns."""

import math
import textwrap
from collections.abc import Sequence

from posecluster_operator.resource.posecluster import PoseCluster, ScalingMode
from posecluster_operator.scaling.policy import Routing
from posecluster_operator.scaling.policy.sentence import sentence
from posecluster_operator.simulation.baselines import TARGET_PERCENT
from posecluster_operator.simulation.compare import MOST_PODS, Comparison, Setting
from posecluster_operator.simulation.policy_under_test import Change
from posecluster_operator.simulation.run import FLIP_SECONDS, Outcome
from posecluster_operator.simulation.textplot import WIDTH, chart, clock, columns_of_steps, time_axis

_COLUMNS = 80
_PLOT_LINES, _LOAD_LINES = 10, 4
_FIRST = _LAST = 3  # number of changes that are shown by default
_NAME = 31


def report(setting: Setting, comparison: Comparison, *, load: str, every_change: bool) -> str:
    """Return the report; `load` is the name of the trace or the pattern."""
    parts = [
        _premises(setting, comparison, load),
        _table(setting, comparison),
        _curves(comparison),
        _decisions(comparison.changes, every_change=every_change),
    ]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def _premises(setting: Setting, comparison: Comparison, load: str) -> list[str]:
    cluster, arrivals = setting.cluster, comparison.arrivals
    spec, count = cluster.spec, len(arrivals.times)
    reach = "in one shared queue" if setting.routing is Routing.SHARED else "each to a random pod"
    return [
        *_wrapped(f"{cluster.name}: {_size_of(cluster)}, {_objective(cluster)}"),
        *_wrapped(
            f"Load: {load}, {clock(arrivals.seconds)} long, {count} requests"
            f" ({count / arrivals.seconds:.1f} per second), {reach}; seed {setting.seed}"
        ),
        *_wrapped(
            f"Pods: {_counted(spec.workers, 'worker')}, {_counted(spec.queue_places, 'waiting place')};"
            f" {1_000 * setting.service_seconds:g} ms per request (lognormal, cv {setting.service_cv:g});"
            f" ready {setting.start_seconds:g} s after their creation, plus or minus a quarter;"
            f" counted until they have drained ({spec.drain_seconds} s)"
        ),
    ]


def _size_of(cluster: PoseCluster) -> str:
    spec = cluster.spec
    if spec.scaling.mode is ScalingMode.FIXED:
        return f"{_counted(spec.replicas, 'pod')}, fixed"
    return f"{spec.scaling.min_replicas} to {_counted(spec.scaling.max_replicas, 'pod')}"


def _objective(cluster: PoseCluster) -> str:
    objective = cluster.spec.scaling.objective
    return (
        f"at most {objective.late_permille} of 1000 requests late"
        f" (slower than {objective.latency_milliseconds} ms, or refused)"
    )


def _table(setting: Setting, comparison: Comparison) -> list[str]:
    permille = setting.cluster.spec.scaling.objective.late_permille
    lines = [
        f"{'':<{_NAME}}{'late ‰':>8}{'kept':>6}{'pod-h':>8}{'changes':>9}{'flips':>7}{'p99 ms':>8}",
        _row("this PoseCluster", comparison.own, permille),
    ]
    if comparison.hpa is not None:
        lines.append(_row(f"HPA, CPU at {TARGET_PERCENT} % of request", comparison.hpa, permille))
    for one in comparison.fixed:
        name = f"fixed {one.size}"
        if one.roles:
            name += f" ({', '.join(one.roles)})"
        lines += _row(name, one.outcome, permille).split("\n")
    if comparison.fewest is None:
        lines += _wrapped(_why_none(comparison))
    if comparison.hpa is None:
        lines.append("No HPA: resources.requests.cpu is 0, but an HPA needs a CPU request.")
    lines.append(f"flips: changes that reverse the previous one within {FLIP_SECONDS:.0f} s")
    return lines


def _why_none(comparison: Comparison) -> str:
    limit, services = comparison.own.latency_seconds, comparison.arrivals.services
    slow = 1_000.0 * sum(1 for service in services if service > limit) / len(services)
    return (
        f"No fixed size up to {MOST_PODS} pods meets the objective: {slow:.1f} of 1000 requests take"
        f" longer than {1_000 * limit:.0f} ms even without waiting."
    )


def _row(name: str, outcome: Outcome, permille: int) -> str:
    late = 1_000.0 * outcome.late_share
    head = f"{name:<{_NAME}}" if len(name) < _NAME else f"{name}\n{'':<{_NAME}}"
    return (
        f"{head}{late:>8.2f}{'yes' if late <= permille else 'NO':>6}"
        f"{outcome.pod_hours:>8.2f}{outcome.changes:>9}{outcome.flips:>7}"
        f"{_milliseconds(outcome.latency_at(0.99)):>8}"
    )


def _milliseconds(seconds: float) -> str:
    return "-" if math.isnan(seconds) else f"{1_000.0 * seconds:.0f}"


def _curves(comparison: Comparison) -> list[str]:
    arrivals, hpa = comparison.arrivals, comparison.hpa
    seconds = arrivals.seconds
    marks = None if hpa is None else columns_of_steps(hpa.sizes, seconds)
    each = seconds / WIDTH
    rates = [arrivals.rate(each * column, each * (column + 1)) for column in range(WIDTH)]
    return [
        "desired pods: # this PoseCluster" + ("" if hpa is None else ", o HPA"),
        *chart(columns_of_steps(comparison.own.sizes, seconds), height=_PLOT_LINES, marks=marks, whole=True),
        *time_axis(seconds),
        "requests per second",
        *chart(rates, height=_LOAD_LINES),
        *time_axis(seconds),
    ]


def _decisions(changes: Sequence[Change], *, every_change: bool) -> list[str]:
    if not changes:
        return ["The size never changes."]
    left_out = 0 if every_change else max(0, len(changes) - _FIRST - _LAST)
    lines = [f"{_counted(len(changes), 'change')} of size"]
    lines[0] += f", {left_out} not shown (--decisions shows all)" if left_out else ""
    for index, change in enumerate(changes):
        if index == _FIRST and left_out:
            lines.append("        ...")
        if not left_out or index < _FIRST or index >= len(changes) - _LAST:
            decision = change.decision
            text = f"{change.before} -> {decision.replicas} {decision.reason}: {sentence(decision)}"
            lines += _wrapped(f"{clock(change.at):>8} {text}", indent=9)
    return lines


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _wrapped(text: str, *, indent: int = 2) -> list[str]:
    return textwrap.wrap(text, _COLUMNS, subsequent_indent=" " * indent, break_on_hyphens=False)
