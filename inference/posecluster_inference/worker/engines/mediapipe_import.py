"""The few modules of MediaPipe that pose needs, without the rest.

`import mediapipe` runs the `__init__` of every task: audio, text, decision, retrieval, and a
drawing module that wants matplotlib, which nothing here uses. That is 56 modules and 50 ms a
worker (200 ms without compiled bytecode), and with matplotlib 0.7 s and 37 MiB more. So the package
folders on the way to the wanted modules are entered without running their `__init__`: they become
plain modules with a `__path__`. Every module that is really used is MediaPipe's own, unchanged.

The price: in a process that has called `modules()` first, `import mediapipe` gives the bare
package. Worker processes never do that; where MediaPipe was imported before, it is used as it is.
"""

import importlib
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from posecluster_inference.errors import ModelError

_ENTERED = ("mediapipe", "mediapipe.tasks", "mediapipe.tasks.python", "mediapipe.tasks.python.vision")


@dataclass(frozen=True, slots=True)
class MediaPipeModules:
    """MediaPipe ships no types, hence Any."""

    base_options: Any
    image: Any
    pose_landmarker: Any


def modules() -> MediaPipeModules:
    """Import what pose needs; raises ModelError if MediaPipe is missing or is another version."""
    try:
        if "mediapipe" not in sys.modules:
            _enter_packages()
        tasks = "mediapipe.tasks.python"
        return MediaPipeModules(
            base_options=importlib.import_module(f"{tasks}.core.base_options"),
            image=importlib.import_module(f"{tasks}.vision.core.image"),
            pose_landmarker=importlib.import_module(f"{tasks}.vision.pose_landmarker"),
        )
    except ImportError as error:
        raise ModelError(f"MediaPipe cannot be imported ({error}); install the locked packages") from error


def _enter_packages() -> None:
    found = importlib.util.find_spec("mediapipe")
    if found is None or not found.submodule_search_locations:
        raise ImportError("it is not installed")
    root = Path(next(iter(found.submodule_search_locations)))
    for name in _ENTERED:
        package = ModuleType(name, "Entered without its __init__ by PoseCluster.")
        package.__path__ = [str(root.joinpath(*name.split(".")[1:]))]
        sys.modules[name] = package
