"""The playground with the real model: what it draws is what the API answers, and all of it is accessible."""

import csv
import io
import itertools
import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
from playwright.sync_api import expect

from harness import client, pictures
from harness.browser import is_red, pixels
from harness.picture_parts import exif, jpeg_segment, webp_canvas, webp_chunk, webp_file

_HAND_OVER = """async (way) => {
  const content = await (await fetch("assets/astronaut.jpg")).blob();
  const file = new File([content], "handed.jpg", { type: "image/jpeg" });
  const data = new DataTransfer();
  data.items.add(file);
  const place = document.getElementById("stage");
  const drag = (name) => place.dispatchEvent(new DragEvent(name, { dataTransfer: data, bubbles: true }));
  if (way === "drop") ["dragenter", "dragover", "drop"].forEach(drag);
  else place.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true }));
}"""
_SURE = 0.9  # joints that are drawn nearly opaque


def _answer(server, picture):
    reply = client.post(server.url + "/v1/detect", picture)
    assert reply.status == 200
    return reply.json()


def _sure_joints(answer):
    return [
        (joint["name"], joint["x"], joint["y"])
        for person in answer["people"]
        for joint in person["landmarks"]
        if joint["visibility"] > _SURE and 0.01 < joint["x"] < 0.99 and 0.01 < joint["y"] < 0.99
    ]


def _numbered_away(visit):
    """Without the numbers of people, which may lie on a joint."""
    visit.page.eval_on_selector_all(".number", "all => all.forEach((one) => one.remove())")
    return pixels(visit.page.locator("#frame"))


def _turned(picture, orientation):
    return picture[:2] + jpeg_segment(0xE1, b"Exif\0\0" + exif(orientation, {})) + picture[2:]


def _webp(picture, orientation):
    """A lossy WebP of these pixels that says how it lies."""
    height, width = picture.shape[:2]
    plain = cv2.imencode(".webp", picture, [cv2.IMWRITE_WEBP_QUALITY, 90])[1].tobytes()
    chunks = [webp_canvas(width, height, flags=0x08), plain[12:], webp_chunk(b"EXIF", exif(orientation, {}))]
    return webp_file(*chunks)


@pytest.mark.smoke
def test_joints_are_drawn_where_the_api_says(visit, pose_server, astronaut):
    opened = visit(pose_server.url)
    opened.choose(astronaut)
    opened.wait_for_skeleton()
    joints = _sure_joints(_answer(pose_server, astronaut))
    seen = pixels(opened.page.locator("#frame"))
    assert len(joints) >= 12
    assert [name for name, x, y in joints if not is_red(seen, x, y)] == []
    assert opened.hosts() == {f"127.0.0.1:{pose_server.port}"}


@pytest.mark.control
def test_control_joints_drawn_elsewhere_are_noticed(visit, pose_server, astronaut):
    opened = visit(pose_server.url)
    opened.choose(astronaut)
    opened.wait_for_skeleton()
    joints = _sure_joints(_answer(pose_server, astronaut))
    opened.page.uncheck("#show-picture")
    seen = pixels(opened.page.locator("#frame"))
    moved = [name for name, x, y in joints if not is_red(seen, x - 0.04, y + 0.07)]
    assert len(moved) > len(joints) / 2
    opened.page.uncheck("#show-skeleton")
    seen = pixels(opened.page.locator("#frame"))
    assert [name for name, x, y in joints if is_red(seen, x, y)] == []


def test_several_people_are_drawn_and_told_apart(visit, pose_server, two_people):
    opened = visit(pose_server.url)
    opened.choose(two_people)
    opened.wait_for_skeleton(2)
    joints = _sure_joints(_answer(pose_server, two_people))
    seen = _numbered_away(opened)
    assert len(joints) >= 24
    assert [name for name, x, y in joints if not is_red(seen, x, y)] == []
    assert "2 people" in opened.page.inner_text("#summary")
    first = opened.page.inner_text("#joints tbody")
    opened.page.select_option("#person", index=1)
    assert opened.page.inner_text("#joints tbody") != first


_SIDEWAYS = {3: cv2.ROTATE_180, 6: cv2.ROTATE_90_COUNTERCLOCKWISE, 8: cv2.ROTATE_90_CLOCKWISE}


@pytest.mark.parametrize("kind", ["jpeg", "webp"])
@pytest.mark.parametrize("orientation", _SIDEWAYS)
def test_a_turned_picture_is_shown_upright_with_its_joints(visit, pose_server, astronaut, orientation, kind):
    upright = cv2.imdecode(np.frombuffer(astronaut, np.uint8), cv2.IMREAD_COLOR)[:, 100:420]
    stored = cv2.rotate(upright, _SIDEWAYS[orientation])
    if kind == "webp":
        picture = _webp(stored, orientation)
    else:
        picture = _turned(cv2.imencode(".jpg", stored)[1].tobytes(), orientation)
    opened = visit(pose_server.url)
    opened.choose(picture, f"picture.{kind}", f"image/{kind}")
    opened.wait_for_skeleton()
    assert opened.page.evaluate("[photo.naturalWidth, photo.naturalHeight]") == [320, 512]
    joints = _sure_joints(_answer(pose_server, picture))
    seen = pixels(opened.page.locator("#frame"))
    assert len(joints) >= 10
    assert [name for name, x, y in joints if not is_red(seen, x, y)] == []
    opened.page.uncheck("#show-skeleton")
    bare = cv2.resize(pixels(opened.page.locator("#frame")), (320, 512), interpolation=cv2.INTER_AREA)
    assert np.abs(bare.astype(int) - upright[:, :, ::-1]).mean() < 12


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_a_picture_can_be_dropped_or_pasted(visit, pose_server, way):
    opened = visit(pose_server.url)
    opened.page.evaluate(_HAND_OVER, way)
    opened.wait_for_skeleton()
    assert "handed.jpg" in opened.page.inner_text("#summary")
    assert opened.page.is_hidden("#dropping")


def test_a_picture_without_people_is_reported_in_words(visit, pose_server):
    opened = visit(pose_server.url)
    opened.choose(pictures.tiny_png(64, 64), "grey.png", "image/png")
    assert "No person was found" in opened.notice()
    assert opened.page.locator(".joint").count() == 0
    assert opened.page.is_enabled("#copy-json")


def test_a_joint_is_named_under_the_pointer_and_by_keys(visit, pose_server, astronaut):
    page = visit(pose_server.url).page
    page.click("#sample")
    page.wait_for_selector("#joint-0-11")
    nose = _answer(pose_server, astronaut)["people"][0]["landmarks"][0]
    box = page.locator("#skeleton").bounding_box()
    page.mouse.move(box["x"] + nose["x"] * box["width"], box["y"] + nose["y"] * box["height"])
    tip = page.inner_text("#tip")
    assert tip.startswith("nose")
    assert f"{nose['x']:.3f}" in tip
    assert page.inner_text("#joints tr.on th") == "nose"
    page.mouse.move(2, 2)
    assert page.is_hidden("#tip")
    page.focus("#skeleton")
    for _ in range(11):
        page.keyboard.press("ArrowRight")
    assert page.inner_text("#tip").startswith("left shoulder")
    assert page.get_attribute("#skeleton", "aria-activedescendant") == "joint-0-11"
    assert "left shoulder" in page.inner_text("#said")
    page.keyboard.press("Escape")
    assert page.is_hidden("#tip")


def test_labels_can_be_shown_and_hidden(visit, pose_server):
    page = visit(pose_server.url).page
    page.click("#sample")
    page.wait_for_selector(".joint")
    assert page.locator("#skeleton .name").count() == 0
    page.check("#show-labels")
    assert {"nose", "left shoulder"} <= set(page.locator("#skeleton .name").all_text_contents())
    page.uncheck("#show-labels")
    assert page.locator("#skeleton .name").count() == 0


@pytest.mark.parametrize("is_secure", [True, False], ids=["https", "http"])
def test_the_answer_can_be_taken_as_json_and_csv(visit, pose_server, astronaut, is_secure):
    opened = visit(pose_server.url, permissions=["clipboard-read", "clipboard-write"])
    page = opened.page
    page.evaluate("globalThis.clip = navigator.clipboard")
    if not is_secure:  # browsers then have none
        page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined }) && 0")
    page.click("#sample")
    opened.wait_for_skeleton()
    people = _answer(pose_server, astronaut)["people"]
    page.click("#copy-json")
    expect(page.locator("#copy-json")).to_have_text("Copied")
    assert json.loads(page.evaluate("clip.readText()"))["people"] == people
    page.click("#copy-csv")
    expect(page.locator("#copy-csv")).to_have_text("Copied")
    rows = list(csv.DictReader(io.StringIO(page.evaluate("clip.readText()"))))
    assert [row["joint"] for row in rows] == [joint["name"] for joint in people[0]["landmarks"]]
    assert [float(row["x"]) for row in rows] == [joint["x"] for joint in people[0]["landmarks"]]
    assert [float(row["world_z"]) for row in rows] == [joint["z"] for joint in people[0]["world_landmarks"]]


def test_the_drawn_picture_can_be_downloaded(visit, pose_server, astronaut, tmp_path):
    opened = visit(pose_server.url)
    opened.page.click("#sample")
    opened.wait_for_skeleton()
    with opened.page.expect_download() as download:
        opened.page.click("#download")
    assert download.value.suggested_filename == "astronaut-skeleton.png"
    download.value.save_as(tmp_path / "drawn.png")
    drawn = cv2.imread(str(tmp_path / "drawn.png"), cv2.IMREAD_COLOR_RGB)
    assert drawn.shape == (512, 512, 3)
    joints = _sure_joints(_answer(pose_server, astronaut))
    assert [name for name, x, y in joints if not is_red(drawn, x, y)] == []


def test_the_lines_for_a_terminal_and_a_program_work(visit, pose_server, astronaut, tmp_path):
    opened = visit(pose_server.url)
    opened.page.click("#sample")
    opened.wait_for_skeleton()
    people = _answer(pose_server, astronaut)["people"]
    curl = opened.page.inner_text("#code")
    ended = subprocess.run(
        ["bash", "-ec", curl], cwd=tmp_path, capture_output=True, text=True, timeout=20, check=True
    )
    assert json.loads(ended.stdout)["people"] == people
    (tmp_path / "astronaut.jpg").unlink()
    opened.page.click("[data-code=python]")
    program = opened.page.inner_text("#code")
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=20, check=True
    )
    assert ended.stdout.splitlines()[0].split()[:2] == ["nose", str(people[0]["landmarks"][0]["x"])]
    opened.page.click("[data-code=drawn]")
    drawn = opened.page.inner_text("#code")
    subprocess.run(["bash", "-ec", drawn], cwd=tmp_path, capture_output=True, timeout=20, check=True)
    assert cv2.imread(str(tmp_path / "skeleton.png")).shape == (512, 512, 3)


def test_the_lines_hold_for_any_file_name(visit, pose_server, astronaut, tmp_path):
    name = 'it\'s "odd" $(touch planted) `touch planted` – ü.jpg'
    (tmp_path / name).write_bytes(astronaut)
    opened = visit(pose_server.url)
    opened.choose(astronaut, name)
    opened.wait_for_skeleton()
    for kind, program in (("curl", ["bash", "-ec"]), ("python", [sys.executable, "-c"])):
        opened.page.click(f"[data-code={kind}]")
        command = [*program, opened.page.inner_text("#code")]
        ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=20, check=True)
        assert "nose" in ended.stdout
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_the_view_in_space_turns(visit, pose_server):
    opened = visit(pose_server.url)
    opened.page.click("#sample")
    opened.wait_for_skeleton()
    world = opened.page.locator("#world")
    views = [pixels(world)]
    assert (views[0] == (255, 0, 0)).all(axis=2).sum() > 50
    box = world.bounding_box()
    opened.page.mouse.move(box["x"] + 150, box["y"] + 100)
    opened.page.mouse.down()
    opened.page.mouse.move(box["x"] + 260, box["y"] + 120, steps=4)
    opened.page.mouse.up()
    views.append(pixels(world))
    world.press("ArrowLeft")
    views.append(pixels(world))
    opened.page.click("[data-view=top]")
    views.append(pixels(world))
    for before, after in itertools.pairwise(views):
        assert (before != after).any(axis=2).sum() > 200


def test_time_and_state_are_shown(visit, pose_server):
    opened = visit(pose_server.url)
    opened.page.check("#fresh")
    opened.page.click("#sample")
    opened.wait_for_skeleton()
    timing = opened.page.inner_text("#timing")
    for word in ("waiting", "decoding", "inference", "encoding", "network", "fwd=request"):
        assert word in timing
    opened.page.uncheck("#fresh")
    opened.page.click("#again")
    expect(opened.page.locator("#timing")).to_contain_text("hit")
    opened.page.wait_for_selector(".workers .ready")
    assert "0 of 8 places" in opened.page.inner_text("#health")
    assert opened.page.inner_text("#pill") == "ready"
