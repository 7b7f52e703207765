"""What a drawn picture shows, and how large it is: the worker draws it in this size and the server states it.

Drawing and encoding cost time and memory for each pixel, and WebP at full size can take longer than
the hang limit. Landmarks are always found in the whole picture; only what is drawn is smaller.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

MAX_DRAWN_PIXELS = 1920 * 1080
MAX_DRAWN_SIDE = 8_192  # WebP cannot hold more than 16,383

Pixel = tuple[int, int]  # column and row


class Drawing(NamedTuple):
    """What is drawn over a picture: lines first, then dots. Pixels may lie outside the picture."""

    lines: list[tuple[Pixel, Pixel]]
    dots: list[Pixel]


@dataclass(frozen=True, slots=True)
class Drawn:
    """The size of a drawn picture and of the picture that was sent, both upright, in pixels."""

    width: int
    height: int
    original_width: int
    original_height: int

    @property
    def headers(self) -> dict[str, str]:
        """The fields of an answer that state both sizes."""
        return {
            "X-Image-Size": f"{self.width}x{self.height}",
            "X-Original-Image-Size": f"{self.original_width}x{self.original_height}",
        }


def drawn_size(width: int, height: int) -> tuple[int, int]:
    """Return the width and height in which a picture of this size is drawn, with the same aspect ratio."""
    scale = min(math.sqrt(MAX_DRAWN_PIXELS / (width * height)), MAX_DRAWN_SIDE / max(width, height))
    if scale >= 1:
        return width, height
    return max(1, math.floor(width * scale)), max(1, math.floor(height * scale))
