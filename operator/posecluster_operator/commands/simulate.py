"""`posecluster-operator simulate`: simulate a PoseCluster's autoscaling, without a cluster."""

import argparse
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from posecluster_operator.errors import InvalidInput

if TYPE_CHECKING:
    from posecluster_operator.simulation.arrivals import Arrivals
    from posecluster_operator.simulation.compare import Setting

HELP = "simulate a PoseCluster's autoscaling, compared with fixed sizes and an HPA; needs no cluster"

_LONGEST_SKIP_SECONDS = 31 * 86_400
_LONGEST_SECONDS = 3 * 86_400  # with a decision per second, about a minute of CPU time


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags; `execute` checks their values."""
    parser.add_argument("--spec", type=Path, metavar="FILE", required=True, help="manifest of a PoseCluster")
    load = parser.add_mutually_exclusive_group(required=True)
    load.add_argument(
        "--trace", type=Path, metavar="FILE", help="CSV with the header second,requests or minute,requests"
    )
    load.add_argument(
        "--pattern",
        choices=("step", "wave", "burst"),
        help="synthetic load: from the work of 0.3 pods to that of 5, or less if maxReplicas is too low",
    )
    numbers: tuple[tuple[str, float | None, str], ...] = (
        ("service-ms", 60.0, "mean service time of a request on one worker"),
        ("service-cv", 0.5, "coefficient of variation of the service time: standard deviation / mean"),
        ("start-seconds", 4.0, "seconds from the creation of a pod until it is ready"),
        ("duration", None, "seconds to simulate (default: the whole trace; 1800 for a pattern)"),
        ("skip", 0.0, "seconds to skip at the beginning of the trace"),
        ("scale", 1.0, "factor by which the number of requests is multiplied"),
    )
    for name, default, meaning in numbers:
        said = "" if default is None else f" (default: {default:g})"
        parser.add_argument(f"--{name}", type=float, metavar="N", default=default, help=meaning + said)
    parser.add_argument(
        "--seed", type=int, metavar="N", default=1, help="seed of all random numbers (default: 1)"
    )
    parser.add_argument(
        "--routing",
        choices=("random", "shared"),
        default="random",
        help="random: each request goes to a random pod, as with a Service (default); "
        "shared: all requests wait in one queue, as with a gateway",
    )
    parser.add_argument("--decisions", action="store_true", help="print every change of size")
    parser.add_argument(
        "--plot", type=Path, metavar="FILE.png", help="also write the curves to a PNG file (needs matplotlib)"
    )


def execute(parsed: argparse.Namespace) -> int:
    """Simulate and print the report; raises InvalidInput for an invalid flag or file."""
    _check(parsed)
    from posecluster_operator.commands.manifest import read_manifest
    from posecluster_operator.scaling.policy import Routing
    from posecluster_operator.simulation import plot
    from posecluster_operator.simulation.compare import Setting, compare
    from posecluster_operator.simulation.report import report

    if parsed.plot is not None:
        plot.check(parsed.plot)
    setting = Setting(
        cluster=read_manifest(parsed.spec),
        routing=Routing(parsed.routing.capitalize()),
        service_seconds=parsed.service_ms / 1_000,
        service_cv=parsed.service_cv,
        start_seconds=parsed.start_seconds,
        seed=parsed.seed,
    )
    comparison = compare(setting, _arrivals(parsed, setting))
    load = parsed.pattern or parsed.trace.name
    text = report(setting, comparison, load=load, every_change=parsed.decisions)
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]  # for terminals whose encoding lacks ‰
    sys.stdout.write(text)
    sys.stdout.flush()
    if parsed.plot is not None:
        plot.save(comparison, parsed.plot, title=f"{setting.cluster.name}, {load}")
    return 0


def _check(parsed: argparse.Namespace) -> None:
    """Check the numbers against bounds that are wider than those of real servers; raises InvalidInput."""
    bounds = {
        "service_ms": (0.5, 60_000.0),  # the range that the autoscaler accepts
        "service_cv": (0.0, 5.0),
        "start_seconds": (0.0, 3_600.0),
        "duration": (10.0, float(_LONGEST_SECONDS)),
        "skip": (0.0, float(_LONGEST_SKIP_SECONDS)),
        "scale": (0.001, 1_000_000.0),
    }
    for name, (low, high) in bounds.items():
        value = getattr(parsed, name)
        if value is not None and not (math.isfinite(value) and low <= value <= high):
            raise InvalidInput(f"--{name.replace('_', '-')} must be a number from {low:g} to {high:.10g}")
    if parsed.pattern and parsed.skip:
        raise InvalidInput("--skip has no effect with --pattern: remove it, or use --trace")


def _arrivals(parsed: argparse.Namespace, setting: "Setting") -> "Arrivals":
    from posecluster_operator.simulation import arrivals, patterns
    from posecluster_operator.simulation.trace import read_trace

    if parsed.pattern:
        seconds = parsed.duration or patterns.SECONDS
        quiet, busy = patterns.levels(setting.policy, service_seconds=setting.service_seconds)
        rates = patterns.rates(
            parsed.pattern, quiet=parsed.scale * quiet, busy=parsed.scale * busy, seconds=seconds
        )
        arrivals.check_total(sum(rates))
        counts = patterns.poisson_counts(rates, arrivals.stream(setting.seed, "counts"))
    else:
        seconds = parsed.duration
        counts = read_trace(parsed.trace).part(skip_seconds=parsed.skip, seconds=seconds)
        if counts.seconds > _LONGEST_SECONDS:
            days = _LONGEST_SECONDS // 86_400
            raise InvalidInput(f"{parsed.trace.name} is longer than {days} days: set --skip and --duration")
        counts = arrivals.scaled(counts, parsed.scale, seed=setting.seed)
    return arrivals.draw(
        counts,
        service_seconds=setting.service_seconds,
        service_cv=setting.service_cv,
        seed=setting.seed,
        seconds=seconds,
    )
