"""Renders the detected people as JSON or into a picture."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from posecluster_inference.worker.tasks import Task
from posecluster_inference.worker.tasks.drawing import Drawing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

JOINT_COLOUR = (255, 0, 0)  # RGB
BONE_COLOUR = (255, 255, 255)
# Line width and joint radius as a share of the shorter side, because MediaPipe's fixed 2 pixels are invisible
# in large photographs. Both are at least two pixels, because an anti-aliased line of one pixel is grey.
_BONE_SHARE = 1 / 240
_JOINT_SHARE = 1 / 150


def answer_json(
    task: Task,
    people: Sequence[Any],
    names: Sequence[str],
    model: Mapping[str, str],
    *,
    width: int,
    height: int,
    chosen: Sequence[str] = (),
    in_pixels: bool = False,
) -> bytes:
    """Return the members `"model":…,"image":…,"people":…` of an answer, without braces, as ASCII.

    The server adds `{"id":"…",` before and `,"cached":false}` after it. The answer has the landmarks of
    `chosen`, or all if it is empty. Raises ValueError like `Task.people_json`.
    """
    across, down = (width, height) if in_pixels else (1, 1)
    found = task.people_json(people, names, chosen or names, width=across, height=down)
    described = json.dumps(dict(model), separators=(",", ":"))
    image = f'{{"width":{width:d},"height":{height:d}}}'
    return f'"model":{described},"image":{image},"people":{found}'.encode("ascii")


def draw(picture: "NDArray[np.uint8]", drawing: Drawing) -> "NDArray[np.uint8]":
    """Draw white lines and, on top, red dots into (H, W, 3) uint8 RGB; returns the same array.

    A dot outside the picture is not drawn, but a line to it is drawn up to the edge. The pixel at the
    position of a dot is pure red.
    """
    import cv2

    height, width = picture.shape[:2]
    shorter = min(width, height)
    thickness = max(2, round(shorter * _BONE_SHARE))
    radius = max(2, round(shorter * _JOINT_SHARE))
    for start, end in drawing.lines:
        cv2.line(picture, start, end, BONE_COLOUR, thickness, cv2.LINE_AA)
    inside = [(x, y) for x, y in drawing.dots if 0 <= x < width and 0 <= y < height]
    for centre in inside:
        cv2.circle(picture, centre, radius, JOINT_COLOUR, cv2.FILLED, cv2.LINE_AA)
    for x, y in inside:  # last, because the anti-aliased edge of another dot changes the colour
        picture[y, x] = JOINT_COLOUR
    return picture
