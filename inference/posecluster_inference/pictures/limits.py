"""The size limit of pictures, and the refusals that all formats share."""

from dataclasses import dataclass

from posecluster_inference.errors import Reason, Refusal


def undecodable(detail: str) -> Refusal:
    """Return a refusal with status 422 for a broken picture; `detail` states what to do."""
    return Refusal(Reason.UNDECODABLE, detail)


@dataclass(frozen=True, slots=True)
class SizeLimit:
    """The maximum number of pixels (width x height) and the maximum side in pixels, both inclusive."""

    max_pixels: int
    max_side: int

    def check(self, width: int, height: int) -> None:
        """Raise Refusal: 422 for a picture without pixels, 413 for one that exceeds the limit."""
        if width == 0 or height == 0:
            raise undecodable("The header declares a width or height of 0: save the picture again.")
        if width > self.max_side or height > self.max_side or width * height > self.max_pixels:
            raise Refusal(
                Reason.PICTURE_TOO_LARGE,
                f"The picture is {width} x {height} pixels; at most {self.max_pixels} pixels in all and "
                f"{self.max_side} a side are accepted: send a smaller copy.",
            )
