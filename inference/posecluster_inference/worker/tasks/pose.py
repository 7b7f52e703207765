"""The task `pose`: 33 landmarks of the body, in the picture and in metres.

An engine for this task returns a `Person` for each person that it finds. This module declares the schema and
JSON of answers, the lines and dots of a drawn picture, and the accepted model files.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from itertools import chain
from typing import Any

from posecluster_inference.worker.tasks.drawing import Drawing, Pixel
from posecluster_inference.worker.tasks.model_files import Model, Origin, Pinned

NAMES: tuple[str, ...] = (
    *("nose", "left_eye_inner", "left_eye", "left_eye_outer", "right_eye_inner", "right_eye"),
    *("right_eye_outer", "left_ear", "right_ear", "mouth_left", "mouth_right", "left_shoulder"),
    *("right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_pinky"),
    *("right_pinky", "left_index", "right_index", "left_thumb", "right_thumb", "left_hip", "right_hip"),
    *("left_knee", "right_knee", "left_ankle", "right_ankle", "left_heel", "right_heel"),
    *("left_foot_index", "right_foot_index"),
)
BONES: tuple[tuple[int, int], ...] = (
    *((0, 1), (1, 2), (2, 3), (3, 7), (0, 4), (4, 5), (5, 6), (6, 8), (9, 10), (11, 12), (11, 13)),
    *((13, 15), (15, 17), (15, 19), (15, 21), (17, 19), (12, 14), (14, 16), (16, 18), (16, 20)),
    *((16, 22), (18, 20), (11, 23), (12, 24), (23, 24), (23, 25), (24, 26), (25, 27), (26, 28)),
    *((27, 29), (28, 30), (29, 31), (30, 32), (27, 31), (28, 32)),
)
# A selection of the names, in the order of the person_keypoints annotations of cocodataset.org
COCO_KEYPOINTS: tuple[str, ...] = (
    *("nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder"),
    *("left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip"),
    *("left_knee", "right_knee", "left_ankle", "right_ankle"),
)
KEYPOINT_SETS: Mapping[str, tuple[str, ...]] = {"coco": COCO_KEYPOINTS}

ENGINES: Mapping[str, str] = {
    "mediapipe": "posecluster_inference.worker.engines.mediapipe_pose:MediaPipePose"
}
WARM_UP_PICTURE = "astronaut.jpg"

# Less visible joints are not drawn. MediaPipe uses the same value: _VISIBILITY_THRESHOLD and
# _PRESENCE_THRESHOLD of mediapipe/tasks/python/vision/drawing_utils.py.
LEAST_VISIBILITY = 0.5
_POINT_KEYS = ("x", "y", "z", "visibility", "presence")
_BOX_KEYS = ("x", "y", "width", "height")

# x, y, z, visibility, presence: float32 values as Python floats
Point = tuple[float, float, float, float, float]


@dataclass(frozen=True, slots=True)
class Person:
    """A person, with a point for each landmark name.

    In `landmarks`, x and y are fractions of the upright picture; z has the scale of x and is 0 at the
    midpoint of the hips. `world_landmarks` are in metres from the midpoint of the hips.
    """

    landmarks: tuple[Point, ...]
    world_landmarks: tuple[Point, ...]


# --- answers ---


def _object(description: str, properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "description": description,
        "required": list(properties),
        "properties": dict(properties),
    }


def _number(description: str, **bounds: int) -> dict[str, Any]:
    return {"type": "number", "description": description, **bounds}


def _list_of(schema: str) -> dict[str, Any]:
    return {"type": "array", "items": {"$ref": f"#/components/schemas/{schema}"}}


def _point(x: str, y: str, z: str) -> dict[str, Any]:
    return {
        "name": {
            "type": "string",
            "description": "What it is, such as left_wrist; left and right are the person's own.",
        },
        "x": _number(x),
        "y": _number(y),
        "z": _number(z),
        "visibility": _number(
            "How likely the landmark is in the picture and not hidden.", minimum=0, maximum=1
        ),
        "presence": _number("How likely the landmark is within the picture.", minimum=0, maximum=1),
    }


SCHEMAS: Mapping[str, Any] = {
    "Person": _object(
        "One person: the same landmarks twice, in the order of `landmarks` of GET /v1/model, or of the 17 "
        "COCO keypoints.",
        {
            "box": {"$ref": "#/components/schemas/Box"},
            "landmarks": _list_of("Landmark"),
            "world_landmarks": _list_of("WorldLandmark"),
        },
    ),
    "Box": _object(
        "The smallest upright rectangle around all landmarks of the person, cut off at the edges of the "
        "picture. Fractions of the picture's width and height; pixels with `coordinates=pixels`.",
        {
            "x": _number("Left edge.", minimum=0),
            "y": _number("Top edge.", minimum=0),
            "width": _number("Extent to the right.", minimum=0),
            "height": _number("Extent downwards.", minimum=0),
        },
    ),
    "Landmark": _object(
        "A place in the picture. It may lie outside (below 0 or above 1) where the body continues. With "
        "`coordinates=pixels`, x and z are multiplied by the width of the picture and y by its height.",
        _point(
            "Fraction of the upright picture's width, from its left edge.",
            "Fraction of the upright picture's height, from its top edge.",
            "Depth on the scale of x, 0 at the middle of the hips; smaller is nearer to the camera.",
        ),
    ),
    "WorldLandmark": _object(
        "A place in metres from the middle of the hips.",
        _point("To the picture's right.", "Downwards.", "Away from the camera."),
    ),
}


def example() -> Any:
    """Return the person that the full model finds in the built-in picture, as an answer contains it."""
    path = resources.files("posecluster_inference").joinpath("data/pose_example.json")
    points = json.loads(path.read_bytes())
    person = Person(points["landmarks"], points["world_landmarks"])
    return json.loads(people_json([person], NAMES, NAMES, width=1, height=1))[0]


def people_json(
    people: Sequence[Person], names: Sequence[str], chosen: Sequence[str], *, width: int, height: int
) -> str:
    """Return the list of people in an answer, as JSON in ASCII.

    Each person must have a point for each of `names`; the answer contains those of `chosen`, in this order.
    In `landmarks` and the box, x and z are multiplied by `width` and y by `height`, so that 1 and 1 result in
    fractions; `world_landmarks` remain in metres. Numbers have nine significant digits, which represent a
    float32 exactly. Raises ValueError for a chosen name that is not in `names`, and for numbers that JSON
    does not support (NaN, infinity).
    """
    where = [names.index(name) for name in chosen]
    template = _person_template(tuple(chosen))
    found = ",".join([template % _numbers(person, where, width, height) for person in people])
    return f"[{found}]"


def _numbers(person: Person, where: Sequence[int], across: int, down: int) -> tuple[float, ...]:
    landmarks = [person.landmarks[index] for index in where]
    if (across, down) != (1, 1):
        landmarks = [
            (x * across, y * down, z * across, visibility, presence)
            for x, y, z, visibility, presence in landmarks
        ]
    world = [person.world_landmarks[index] for index in where]
    numbers = tuple(chain(_box(person, across, down), *landmarks, *world))
    if not math.isfinite(sum(numbers)):  # the sum is NaN or infinite if any number is
        raise ValueError("The engine returned a landmark that is not a finite number")
    return numbers


@lru_cache(maxsize=8)
def _person_template(names: tuple[str, ...]) -> str:
    """Return a %-format for one person, which formats 334 numbers in 0.1 ms."""
    box = ",".join(f'"{key}":%.9g' for key in _BOX_KEYS)
    values = ",".join(f'"{key}":%.9g' for key in _POINT_KEYS)
    points = ",".join(f'{{"name":{json.dumps(name).replace("%", "%%")},{values}}}' for name in names)
    return f'{{"box":{{{box}}},"landmarks":[{points}],"world_landmarks":[{points}]}}'


def _box(person: Person, across: int, down: int) -> tuple[float, float, float, float]:
    """Return x, y, width and height of the part of the picture that contains all landmarks of a person."""
    left, right = _extent([point[0] for point in person.landmarks])
    top, bottom = _extent([point[1] for point in person.landmarks])
    return left * across, top * down, (right - left) * across, (bottom - top) * down


def _extent(places: Sequence[float]) -> tuple[float, float]:
    return min(1.0, max(0.0, min(places))), min(1.0, max(0.0, max(places)))


# --- drawn pictures ---


def drawing(
    people: Iterable[Person], bones: Sequence[tuple[int, int]], *, width: int, height: int
) -> Drawing:
    """Return the bones as lines and the joints as dots, in pixels of a picture of this size.

    Joints that are probably hidden (`LEAST_VISIBILITY`) and their bones are not drawn.
    """
    bodies = [[_pixel(point, width, height) for point in person.landmarks] for person in people]
    ends = ((body[start], body[end]) for body in bodies for start, end in bones)
    return Drawing(
        lines=[(start, end) for start, end in ends if start and end],
        dots=[pixel for body in bodies for pixel in body if pixel],
    )


def _pixel(point: Point, width: int, height: int) -> Pixel | None:
    """Return the pixel of a joint; None if it is hidden, not a number, or far outside of the picture.

    Far points are dropped and not clamped, because clamping would change the direction of their bones.
    """
    x, y, _z, visibility, presence = point
    if not (visibility >= LEAST_VISIBILITY and presence >= LEAST_VISIBILITY):
        return None
    if not (-1 <= x <= 2 and -1 <= y <= 2):
        return None
    column, row = math.floor(x * width), math.floor(y * height)
    # 1.0 is the far edge of the last pixel.
    return (width - 1 if x == 1 else column), (height - 1 if y == 1 else row)


# --- model files ---

# Google's public store of released MediaPipe bundles; "/1/" is a fixed release, "/latest/" changes
_STORE = "https://storage.googleapis.com/mediapipe-models/pose_landmarker"


def _model(variant: str, *accepted: Pinned) -> Model:
    name = f"pose_landmarker_{variant}"
    address = f"{_STORE}/{name}/float16/1/{name}.task"
    return Model("pose", variant, f"{name}.task", accepted, address)


MODELS: tuple[Model, ...] = (
    _model(
        "lite",
        # The hash of its trimmed form is not known (docs/models.md).
        Pinned(
            "59929e1d1ee95287735ddd833b19cf4ac46d29bc7afddbbf6753c459690d574a", 5_777_746, Origin.OFFICIAL
        ),
        # It has the same networks, but the metadata text of the full bundle, and is therefore 32 bytes
        # shorter.
        Pinned(
            "c03c0aa432d4ea37493acd864a37679496b3af39df9053329884835e6856664c",
            5_777_714,
            Origin.REBUILT,
            "cd92cdf409cf9331680dfb049c01975f723007271038c7363276cc4f4b8e1d66",
        ),
    ),
    _model(
        "full",
        Pinned(
            "5134a3aad27a58b93da0088d431f366da362b44e3ccfbe3462b3827a839011b1",
            9_398_198,
            Origin.OFFICIAL,
            "0ee10fb9b467d8b93431852de14d7822779c1f85154cb1233e2d537265280379",
        ),
        # The file at "/latest/", with the same two networks and ZIP time stamps that are two seconds later
        Pinned(
            "4eaa5eb7a98365221087693fcc286334cf0858e2eb6e15b506aa4a7ecdcec4ad",
            9_398_198,
            Origin.OFFICIAL,
            "952ec138fa7059f8ac57912803ec4546760edda8e966339ece3b7ae2d89ee4a5",
        ),
    ),
    _model(
        "heavy",
        Pinned(
            "64437af838a65d18e5ba7a0d39b465540069bc8aae8308de3e318aad31fcbc7b",
            30_664_242,
            Origin.OFFICIAL,
            "2191179c0cdcb28485b5b91f511bb0190ea46e2cc36e8f0c915ca7035a0caebe",
        ),
    ),
)
