"""Answers as pictures, and the choice between forms: `Accept` over real sockets, with the full model."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from engines.stub_engine import Command, command_png, nose_x
from harness import client
from harness.client import Reply
from harness.gallery import picture
from harness.pictures import built_in, unique_jpeg
from harness.recorder import RecordFigure
from harness.server import ServerProcess

DETECT = "/v1/detect"
MAGIC = {"application/json": b"{", "image/jpeg": b"\xff\xd8", "image/png": b"\x89PNG", "image/webp": b"RIFF"}
FORMS = tuple(MAGIC)[1:]
LEAST_VISIBILITY = 0.5
_number = count()

Pixels = NDArray[np.uint8]
Ask = Callable[[bytes, str], Reply]


@pytest.fixture
def ask(pose_server: ServerProcess) -> Ask:
    """Post a picture with an Accept field."""
    url = pose_server.url + DETECT
    return lambda body, accept: client.post(url, body, headers={"Accept": accept}, timeout_seconds=30)


def decoded(data: bytes) -> Pixels:
    """RGB as stored: an orientation in the answer would turn it for others, but not here."""
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    found = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    assert found is not None
    return found  # type: ignore[return-value]


@dataclass(frozen=True, slots=True)
class Skeleton:
    """Pixels of the visible joints inside the picture, by index, and what lies along the bones."""

    joints: dict[int, tuple[int, int]]
    along_bones: list[tuple[int, int]]


def skeleton(document: dict[str, Any], bones: list[list[int]]) -> Skeleton:
    """Where the drawing of a JSON answer's first person must be."""
    width, height = document["image"]["width"], document["image"]["height"]
    joints = {}
    for index, mark in enumerate(document["people"][0]["landmarks"]):
        x, y = int(mark["x"] * width), int(mark["y"] * height)
        visible = min(mark["visibility"], mark["presence"]) >= LEAST_VISIBILITY
        if visible and 0 <= x < width and 0 <= y < height:
            joints[index] = x, y
    clear = 2 + 2 * max(2, round(min(width, height) / 150))  # joints lie over bones
    points = []
    for start, end in bones:
        if start in joints and end in joints:
            (x0, y0), (x1, y1) = joints[start], joints[end]
            points += [
                (round(x0 + (x1 - x0) * t), round(y0 + (y1 - y0) * t)) for t in (0.3, 0.4, 0.5, 0.6, 0.7)
            ]
    far = [p for p in points if all(np.hypot(p[0] - x, p[1] - y) > clear for x, y in joints.values())]
    return Skeleton(joints, far)


def is_red(pixel: Any, *, exact: bool) -> bool:
    red, green, blue = map(int, pixel)
    return (red, green, blue) == (255, 0, 0) if exact else red > 150 and green < 110 and blue < 110


def is_white(pixel: Any, *, exact: bool) -> bool:
    return int(min(pixel)) >= (255 if exact else 170)


@pytest.mark.hostile("I-15")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "file",
    ["single/mp_pose.jpg", "single/mp_test_image.jpg", "formats/pose_cmyk.jpg", "formats/pose_rgba8.png"]
    + [f"exif/orientation_{value}.jpg" for value in range(1, 9)]
    + ["exif/orientation_6.png", "exif/orientation_6.webp"],
)
def test_joints_are_red_and_bones_white(
    ask: Ask, pose_server: ServerProcess, file: str, form: str, record_figure: RecordFigure
) -> None:
    data = picture(file)
    document = ask(data, "application/json").json()
    reply = ask(data, form)
    assert reply.status == 200
    assert reply.headers.get_content_type() == form
    drawn = decoded(reply.body)
    assert drawn.shape == (document["image"]["height"], document["image"]["width"], 3)
    assert document["image"]["width"] > document["image"]["height"]  # all these scenes are wide when upright

    expected = skeleton(document, client.get(pose_server.url + "/v1/model").json()["bones"])
    assert len(expected.joints) >= 20
    assert len(expected.along_bones) >= 20
    exact = form == "image/png"
    red = [is_red(drawn[y, x], exact=exact) for x, y in expected.joints.values()]
    white = [is_white(drawn[y, x], exact=exact) for x, y in expected.along_bones]
    # a face's joints lie so close that lossy colours mix; exact ones do not
    assert sum(red) >= len(red) * (1 if exact else 0.9)
    assert sum(white) >= 0.95 * len(white)


@pytest.mark.smoke
@pytest.mark.control
def test_an_undrawn_picture_has_no_skeleton(ask: Ask, pose_server: ServerProcess) -> None:
    data = picture("single/mp_pose.jpg")
    bones = client.get(pose_server.url + "/v1/model").json()["bones"]
    expected = skeleton(ask(data, "application/json").json(), bones)
    plain = decoded(data)
    assert sum(is_red(plain[y, x], exact=False) for x, y in expected.joints.values()) <= 3
    assert sum(is_white(plain[y, x], exact=False) for x, y in expected.along_bones) <= (
        0.5 * len(expected.along_bones)
    )


def test_the_rest_of_the_picture_is_unchanged(ask: Ask) -> None:
    data = picture("single/mp_pose.jpg")
    drawn, plain = decoded(ask(data, "image/png").body), decoded(data)
    changed = (drawn != plain).any(axis=2)
    assert 0.001 < changed.mean() < 0.1
    assert set(map(tuple, drawn[changed][:: max(1, changed.sum() // 500)])) & {(255, 0, 0), (255, 255, 255)}


@pytest.mark.hostile("I-18")
@pytest.mark.parametrize("file", ["none/sk_chelsea.png", "none/synthetic_black.jpg"])
def test_without_people_the_drawn_answer_is_the_picture_itself(ask: Ask, file: str) -> None:
    assert np.array_equal(decoded(ask(picture(file), "image/png").body), decoded(picture(file)))


@pytest.mark.parametrize("form", FORMS)
def test_a_large_picture_is_drawn_smaller_and_found_whole(ask: Ask, form: str) -> None:
    small = decoded(built_in())
    large = cv2.resize(small, (5_000, 5_000), interpolation=cv2.INTER_CUBIC)
    body = cv2.imencode(".jpg", large[..., ::-1])[1].tobytes()
    sent, reply = ask(body, "application/json"), ask(body, form)
    assert sent.json()["image"] == {"width": 5_000, "height": 5_000}
    assert "X-Image-Size" not in sent.headers
    height, width, _ = decoded(reply.body).shape
    assert reply.headers["X-Image-Size"] == f"{width}x{height}"
    assert reply.headers["X-Original-Image-Size"] == "5000x5000"
    assert width * height <= 1920 * 1080 < (width + 1) * (height + 1)
    nose = sent.json()["people"][0]["landmarks"][0]
    assert is_red(decoded(reply.body)[int(nose["y"] * height), int(nose["x"] * width)], exact=False)


@pytest.mark.hostile("I-16")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "file", ["formats/pose_exif_gps.jpg", "exif/orientation_6.jpg", "exif/orientation_6.png"]
)
def test_answers_carry_no_metadata(ask: Ask, file: str, form: str) -> None:
    body = ask(picture(file), form).body
    assert b"Exif" not in body[:4_096]
    match form:  # the one thing that is copied is an ICC profile, which only the last file has
        case "image/jpeg":
            assert jpeg_markers(body) <= {0xE0, 0xE2, 0xDB, 0xC0, 0xC4, 0xDA, 0xDD}
            assert body.count(b"\xff\xe2") == body.count(b"ICC_PROFILE\0")
        case "image/png":
            assert png_kinds(body) - {b"iCCP"} == {b"IHDR", b"IDAT", b"IEND"}
        case _:
            assert int.from_bytes(body[4:8], "little") + 8 == len(body)
            if body[12:16] == b"VP8X":
                assert body[20] == 0x20, "no flag but that of the profile"
                assert body[30:34] == b"ICCP"
            else:
                assert body[12:16] in (b"VP8 ", b"VP8L")


def jpeg_markers(data: bytes) -> set[int]:
    """Markers up to the first scan."""
    found, position = set(), 2
    while not found or 0xDA not in found:
        found.add(data[position + 1])
        position += 2 + int.from_bytes(data[position + 2 : position + 4])
    return found


def png_kinds(data: bytes) -> set[bytes]:
    found, position = set(), 8
    while position < len(data):
        found.add(data[position + 4 : position + 8])
        position += 12 + int.from_bytes(data[position : position + 4])
    return found


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("*/*", "application/json"),
        ("application/json", "application/json"),
        ("application/*", "application/json"),
        ("image/*", "image/jpeg"),
        ("image/png", "image/png"),
        ("IMAGE/WebP", "image/webp"),
        ("image/webp,image/png;q=0.9", "image/webp"),
        ("image/webp;q=0.2, image/png;q=0.9", "image/png"),
        ("application/json;q=0.1,image/jpeg", "image/jpeg"),
        ("image/png;q=0", "application/json"),
        ("text/html,application/xhtml+xml", "application/json"),
        ("image/avif,image/webp,*/*;q=0.8", "image/webp"),
        ("image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8", "image/jpeg"),
        ("text/html,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8", "application/json"),
        ("text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2", "application/json"),
        ("", "application/json"),
        (";;;,,,q=,image/", "application/json"),
        ("image/png;q=nonsense", "application/json"),
        (",".join(["text/x"] * 500), "application/json"),
    ],
)
def test_accept_selects_the_form_of_the_answer(ask: Ask, accept: str, content_type: str) -> None:
    reply = ask(unique_jpeg(built_in(), next(_number)), accept)
    assert reply.status == 200
    assert reply.headers.get_content_type() == content_type
    assert reply.headers["Vary"] == "Accept"
    magic = {
        "application/json": b"{",
        "image/jpeg": b"\xff\xd8",
        "image/png": b"\x89PNG",
        "image/webp": b"RIFF",
    }
    assert reply.body.startswith(magic[content_type])


def test_without_accept_the_answer_is_json(pose_server: ServerProcess) -> None:
    reply = client.post(pose_server.url + DETECT, unique_jpeg(built_in(), next(_number)))
    assert reply.headers.get_content_type() == "application/json"


def test_refusals_are_problems_whatever_is_accepted(ask: Ask) -> None:
    for accept in FORMS:
        assert ask(b"GIF89a", accept).reason == "unsupported_format"
        assert ask(b"\xff\xd8\xff", accept).reason == "undecodable"


def test_cached_answers_of_several_forms_do_not_mix(start: Any) -> None:
    server = start(engine="stub")
    data = command_png(Command.OK, 0, b"forms")
    for _ in range(2):  # the second time they come from the cache
        for form in ("application/json", *FORMS):
            reply = client.post(server.url + DETECT, data, headers={"Accept": form})
            assert reply.headers.get_content_type() == form
            if form == "application/json":
                x = reply.json()["people"][0]["landmarks"][0]["x"]
                assert x == pytest.approx(nose_x(Command.OK, 0, b"forms"), abs=1e-6)
            else:
                assert decoded(reply.body).shape == (16, 16, 3)
                assert reply.headers["X-Image-Size"] == reply.headers["X-Original-Image-Size"] == "16x16"
    assert server.metrics("cache_requests_total", result="hit") == 4
