"""Content and size of drawn pictures, for the worker that draws them and the server that reports the size.

Drawing and encoding take time and memory for each pixel, and encoding a large WebP can exceed the hang limit.
Therefore the size of drawn pictures is limited. Landmarks are always detected at the original size.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

MAX_DRAWN_PIXELS = 1920 * 1080
MAX_DRAWN_SIDE = 8_192  # WebP cannot hold more than 16,383

Pixel = tuple[int, int]  # column and row


class Drawing(NamedTuple):
    """Lines and, on top of them, dots to draw over a picture. Pixels may be outside the picture."""

    lines: list[tuple[Pixel, Pixel]]
    dots: list[Pixel]


@dataclass(frozen=True, slots=True)
class Drawn:
    """The sizes of a drawn picture and of the original picture, both upright, in pixels."""

    width: int
    height: int
    original_width: int
    original_height: int

    @property
    def headers(self) -> dict[str, str]:
        """The header fields of a response that contain both sizes."""
        return {
            "X-Image-Size": f"{self.width}x{self.height}",
            "X-Original-Image-Size": f"{self.original_width}x{self.original_height}",
        }


def drawn_size(width: int, height: int) -> tuple[int, int]:
    """Return width and height of the drawn picture for an original of this size; keeps the aspect ratio."""
    scale = min(math.sqrt(MAX_DRAWN_PIXELS / (width * height)), MAX_DRAWN_SIDE / max(width, height))
    if scale >= 1:
        return width, height
    return max(1, math.floor(width * scale)), max(1, math.floor(height * scale))
