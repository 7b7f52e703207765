"""Imports only the modules of MediaPipe that pose needs.

`import mediapipe` imports all tasks (audio, text, decision, retrieval) and a drawing module that needs
matplotlib. These are 56 unused modules, which take 50 ms per worker (200 ms without compiled bytecode), and
with matplotlib 0.7 s and 37 MiB more. Therefore the parent packages of the required modules are replaced by
empty modules with a `__path__`, so that their `__init__` does not run. The required modules themselves are
unchanged.

As a drawback, `import mediapipe` returns an empty package in a process that has called `modules()` before.
Worker processes never import it. If MediaPipe has been imported already, it is used unchanged.
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
    """The imported modules; their type is Any because MediaPipe has no type hints."""

    base_options: Any
    c_bindings: Any
    image: Any
    pose_landmarker: Any


def modules() -> MediaPipeModules:
    """Import the modules; raises ModelError if MediaPipe is missing or has an unsupported version."""
    try:
        if "mediapipe" not in sys.modules:
            _enter_packages()
        tasks = "mediapipe.tasks.python"
        return MediaPipeModules(
            base_options=importlib.import_module(f"{tasks}.core.base_options"),
            c_bindings=importlib.import_module(f"{tasks}.core.mediapipe_c_bindings"),
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
