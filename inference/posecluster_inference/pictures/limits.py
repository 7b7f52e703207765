"""The size limit of a picture, and the two refusals that all format readers share."""

from dataclasses import dataclass

from posecluster_inference.errors import Reason, Refusal


def undecodable(detail: str) -> Refusal:
    """A 422: the format is known but the picture is broken; `detail` says what to do."""
    return Refusal(Reason.UNDECODABLE, detail)


@dataclass(frozen=True, slots=True)
class SizeLimit:
    """Most pixels (width x height) and the longest side in pixels; both bounds are allowed values."""

    max_pixels: int
    max_side: int

    def check(self, width: int, height: int) -> None:
        """Raise 422 for a picture without pixels and 413 for one over the limit."""
        if width == 0 or height == 0:
            raise undecodable("The picture has no pixels: its header declares a width or height of 0")
        if width > self.max_side or height > self.max_side or width * height > self.max_pixels:
            raise Refusal(
                Reason.PICTURE_TOO_LARGE,
                f"The picture is {width} x {height} pixels; at most {self.max_pixels} pixels in all and "
                f"{self.max_side} a side are accepted: send a smaller copy",
            )
