"""The parts of the recorded traces on which autoscalers are compared.

Only parts that the traces' README reserves for testing: the second halves of the two azure-llm traces, days
8 to 14 of the two azure-functions ones. Six windows of about half an hour, so that each family of traces
counts and a run takes minutes:

- conv and code, the whole second halves: nearly Poisson, and bursts with three of four seconds empty.
  Ten times as many requests, for both are slow.
- wave (bd33ce4b, a daily wave): day 9 from 3:30, at the trough, and day 11 from 12:00, near the peak.
- switch (e369a477, switched on and off): day 9 from 10:00 and day 12 from 12:00; five times as many
  requests.

They were chosen by time of day and not for a good result. But policies were tried on them more than once
during development, so they are not a blind test.
"""

from dataclasses import dataclass

_DAY = 86_400
_HALF_HOUR = 1_800


@dataclass(frozen=True, slots=True)
class Window:
    """Some seconds of a trace file, each request made `scale`."""

    name: str
    family: str
    file: str
    start: int
    seconds: int
    scale: int


def _functions(family: str, key: str, day: int, hour: float, scale: int) -> Window:
    start = (day - 1) * _DAY + round(hour * 3600)
    clock = f"{int(hour)}:{round(hour % 1 * 60):02}"
    name = f"{family} day {day} {clock}"
    return Window(name, family, f"azure-functions-2019-{key}.csv", start, _HALF_HOUR, scale)


WINDOWS = (
    Window("conv, second half", "conv", "azure-llm-2023-conv.csv", 1_751, 1_751, 10),
    Window("code, second half", "code", "azure-llm-2023-code.csv", 1_718, 1_718, 10),
    _functions("wave", "bd33ce4b", 9, 3.5, 1),
    _functions("wave", "bd33ce4b", 11, 12.0, 1),
    _functions("switch", "e369a477", 9, 10.0, 5),
    _functions("switch", "e369a477", 12, 12.0, 5),
)
FAMILIES = tuple(dict.fromkeys(window.family for window in WINDOWS))
