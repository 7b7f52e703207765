"""The engine seam: what a pose model must offer to sit inside a worker process.

An engine lives in exactly one worker process and is called by one thread. To add one, write a
class with these four methods and either list it in `BUILT_IN` or name it in
`POSECLUSTER_ENGINE` as `package.module:Class`; pool and HTTP side stay as they are.
"""

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from posecluster_inference.errors import InvalidSetting

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BUILT_IN = {"mediapipe": "posecluster_inference.engines.mediapipe_pose:MediaPipePose"}

# x, y, z, visibility, presence: float32 values as Python floats
Point = tuple[float, float, float, float, float]


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """What an engine is told before it loads; `model_path` is verified already.

    An engine computes in one thread: there is a worker for each CPU of the quota.
    """

    task: str
    variant: str
    model_path: Path
    max_people: int


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What a loaded engine finds; names and bones index into every person's points."""

    engine: str
    landmark_names: tuple[str, ...]
    bones: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Person:
    """One person: a point per landmark name.

    `landmarks`: x, y as fractions of the upright picture, z on x's scale, 0 at the hips' middle.
    `world_landmarks`: metres from the hips' middle.
    """

    landmarks: tuple[Point, ...]
    world_landmarks: tuple[Point, ...]


class Engine(Protocol):
    """One preloaded model. After any exception the instance is thrown away with its process."""

    def load(self, config: EngineConfig) -> EngineInfo:
        """Load the model; raises ModelError if it cannot."""

    def warm_up(self, picture: "NDArray[np.uint8]") -> None:
        """Run one real inference on `picture`, which shows a person; raises ModelError if none is found."""

    def detect(self, picture: "NDArray[np.uint8]") -> list[Person]:
        """Find people in contiguous (H, W, 3) uint8 RGB, best first; an empty list for nobody."""

    def close(self) -> None:
        """Free the model; never raises."""


def create(name: str) -> Engine:
    """Make the engine of that name, not loaded yet; raises InvalidSetting for an unknown one."""
    module_name, _, attribute = BUILT_IN.get(name, name).partition(":")
    try:
        factory = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        known = ", ".join(sorted(BUILT_IN))
        raise InvalidSetting(
            f"POSECLUSTER_ENGINE: cannot load {name!r} ({error}); use {known} or package.module:Class"
        ) from error
    engine: Engine = factory()
    return engine
