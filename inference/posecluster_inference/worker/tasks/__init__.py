"""The catalogue of tasks: the kinds of landmarks that a server can detect.

Each task is a module and a row of the catalogue. The module declares the landmarks, the schema and JSON of
answers, and the drawing. It imports neither numpy nor OpenCV, because the server process imports it for names
and schemas. The OpenAPI document and `/v1/model` are derived from the catalogue.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from posecluster_inference.worker.tasks import pose
from posecluster_inference.worker.tasks.drawing import Drawing
from posecluster_inference.worker.tasks.model_files import Model


class Task(Protocol):
    """The members of a task's module."""

    NAMES: tuple[str, ...]
    """Names of the landmarks of each person, in order."""
    BONES: tuple[tuple[int, int], ...]
    """Pairs of indices into the names."""
    KEYPOINT_SETS: Mapping[str, tuple[str, ...]]
    """Selections of the names, which a client may request as `keypoints=NAME`; may be empty."""
    ENGINES: Mapping[str, str]
    """`package.module:Class` of each engine that runs this task's networks, by name."""
    MODELS: tuple[Model, ...]
    """The model files of each variant."""
    WARM_UP_PICTURE: str
    """A file in `data` that shows a person, whom each worker must detect before it is ready."""
    SCHEMAS: Mapping[str, Any]
    """JSON Schema of `Person`, an item of an answer's `people`, and of each schema that it refers to.

    The page shows `landmarks` and `world_landmarks`, whose items have `name`, `x`, `y`, `z`, `visibility` and
    optionally `presence`.
    """

    def example(self) -> Any:
        """Return a `Person` as the OpenAPI document shows it, ready for json.dumps."""

    def people_json(
        self, people: Sequence[Any], names: Sequence[str], chosen: Sequence[str], *, width: int, height: int
    ) -> str:
        """Return the list of `people` in an answer, as JSON in ASCII.

        Each person has a landmark for each of `names`; the answer contains those of `chosen`. Coordinates are
        multiplied by `width` and `height`, which are 1 if the answer has fractions.
        """

    def drawing(
        self, people: Sequence[Any], bones: Sequence[tuple[int, int]], *, width: int, height: int
    ) -> Drawing:
        """Return the lines and dots to draw over a picture of this size."""


CATALOGUE: Mapping[str, Task] = {"pose": pose}
