"""The interface of engines, which run the network of a task in a worker process.

One thread of one worker process calls an engine. An engine converts pixels to the persons of its task (such
as `tasks.pose.Person`), and does not depend on JSON, drawing or HTTP. To add an engine, write a class with
the four methods of `Engine` and list it in `ENGINES` of its task, or set `POSECLUSTER_ENGINE` to
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
    """The configuration of an engine. The model file of a built-in engine has been verified.

    An engine must compute in one thread, because there is one worker per CPU of the quota.
    """

    task: str
    variant: str
    model_path: Path
    max_people: int


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """The name of a loaded engine, and its landmarks if they differ from those of the task.

    `landmark_names` are in the order of the landmarks of each person, and `bones` are pairs of indices.
    Without names, the names and bones of the task apply.
    """

    engine: str
    landmark_names: tuple[str, ...] = ()
    bones: tuple[tuple[int, int], ...] = ()


class Engine(Protocol):
    """A loaded model. After any exception, the instance is discarded together with its process."""

    def load(self, config: EngineConfig) -> EngineInfo:
        """Load the model; raises ModelError if that fails."""

    def warm_up(self, picture: "NDArray[np.uint8]") -> None:
        """Run one inference on `picture`, which shows a person; raises ModelError if none is found."""

    def detect(self, picture: "NDArray[np.uint8]") -> list[Any]:
        """Return the people in contiguous (H, W, 3) uint8 RGB, best first; the list may be empty."""

    def close(self) -> None:
        """Free the model; never raises."""


def create(name: str, built_in: Mapping[str, str]) -> Engine:
    """Create an engine by name, without loading its model; `built_in` are the engines of the task.

    Raises InvalidSetting if `name` is neither one of these nor can be imported.
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
