"""The curves as a PNG file. Only this module imports matplotlib, and only if a plot is requested."""

from pathlib import Path

from posecluster_operator.errors import InvalidInput
from posecluster_operator.simulation.compare import Comparison

_WIDE, _HIGH, _DOTS = 10.0, 6.0, 120
_MOST_POINTS = 600  # of the load curve


def check(path: Path) -> None:
    """Raise InvalidInput if matplotlib or the directory is missing, before the simulation starts."""
    if not path.parent.is_dir():
        raise InvalidInput(f"cannot write {path}: the directory does not exist")
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise InvalidInput(
            f'--plot needs matplotlib ({error}): install the extra "plot", pip install "posecluster[plot]"'
        ) from error


def save(comparison: Comparison, path: Path, *, title: str) -> None:
    """Write a PNG file with the sizes over time and, below them, the load. Raises InvalidInput."""
    from matplotlib.figure import Figure  # not pyplot, which would need a display

    figure = Figure(figsize=(_WIDE, _HIGH), dpi=_DOTS, layout="constrained")
    pods, load = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    seconds = comparison.arrivals.seconds
    curves = [("this PoseCluster", comparison.own.sizes, "tab:blue")]
    if comparison.hpa is not None:
        curves.append(("HPA on CPU", comparison.hpa.sizes, "tab:orange"))
    for name, sizes, colour in curves:
        times = [at / 60.0 for at, _ in sizes] + [seconds / 60.0]
        values = [size for _, size in sizes] + [sizes[-1][1]]
        pods.step(times, values, where="post", label=name, color=colour)
    if comparison.fewest is not None:
        label = f"smallest fixed size that meets the objective ({comparison.fewest})"
        pods.axhline(comparison.fewest, linestyle="--", color="tab:gray", label=label)
    pods.set_title(title)
    pods.set_ylabel("desired pods")
    pods.set_ylim(bottom=0)
    pods.legend(loc="best")
    each = max(1.0, seconds / _MOST_POINTS)
    begins = [each * index for index in range(int(seconds // each) or 1)]
    rates = [comparison.arrivals.rate(begin, begin + each) for begin in begins]
    load.plot([begin / 60.0 for begin in begins], rates, color="tab:green", linewidth=0.8)
    load.set_ylabel("requests/s")
    load.set_xlabel("minutes")
    load.set_ylim(bottom=0)
    for axes in (pods, load):
        axes.grid(alpha=0.3)
        axes.set_xlim(0, seconds / 60.0)
    try:
        figure.savefig(path, format="png")
    except OSError as error:
        raise InvalidInput(f"cannot write {path}: {error.strerror or error}") from error
