"""The catalogue of tasks: what a server can find in a picture, one row and one module for each.

A task's module says what its landmarks are and what becomes of those that an engine has found: the schema of
an answer and its JSON, and what is drawn. It imports neither numpy nor OpenCV, because the server process
reads names and schemas from it. OpenAPI and `/v1/model` follow from the catalogue.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from posecluster_inference.worker.tasks import pose
from posecluster_inference.worker.tasks.drawing import Drawing
from posecluster_inference.worker.tasks.model_files import Model


class Task(Protocol):
    """What a task's module has."""

    NAMES: tuple[str, ...]
    """Of the landmarks of every person, in order."""
    BONES: tuple[tuple[int, int], ...]
    """Pairs of indices into the names."""
    ENGINES: Mapping[str, str]
    """`package.module:Class` of each engine that runs this task's networks, by name."""
    MODELS: tuple[Model, ...]
    """The model files of each variant."""
    WARM_UP_PICTURE: str
    """A file in `data` that shows a person: each worker must find one before it is ready."""
    SCHEMAS: Mapping[str, Any]
    """JSON Schema of `Person`, an item of an answer's `people`, and of each schema that it refers to."""

    def example(self) -> Any:
        """Return a `Person` as the OpenAPI document shows it, ready for json.dumps."""

    def people_json(
        self, people: Sequence[Any], names: Sequence[str], chosen: Sequence[str], *, width: int, height: int
    ) -> str:
        """Return the list of `people` in an answer, as JSON in ASCII.

        Each person has a landmark for each of `names`, and the answer those of `chosen`. Coordinates are
        multiplied by `width` and `height`, which are 1 if the answer has fractions.
        """

    def drawing(
        self, people: Sequence[Any], bones: Sequence[tuple[int, int]], *, width: int, height: int
    ) -> Drawing:
        """Return what is drawn over a picture of this size."""


CATALOGUE: Mapping[str, Task] = {"pose": pose}
