"""Answers as JSON bytes, and drawings as pixels."""

import json
import math
import random
import struct
import time
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from posecluster_inference.worker import render
from posecluster_inference.worker.tasks import pose as pose_task
from posecluster_inference.worker.tasks.pose import COCO_KEYPOINTS, Person, Point

pytestmark = pytest.mark.unit

NAMES = tuple(f"joint_{index}" for index in range(33))
BONES = ((0, 1), (1, 2))
LANDMARKS = (*sorted(COCO_KEYPOINTS), "mouth_left")
MODEL = {"task": "pose", "variant": "full", "engine": "mediapipe"}
RED, WHITE, GREY = (255, 0, 0), (255, 255, 255), 90


def single(value: float) -> float:
    """The float32 nearest to value."""
    return float(struct.unpack("f", struct.pack("f", value))[0])


def person(seed: int = 1) -> Person:
    rng = random.Random(seed)

    def points() -> tuple[Point, ...]:
        return tuple(
            tuple(single(rng.uniform(-2, 2) * 10 ** rng.randint(-12, 3)) for _ in range(5))  # type: ignore[misc]
            for _ in NAMES
        )

    return Person(points(), points())


def answer(*people: Person, names: tuple[str, ...] = NAMES) -> dict[str, object]:
    body = render.answer_json(pose_task, people, names, MODEL, width=810, height=1080)
    parsed: dict[str, object] = json.loads(b'{"id":"1",' + body + b',"cached":false}')
    return parsed


@pytest.mark.parametrize("count", [0, 1, 3])
def test_answer_has_the_contract_s_form_and_exact_numbers(count: int) -> None:
    people = [person(seed) for seed in range(count)]
    keys = ("x", "y", "z", "visibility", "presence")

    def listed(points: tuple[Point, ...]) -> list[dict[str, object]]:
        return [
            {"name": name, **dict(zip(keys, point, strict=True))}
            for name, point in zip(NAMES, points, strict=True)
        ]

    parsed = answer(*people)
    assert list(parsed) == ["id", "model", "image", "people", "cached"]
    assert parsed["model"] == MODEL
    assert parsed["image"] == {"width": 810, "height": 1080}
    rounded = json.loads(json.dumps(parsed["people"]), parse_float=lambda text: single(float(text)))
    for one in rounded:
        assert list(one.pop("box")) == ["x", "y", "width", "height"]
    expected = [
        {"landmarks": listed(p.landmarks), "world_landmarks": listed(p.world_landmarks)} for p in people
    ]
    assert rounded == expected


def pose(**moved: tuple[float, float]) -> Person:
    """A person whose landmarks are in the middle of the picture, except those that are moved."""
    points = tuple((*moved.get(name, (0.5, 0.5)), -0.25, 1.0, 1.0) for name in LANDMARKS)
    world = tuple((index / 64, -0.5, 0.125, 1.0, 1.0) for index in range(len(LANDMARKS)))
    return Person(points, world)


def shown(person: Person, *, chosen: tuple[str, ...] = (), in_pixels: bool = False) -> dict[str, Any]:
    body = render.answer_json(
        pose_task, [person], LANDMARKS, MODEL, width=800, height=600, chosen=chosen, in_pixels=in_pixels
    )
    (found,) = json.loads(b"{" + body + b"}")["people"]
    return dict(found)


def test_coco_keypoints_are_17_of_the_landmarks_in_the_order_of_coco() -> None:
    everything = shown(pose(nose=(0.25, 0.125), right_ankle=(0.75, 0.875)))
    coco = shown(pose(nose=(0.25, 0.125), right_ankle=(0.75, 0.875)), chosen=COCO_KEYPOINTS)
    for kind in ("landmarks", "world_landmarks"):
        by_name = {point["name"]: point for point in everything[kind]}
        assert [point["name"] for point in coco[kind]] == [
            *("nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder"),
            *("left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip"),
            *("left_knee", "right_knee", "left_ankle", "right_ankle"),
        ]
        assert coco[kind] == [by_name[name] for name in COCO_KEYPOINTS]
    assert coco["box"] == everything["box"]


def test_pixels_are_fractions_of_the_upright_picture_times_its_size() -> None:
    fractions = shown(pose(nose=(0.25, 0.125)))
    pixels = shown(pose(nose=(0.25, 0.125)), in_pixels=True)
    nose = pixels["landmarks"][LANDMARKS.index("nose")]
    assert (nose["x"], nose["y"], nose["z"]) == (200, 75, -200)
    assert (nose["visibility"], nose["presence"]) == (1, 1)
    assert pixels["world_landmarks"] == fractions["world_landmarks"]
    assert pixels["box"] == {"x": 200, "y": 75, "width": 200, "height": 225}


@pytest.mark.parametrize(
    ("moved", "box"),
    [
        ({}, (0.5, 0.5, 0, 0)),
        ({"nose": (0.25, 0.125), "left_ankle": (0.625, 1.0)}, (0.25, 0.125, 0.375, 0.875)),
        ({"mouth_left": (0.25, 0.5)}, (0.25, 0.5, 0.25, 0)),  # also those that are not keypoints of COCO
        ({"nose": (-0.5, 0.25), "left_ankle": (0.625, 1.75)}, (0, 0.25, 0.625, 0.75)),
        (dict.fromkeys(LANDMARKS, (1.5, -0.5)), (1, 0, 0, 0)),
    ],
)
def test_the_box_holds_all_landmarks_and_ends_at_the_picture(
    moved: dict[str, tuple[float, float]], box: tuple[float, ...]
) -> None:
    found = shown(pose(**moved))["box"]
    assert tuple(found.values()) == box


def test_float32_comes_back_exactly() -> None:
    extremes = [
        3.4028234663852886e38,
        -3.4028234663852886e38,
        1.401298464324817e-45,
        0.0,
        -0.0,
        1 / 3,
        16777217.0,
    ]
    rng = random.Random(3)
    patterns = [struct.unpack("f", struct.pack("I", rng.getrandbits(32)))[0] for _ in range(5000)]
    values = [single(value) for value in extremes] + [value for value in patterns if math.isfinite(value)]
    for start in range(0, len(values) - 5, 5):
        point: Point = tuple(values[start : start + 5])  # type: ignore[assignment]
        body = render.answer_json(
            pose_task, [Person((point,), (point,))], ("nose",), MODEL, width=1, height=1
        )
        found = json.loads(b"{" + body + b"}")["people"][0]["landmarks"][0]
        assert [single(found[key]) for key in ("x", "y", "z", "visibility", "presence")] == list(point)


def test_names_are_escaped() -> None:
    names = ('50 %s "left"', "ü\n")
    point: Point = (0.0, 0.0, 0.0, 1.0, 1.0)
    body = render.answer_json(
        pose_task, [Person((point,) * 2, (point,) * 2)], names, MODEL, width=1, height=1
    )
    found = json.loads(b"{" + body + b"}")["people"][0]["landmarks"]
    assert [landmark["name"] for landmark in found] == list(names)


@pytest.mark.hostile("I-18")
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("world", [False, True])
def test_numbers_that_json_lacks_are_never_written(bad: float, world: bool) -> None:
    fine, broken = ((0.0,) * 5,) * 33, ((0.0,) * 5,) * 32 + ((0.0, bad, 0.0, 0.0, 0.0),)
    people = [Person(fine, broken) if world else Person(broken, fine)]  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="finite"):
        render.answer_json(pose_task, people, NAMES, MODEL, width=1, height=1)


def test_a_person_costs_less_than_json_dumps() -> None:
    """The bar is 0.15 ms on a quiet machine; here only the order, because the machine is shared."""
    people = [person()]
    whole = answer(*people)

    def fastest(call: object, *args: object, **keywords: object) -> float:
        times = []
        for _ in range(30):
            started = time.perf_counter()
            call(*args, **keywords)  # type: ignore[operator]
            times.append(time.perf_counter() - started)
        return min(times)

    ours = fastest(render.answer_json, pose_task, people, NAMES, MODEL, width=1, height=1)
    assert ours < 0.8 * fastest(json.dumps, whole)


def joint(x: float, y: float, visibility: float = 1.0, presence: float = 1.0) -> Point:
    return (x, y, 0.0, visibility, presence)


def drawn(*points: Point, width: int = 200, height: int = 100) -> NDArray[np.uint8]:
    picture = np.full((height, width, 3), GREY, np.uint8)
    bones = [bone for bone in BONES if max(bone) < len(points)]
    drawing = pose_task.drawing([Person(points, points)], bones, width=width, height=height)
    result = render.draw(picture, drawing)
    assert result is picture
    return result


def test_red_joints_lie_over_white_bones() -> None:
    picture = drawn(joint(0.25, 0.5), joint(0.75, 0.5))
    for column in (50, 150):
        assert tuple(picture[50, column]) == RED
    assert tuple(picture[50, 100]) == WHITE
    assert tuple(picture[20, 100]) == (GREY,) * 3


def test_every_joint_s_own_pixel_is_red_even_in_a_crowd() -> None:
    rng = random.Random(5)
    points = [joint(rng.random(), rng.random()) for _ in range(400)]
    picture = drawn(*points)
    for x, y, *_ in points:
        assert tuple(picture[math.floor(y * 100), math.floor(x * 200)]) == RED


def test_line_width_grows_with_the_picture() -> None:
    def white_pixels(scale: int) -> int:
        picture = drawn(joint(0.1, 0.5), joint(0.9, 0.5), width=200 * scale, height=100 * scale)
        return int((picture[:, 100 * scale] == 255).all(axis=1).sum())

    assert white_pixels(1) < white_pixels(10) < white_pixels(20)


@pytest.mark.parametrize(("visibility", "presence"), [(0.49, 1.0), (1.0, 0.49), (math.nan, 1.0)])
def test_joints_of_low_visibility_and_their_bones_are_not_drawn(visibility: float, presence: float) -> None:
    picture = drawn(joint(0.25, 0.5), joint(0.75, 0.5, visibility, presence))
    assert tuple(picture[50, 50]) == RED
    assert (picture[:, 80:] == GREY).all()


def test_a_bone_to_a_near_joint_outside_reaches_the_edge() -> None:
    picture = drawn(joint(0.5, 0.5), joint(1.5, 0.5))
    assert tuple(picture[50, 199]) == WHITE


@pytest.mark.parametrize("far", [2.1, -1.1, 1e9, -1e9, 3e38, math.inf, -math.inf, math.nan])
def test_far_joints_are_dropped(far: float) -> None:
    picture = drawn(joint(0.5, 0.5), joint(far, 0.5), joint(0.5, far))
    assert tuple(picture[50, 100]) == RED
    assert (picture[:, 120:] == GREY).all()


def test_the_far_edge_belongs_to_the_last_pixel() -> None:
    picture = drawn(joint(1.0, 1.0), joint(0.0, 0.0))
    assert tuple(picture[99, 199]) == tuple(picture[0, 0]) == RED


@pytest.mark.hostile("I-17")
@pytest.mark.parametrize(("width", "height"), [(1, 1), (4000, 1), (1, 4000), (2, 3)])
def test_tiny_pictures(width: int, height: int) -> None:
    picture = drawn(joint(0.5, 0.5), joint(2.0, 2.0), joint(-1.0, 0.3), width=width, height=height)
    assert tuple(picture[height // 2, width // 2]) == RED


def test_a_drawing_without_people_is_the_picture_itself() -> None:
    picture = np.full((10, 10, 3), GREY, np.uint8)
    assert (render.draw(picture, pose_task.drawing([], BONES, width=10, height=10)) == GREY).all()
