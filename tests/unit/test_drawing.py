"""Drawn pictures keep their aspect ratio and stay within the limits."""

from hypothesis import given
from hypothesis import strategies as st

from posecluster_inference.worker.tasks.drawing import MAX_DRAWN_PIXELS, MAX_DRAWN_SIDE, Drawn, drawn_size


@given(width=st.integers(1, 16_384), height=st.integers(1, 16_384))
def test_drawn_size_stays_within_the_limits(width: int, height: int) -> None:
    drawn_width, drawn_height = drawn_size(width, height)
    assert 1 <= drawn_width <= min(width, MAX_DRAWN_SIDE)
    assert 1 <= drawn_height <= min(height, MAX_DRAWN_SIDE)
    assert drawn_width * drawn_height <= MAX_DRAWN_PIXELS
    fits = width * height <= MAX_DRAWN_PIXELS and max(width, height) <= MAX_DRAWN_SIDE
    assert ((drawn_width, drawn_height) == (width, height)) == fits
    # each side is rounded down by less than a pixel
    assert abs(drawn_width * height - drawn_height * width) <= max(width, height)
    # and no smaller than it needs to be
    assert (
        fits
        or (drawn_width + 1) * (drawn_height + 1) > MAX_DRAWN_PIXELS
        or max(width, height) > MAX_DRAWN_SIDE
    )


def test_both_the_original_and_the_drawn_size_are_stated() -> None:
    fields = Drawn(1_662, 1_247, 5_712, 4_284).headers
    assert fields == {"X-Image-Size": "1662x1247", "X-Original-Image-Size": "5712x4284"}
