"""Query parameters of POST /v1/detect: which keypoints, in which coordinates, or a drawn picture."""

from typing import Any

import pytest

from engines.stub_engine import Command, command_png
from harness import client
from harness.gallery import picture
from harness.pictures import built_in
from harness.server import ServerProcess

DETECT = "/v1/detect"
COCO = (
    *("nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder"),
    *("left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip"),
    *("left_knee", "right_knee", "left_ankle", "right_ankle"),
)


def _person(server: ServerProcess, data: bytes, query: str = "") -> dict[str, Any]:
    reply = client.post(server.url + DETECT + query, data, timeout_seconds=30)
    assert reply.status == 200, reply
    (person,) = reply.json()["people"]
    return dict(person)


@pytest.mark.smoke
def test_coco_keypoints_are_landmarks_of_the_model_by_name(pose_server: ServerProcess) -> None:
    everything, coco = (_person(pose_server, built_in(), query) for query in ("", "?keypoints=coco"))
    for kind in ("landmarks", "world_landmarks"):
        assert len(everything[kind]) == 33
        by_name = {point["name"]: point for point in everything[kind]}
        assert coco[kind] == [by_name[name] for name in COCO]
    assert coco["box"] == everything["box"]


@pytest.mark.parametrize("file", ["", "exif/orientation_6.jpg"])
def test_pixels_are_those_of_the_upright_picture(pose_server: ServerProcess, file: str) -> None:
    data = picture(file) if file else built_in()
    size = client.post(pose_server.url + DETECT, data, timeout_seconds=30).json()["image"]
    fractions = _person(pose_server, data)
    pixels = _person(pose_server, data, "?coordinates=pixels")
    for one, other in zip(fractions["landmarks"], pixels["landmarks"], strict=True):
        assert other["name"] == one["name"]
        assert other["x"] == pytest.approx(one["x"] * size["width"], rel=1e-7)
        assert other["y"] == pytest.approx(one["y"] * size["height"], rel=1e-7)
        assert other["z"] == pytest.approx(one["z"] * size["width"], rel=1e-7)
        assert (other["visibility"], other["presence"]) == (one["visibility"], one["presence"])
    assert pixels["world_landmarks"] == fractions["world_landmarks"]
    for edge, extent in (("x", "width"), ("y", "height")):
        for key in (edge, extent):
            assert pixels["box"][key] == pytest.approx(fractions["box"][key] * size[extent], rel=1e-7)


def test_the_box_is_around_the_landmarks_and_within_the_picture(pose_server: ServerProcess) -> None:
    person = _person(pose_server, built_in())
    assert max(point["y"] for point in person["landmarks"]) > 1  # this one is cut off at the knees
    for key, extent in (("x", "width"), ("y", "height")):
        places = [min(1, max(0, point[key])) for point in person["landmarks"]]
        assert person["box"][key] == pytest.approx(min(places), abs=1e-6)
        assert person["box"][key] + person["box"][extent] == pytest.approx(max(places), abs=1e-6)


def test_a_drawn_picture_can_be_asked_for_whatever_accept_says(start: Any) -> None:
    server = start(engine="stub")
    data = command_png(Command.OK, 0, b"drawn")
    for kind in ("jpeg", "png", "webp"):
        for accept in ("application/json", "image/webp", "*/*"):
            reply = client.post(f"{server.url}{DETECT}?draw={kind}", data, headers={"Accept": accept})
            assert (reply.status, reply.headers["Content-Type"]) == (200, f"image/{kind}")


def test_answers_with_other_options_are_cached_separately(start: Any) -> None:
    server = start(engine="stub")
    data = command_png(Command.OK, 0, b"options")
    options = ("keypoints=coco", "coordinates=pixels", "coordinates=pixels&keypoints=coco", "draw=png")
    queries = ("", *("?" + option for option in options))
    first, again = ([client.post(server.url + DETECT + query, data) for query in queries] for _ in range(2))
    assert [reply.headers["Cache-Status"] for reply in first] == ["posecluster; fwd=miss; stored"] * 5
    assert [reply.headers["Cache-Status"] for reply in again] == ["posecluster; hit"] * 5
    for fresh, kept in zip(first[:-1], again[:-1], strict=True):
        assert fresh.json()["people"] == kept.json()["people"]
    counts = [len(reply.json()["people"][0]["landmarks"]) for reply in again[:-1]]
    assert counts == [33, 17, 33, 17]
    assert again[2].json()["people"][0]["landmarks"][1]["x"] == 8  # 0.5 of 16
    assert again[-1].headers["Content-Type"] == "image/png"
    reordered = client.post(f"{server.url}{DETECT}?keypoints=coco&coordinates=pixels", data)
    assert reordered.headers["Cache-Status"] == "posecluster; hit"


def test_other_parameters_are_refused_before_the_body_is_read(start: Any) -> None:
    server = start(engine="stub")
    for query in ("?v=1", "?draw=gif", "?draw=png&draw=png", "?draw=png&keypoints=coco", "?keypoints"):
        reply = client.post(server.url + DETECT + query, command_png(Command.OK, 0, b"other"))
        assert (reply.status, reply.reason) == (400, "malformed")
    assert reply.json()["detail"] == "The query parameter keypoints must be one of: coco."
    reply = client.get(server.url + "/v1/model?x=1")
    assert (reply.status, reply.reason) == (400, "malformed")
    assert server.metrics("arrivals_total") == 0


def test_pages_and_probes_take_any_parameter(start: Any) -> None:
    server = start(engine="stub")
    for path in ("/healthz", "/", "/docs", "/openapi.json", "/assets/api.js"):
        assert client.get(f"{server.url}{path}?v=17&v=18").status == 200
    for path in ("/healthz", "/livez", "/readyz"):
        assert client.get(f"{server.admin_url}{path}?v=17").status == 200


def test_a_model_with_other_landmarks_has_no_coco_keypoints(start: Any) -> None:
    server = start(engine="fault_engines:FindsHands")
    data = command_png(Command.OK, 0, b"hand")
    assert client.post(server.url + DETECT, data).status == 200
    reply = client.post(server.url + DETECT + "?keypoints=coco", data)
    assert (reply.status, reply.reason) == (400, "malformed")
    assert "no COCO keypoints" in reply.json()["detail"]
