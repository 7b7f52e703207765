"""A second task for tests, with an engine that finds the same hand in every picture.

`register` adds its row to the catalogue, in the server process and in each worker process.
"""

import hashlib
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from posecluster_inference.errors import ModelError
from posecluster_inference.worker import tasks
from posecluster_inference.worker.engines import EngineConfig, EngineInfo
from posecluster_inference.worker.tasks.drawing import Drawing
from posecluster_inference.worker.tasks.model_files import Model, Origin, Pinned

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Hand = list[tuple[float, float]]  # x and y of each landmark

NAMES: tuple[str, ...] = ("wrist", "thumb_tip", "index_tip")
BONES: tuple[tuple[int, int], ...] = ((0, 1), (0, 2))
KEYPOINT_SETS: dict[str, tuple[str, ...]] = {}
ENGINES = {"paper": "hand_task:PaperHand"}
NETWORK = b"the network of a hand"
_PINNED = Pinned(hashlib.sha256(NETWORK).hexdigest(), len(NETWORK), Origin.OFFICIAL)
MODELS: tuple[Model, ...] = (Model("hand", "tiny", "hand.task", (_PINNED,), "https://example.com/hand.task"),)
WARM_UP_PICTURE = "astronaut.jpg"

_POINT = {
    "type": "object",
    "required": ["name", "x", "y", "z", "visibility"],
    "properties": {
        "name": {"type": "string", "enum": list(NAMES)},
        **{key: {"type": "number"} for key in ("x", "y", "z", "visibility")},
    },
}
_POINTS = {"type": "array", "items": {"$ref": "#/components/schemas/HandPoint"}}
SCHEMAS = {
    "Person": {
        "type": "object",
        "description": "One hand.",
        "required": ["is_left", "landmarks", "world_landmarks"],
        "properties": {"is_left": {"type": "boolean"}, "landmarks": _POINTS, "world_landmarks": _POINTS},
        "additionalProperties": False,
    },
    "HandPoint": _POINT,
}
HAND: Hand = [(0.5, 0.75), (0.25, 0.5), (0.75, 0.25)]


def example() -> Any:
    return json.loads(people_json([HAND], NAMES, NAMES, width=1, height=1))[0]


def people_json(
    people: Sequence[Hand], names: Sequence[str], chosen: Sequence[str], *, width: int, height: int
) -> str:
    def points(hand: Hand) -> list[dict[str, Any]]:
        return [
            {"name": name, "x": x * width, "y": y * height, "z": 0.0, "visibility": 1.0}
            for name, (x, y) in zip(names, hand, strict=True)
            if name in chosen
        ]

    return json.dumps(
        [{"is_left": True, "landmarks": points(hand), "world_landmarks": points(hand)} for hand in people]
    )


def drawing(people: Sequence[Hand], bones: Sequence[tuple[int, int]], *, width: int, height: int) -> Drawing:
    hands = [[(int(x * width), int(y * height)) for x, y in hand] for hand in people]
    lines = [(hand[start], hand[end]) for hand in hands for start, end in bones]
    return Drawing(lines, [dot for hand in hands for dot in hand])


class PaperHand:
    """Needs its model file, as an engine with a network does."""

    def load(self, config: EngineConfig) -> EngineInfo:
        if config.model_path.read_bytes() != NETWORK:
            raise ModelError("This is not the network of a hand.")
        return EngineInfo("paper")

    def warm_up(self, picture: "NDArray[np.uint8]") -> None:
        assert picture.shape == (512, 512, 3)

    def detect(self, picture: "NDArray[np.uint8]") -> list[Hand]:
        return [HAND]

    def close(self) -> None: ...


def register() -> None:
    assert isinstance(tasks.CATALOGUE, dict)
    tasks.CATALOGUE["hand"] = sys.modules[__name__]
