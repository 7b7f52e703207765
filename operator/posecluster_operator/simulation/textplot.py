"""Curves as text, 80 columns wide."""

from collections.abc import Sequence

WIDTH = 70  # of the curve, without the scale before it
_SCALE = 7


def columns_of_steps(
    steps: Sequence[tuple[float, int]], seconds: float, *, width: int = WIDTH
) -> list[float]:
    """Return the highest value in each column of a step curve given as (time, value from then on)."""
    columns = []
    for column in range(width):
        begin, end = column * seconds / width, (column + 1) * seconds / width
        before = [value for at, value in steps if at <= begin]
        within = [value for at, value in steps if begin < at < end]
        columns.append(float(max(before[-1:] + within)))
    return columns


def chart(
    values: Sequence[float], *, height: int, marks: Sequence[float] | None = None, whole: bool = False
) -> list[str]:
    """Return the lines of a plot from top to bottom: `#` up to each value, `o` at each mark.

    With `whole`, each line stands for whole numbers.
    """
    highest = max([*values, *(marks or ()), 1.0 if whole else 1e-9])
    if whole:
        per_line = -(-int(highest) // height)
        height = -(-int(highest) // per_line)
    lines = []
    for line in range(height, 0, -1):
        top = line * per_line if whole else highest * line / height
        bottom = (line - 1) * per_line if whole else highest * (line - 1) / height
        cells = "".join("#" if value > bottom else " " for value in values)
        if marks is not None:
            cells = "".join(
                "o" if bottom < mark <= top + 1e-9 else cell for cell, mark in zip(cells, marks, strict=True)
            )
        lines.append(f"{_number(top):>{_SCALE}} |{cells}".rstrip())
    return lines


def time_axis(seconds: float, *, width: int = WIDTH) -> list[str]:
    """Return the two lines of the time axis."""
    middle, last = clock(seconds / 2.0), clock(seconds)
    text = "0"
    text += middle.rjust(width // 2 + len(middle) // 2 - len(text))
    text += last.rjust(width - len(text))
    return [" " * _SCALE + " +" + "-" * width, " " * (_SCALE + 2) + text]


def clock(seconds: float) -> str:
    """Return a time as 12:05 (minutes) or 3:00:00 (hours)."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 10.0 or value == int(value) else f"{value:.1f}"
