"""People to finished bytes or pixels: what the server copies into its answer."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING

from posecluster_inference.engines import Person, Point

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# MediaPipe's own drawing leaves such joints out: _VISIBILITY_THRESHOLD and _PRESENCE_THRESHOLD of
# mediapipe/tasks/python/vision/drawing_utils.py
LEAST_VISIBILITY = 0.5
JOINT_COLOUR = (255, 0, 0)  # RGB
BONE_COLOUR = (255, 255, 255)
# Line width and joint radius as a share of the shorter side; MediaPipe's fixed 2 and 2 pixels
# vanish in large photographs. Two pixels at least, because a smoothed line of one is grey.
_BONE_SHARE = 1 / 240
_JOINT_SHARE = 1 / 150
_POINT_KEYS = ("x", "y", "z", "visibility", "presence")


def answer_json(
    people: Sequence[Person],
    names: Sequence[str],
    model: Mapping[str, str],
    *,
    width: int,
    height: int,
    chosen: Sequence[str] = (),
    in_pixels: bool = False,
) -> bytes:
    """Return the members `"model":…,"image":…,"people":…` of an answer, without braces, as ASCII.

    The server puts `{"id":"…",` before and `,"cached":false}` behind. Each person must have one
    point per name; the answer has those of `chosen`, in that order, or all if it is empty. With
    `in_pixels`, x and z of `landmarks` are multiplied by the width and y by the height, and the box
    likewise; `world_landmarks` stay in metres. Numbers have nine significant digits, which is what
    float32 needs to come back exactly. Raises ValueError for a chosen name that is not among
    `names`, and for a number that JSON cannot express (NaN, infinity).
    """
    chosen = tuple(chosen or names)
    where = [names.index(name) for name in chosen]
    scale = (width, height) if in_pixels else (1, 1)
    template = _person_template(chosen)
    found = ",".join([template % _numbers(person, where, scale) for person in people])
    described = json.dumps(dict(model), separators=(",", ":"))
    image = f'{{"width":{width:d},"height":{height:d}}}'
    return f'"model":{described},"image":{image},"people":[{found}]'.encode("ascii")


def _numbers(person: Person, where: Sequence[int], scale: tuple[int, int]) -> tuple[float, ...]:
    across, down = scale
    landmarks = [person.landmarks[index] for index in where]
    if scale != (1, 1):
        landmarks = [
            (x * across, y * down, z * across, visibility, presence)
            for x, y, z, visibility, presence in landmarks
        ]
    world = [person.world_landmarks[index] for index in where]
    numbers = tuple(chain(_box(person, across, down), *landmarks, *world))
    if not math.isfinite(sum(numbers)):  # NaN and infinity survive a sum
        raise ValueError("The engine gave a landmark that is not a finite number")
    return numbers


@lru_cache(maxsize=8)
def _person_template(names: tuple[str, ...]) -> str:
    """A %-format for one person: one pass in C over 334 numbers, 0.1 ms."""
    box = ",".join(f'"{key}":%.9g' for key in ("x", "y", "width", "height"))
    values = ",".join(f'"{key}":%.9g' for key in _POINT_KEYS)
    points = ",".join(f'{{"name":{json.dumps(name).replace("%", "%%")},{values}}}' for name in names)
    return f'{{"box":{{{box}}},"landmarks":[{points}],"world_landmarks":[{points}]}}'


def _box(person: Person, across: int, down: int) -> tuple[float, float, float, float]:
    """Return x, y, width and height of the part of the picture that holds all landmarks of a person."""
    left, right = _extent([point[0] for point in person.landmarks])
    top, bottom = _extent([point[1] for point in person.landmarks])
    return left * across, top * down, (right - left) * across, (bottom - top) * down


def _extent(places: Sequence[float]) -> tuple[float, float]:
    return min(1.0, max(0.0, min(places))), min(1.0, max(0.0, max(places)))


def draw(
    picture: "NDArray[np.uint8]", people: Iterable[Person], bones: Iterable[tuple[int, int]]
) -> "NDArray[np.uint8]":
    """Draw white bones and, on top, red joints into (H, W, 3) uint8 RGB; returns the same array.

    Joints that are probably hidden (`LEAST_VISIBILITY`) are left out with their bones. A joint
    outside the picture is not drawn, but a bone to one that is near is drawn up to the edge. The
    pixel of a joint's own position is pure red.
    """
    import cv2

    height, width = picture.shape[:2]
    shorter = min(width, height)
    thickness = max(2, round(shorter * _BONE_SHARE))
    radius = max(2, round(shorter * _JOINT_SHARE))
    joints = [[_pixel(point, width, height) for point in person.landmarks] for person in people]
    lines = list(bones)
    for pixels in joints:
        for start, end in lines:
            first, second = pixels[start], pixels[end]
            if first and second:
                cv2.line(picture, first, second, BONE_COLOUR, thickness, cv2.LINE_AA)
    flat = filter(None, chain.from_iterable(joints))
    inside = [(x, y) for x, y in flat if 0 <= x < width and 0 <= y < height]
    for centre in inside:
        cv2.circle(picture, centre, radius, JOINT_COLOUR, cv2.FILLED, cv2.LINE_AA)
    for x, y in inside:  # last, because a neighbour's smoothed rim rounds
        picture[y, x] = JOINT_COLOUR
    return picture


def _pixel(point: Point, width: int, height: int) -> tuple[int, int] | None:
    """Return a joint's pixel; None if it is hidden, not a number, or further out than a picture's size.

    Far points are dropped and not clamped: a clamped one would turn its bone.
    """
    x, y, _z, visibility, presence = point
    if not (visibility >= LEAST_VISIBILITY and presence >= LEAST_VISIBILITY):
        return None
    if not (-1 <= x <= 2 and -1 <= y <= 2):
        return None
    column, row = math.floor(x * width), math.floor(y * height)
    # exactly 1.0 is the far edge of the last pixel
    return (width - 1 if x == 1 else column), (height - 1 if y == 1 else row)
