"""Changes to an operator process of a test: faults that a control plants, and a wall clock that jumps.

Python runs a `sitecustomize.py` before anything else, so the operator is started as always and only the
named change differs.
"""

import os
from pathlib import Path

from harness.server import ROOT

_CLOCK = """
import datetime
import time
from pathlib import Path

_file = Path({path!r})
_time, _time_ns, _datetime = time.time, time.time_ns, datetime.datetime

def _shift():
    return int(_file.read_text())

class _Kind(type):
    def __instancecheck__(cls, value):
        return isinstance(value, _datetime)

class _Shifted(_datetime, metaclass=_Kind):
    @classmethod
    def now(cls, tz=None):
        return _datetime.now(tz) + datetime.timedelta(seconds=_shift())

time.time = lambda: _time() + _shift()
time.time_ns = lambda: _time_ns() + _shift() * 10**9
datetime.datetime = _Shifted
"""


def planted(folder: Path, source: str) -> dict[str, str]:
    """Environment for `start_operator(env=...)`: this Python source runs first in the operator."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(source, encoding="utf-8")
    return {"PYTHONPATH": os.pathsep.join([str(folder), str(ROOT / "operator")])}


class WallClock:
    """The wall clock of an operator started with `env`; it can be set while that runs."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / "seconds"
        self.shift(0)
        self.env = planted(folder, _CLOCK.format(path=str(self._file)))

    def shift(self, seconds: int) -> None:
        """Be so many seconds ahead of the machine's clock (negative: behind), from now on."""
        new = self._file.with_suffix(".new")
        new.write_text(str(seconds), encoding="ascii")
        new.replace(self._file)  # whole at any moment
