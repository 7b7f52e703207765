"""Stub engines whose start a test delays or breaks, to test the probes meanwhile.

GATE=folder    GatedEngine: the first worker starts; others wait until folder/open exists
               (none starts while folder/closed exists)
"""

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from stub_engine import StubEngine

from posecluster_inference.worker.engines import EngineConfig, EngineInfo

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_LONGEST_SECONDS = 60.0


class GatedEngine(StubEngine):
    """Its warm-up waits at the gate."""

    def __init__(self) -> None:
        super().__init__()
        self._is_first = _is_first(Path(os.environ["GATE"]))  # before the sandbox forbids to write

    def warm_up(self, picture: "NDArray[np.uint8]") -> None:
        gate = Path(os.environ["GATE"])
        end = time.monotonic() + _LONGEST_SECONDS
        while time.monotonic() < end:
            if not (gate / "closed").exists() and ((gate / "open").exists() or self._is_first):
                return
            time.sleep(0.005)


class DoomedEngine(StubEngine):
    """No worker of it ever gets ready."""

    def load(self, config: EngineConfig) -> EngineInfo:
        os._exit(3)


def _is_first(gate: Path) -> bool:
    try:
        (gate / "first").mkdir()
    except FileExistsError:
        return False
    return True
