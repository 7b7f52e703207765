"""Costs are learned per class of pictures; a picture is heavy if it takes as long as several inferences."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posecluster_inference.pictures import Header, PictureFormat
from posecluster_inference.server.workers.costs import Costs

SMALL = Header(PictureFormat.JPEG, 810, 1_080)
LARGE = Header(PictureFormat.JPEG, 5_712, 4_284)


def learned(*answers: tuple[Header, str, float, float], times: int = 60) -> Costs:
    costs = Costs()
    for _ in range(times):
        for header, kind, decode, inference in answers:
            costs.learn(header, kind, {"decode": decode, "inference": inference, "encode": 0.0})
    return costs


def test_each_class_has_its_own_cost() -> None:
    costs = learned((SMALL, "json", 0.004, 0.04), (LARGE, "json", 0.25, 0.04), (LARGE, "webp", 0.6, 0.04))
    found = [
        costs.estimate(header, kind) for header, kind in ((SMALL, "json"), (LARGE, "json"), (LARGE, "webp"))
    ]
    assert [cost.seconds for cost in found] == pytest.approx([0.044, 0.29, 0.64], rel=0.05)
    assert [cost.is_heavy for cost in found] == [False, True, True]


@pytest.mark.parametrize("kind", PictureFormat)
def test_the_largest_pictures_count_as_heavy_before_any_was_seen(kind: PictureFormat) -> None:
    costs = learned((SMALL, "json", 0.004, 0.04))
    assert costs.estimate(Header(kind, 5_000, 5_000), "json").is_heavy
    assert costs.estimate(Header(kind, 5_000, 5_000), "webp").is_heavy
    assert not costs.estimate(Header(kind, 800, 600), "json").is_heavy


def test_people_in_a_picture_make_nothing_heavy() -> None:
    """Inference time depends on people, which headers do not show; ten must not make a picture heavy."""
    costs = learned((SMALL, "json", 0.004, 0.01), (Header(PictureFormat.JPEG, 640, 480), "json", 0.003, 0.6))
    assert not costs.estimate(SMALL, "json").is_heavy


@given(
    samples=st.lists(
        st.tuples(st.integers(1, 16_384), st.sampled_from(["json", "jpeg", "png", "webp"]), st.floats(0, 5)),
        max_size=40,
    )
)
def test_estimates_stay_between_what_was_measured(samples: list[tuple[int, str, float]]) -> None:
    costs = Costs()
    for side, kind, seconds in samples:
        header = Header(PictureFormat.PNG, side, 1)
        costs.learn(header, kind, {"decode": seconds, "inference": 0.05})
    for side, kind, _ in samples:
        bits = side.bit_length()
        alike = [s for other, k, s in samples if (other.bit_length(), k) == (bits, kind)]
        handling = costs.estimate(Header(PictureFormat.PNG, side, 1), kind).seconds - costs.inference_seconds
        assert min(alike) - 1e-9 <= handling <= max(alike) + 1e-9
