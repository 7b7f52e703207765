"""The engine seam: what runs a task's network inside a worker process.

An engine lives in exactly one worker process and is called by one thread. It turns pixels into what its task
calls a person (such as `tasks.pose.Person`), and knows nothing of JSON, drawing or HTTP. To add one, write a
class with these four methods and list it in `ENGINES` of its task, or name it in `POSECLUSTER_ENGINE` as
`package.module:Class`.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from posecluster_inference.errors import InvalidSetting

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """What an engine needs to load its model; `model_path` is verified already.

    An engine computes in one thread: there is a worker for each CPU of the quota.
    """

    task: str
    variant: str
    model_path: Path
    max_people: int


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """The name of a loaded engine, and its landmarks where its model has others than the task.

    Names and bones index into the landmarks of every person. Without names, those of the task hold.
    """

    engine: str
    landmark_names: tuple[str, ...] = ()
    bones: tuple[tuple[int, int], ...] = ()


class Engine(Protocol):
    """One preloaded model. After any exception the instance is thrown away with its process."""

    def load(self, config: EngineConfig) -> EngineInfo:
        """Load the model; raises ModelError if it cannot."""

    def warm_up(self, picture: "NDArray[np.uint8]") -> None:
        """Run one real inference on `picture`, which shows a person; raises ModelError if none is found."""

    def detect(self, picture: "NDArray[np.uint8]") -> list[Any]:
        """Find people in contiguous (H, W, 3) uint8 RGB, best first; an empty list for nobody."""

    def close(self) -> None:
        """Free the model; never raises."""


def create(name: str, built_in: Mapping[str, str]) -> Engine:
    """Make the engine of that name, not loaded yet; `built_in` are the task's own engines.

    Raises InvalidSetting for a name that is neither one of these nor can be imported.
    """
    module_name, _, attribute = built_in.get(name, name).partition(":")
    try:
        factory = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        known = ", ".join(sorted(built_in))
        raise InvalidSetting(
            f"POSECLUSTER_ENGINE: cannot load {name!r} ({error}); use {known} or package.module:Class"
        ) from error
    engine: Engine = factory()
    return engine
