"""What the page shows and does when a request is refused, with the server's detail."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from playwright.sync_api import expect

from engines.stub_engine import Command, command_png
from harness import client, pictures
from harness.hostile_pictures import huge_jpeg
from harness.server import start_server

_TOKEN = "a-token-of-this-test"


@pytest.fixture(scope="module")
def stub_server():
    with start_server(engine="stub", max_body_bytes=200_000) as server:
        yield server


@pytest.mark.parametrize(
    ("content", "name", "words"),
    [
        (pictures.built_in()[:20_000], "cut.jpg", ("cannot be decoded", "no end marker", "422 undecodable")),
        (
            b"<svg xmlns='http://www.w3.org/2000/svg'/>",
            "a.svg",
            ("Not a JPEG", "SVG drawing", "415 unsupported"),
        ),
        (huge_jpeg(65_500, 65_500), "huge.jpg", ("65500 x 65500", "smaller copy", "413 picture_too_large")),
        (b"", "empty.jpg", ("empty", "400 malformed")),
        (b"GIF89a" + bytes(300), "x.gif", ("This is a GIF picture", "415 unsupported_format")),
        (b"\0\0\0\x18ftypheic" + bytes(300), "photo.jpg", ("HEIC", "iPhone", "415 unsupported_format")),
        (b"<!doctype html><html>Sign in", "photo.jpg", ("HTML page", "415 unsupported_format")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_hostile_file_is_refused_in_words(visit, stub_server, content, name, words):
    opened = visit(stub_server.url)
    opened.choose(content, name)
    said = opened.notice()
    assert [word for word in words if word not in said] == []
    assert opened.page.locator(".joint").count() == 0
    assert len(opened.detections()) == 1  # asking again would not help
    opened.choose(command_png(Command.OK), "good.png", "image/png")  # and the page continues
    opened.wait_for_skeleton()
    assert opened.page.is_hidden("#notice")


def test_too_large_a_file_is_offered_as_a_copy(visit, stub_server, astronaut):
    page = cv2.imdecode(np.frombuffer(astronaut, np.uint8), cv2.IMREAD_COLOR)
    large = cv2.imencode(".png", cv2.resize(page, (900, 700)))[1].tobytes()
    assert len(large) > 200_000
    opened = visit(stub_server.url)
    expect(opened.page.locator("#model")).to_contain_text("stub")
    opened.choose(large, "large.png", "image/png")
    assert "this server accepts up to 200 kB" in opened.notice()
    assert opened.detections() == []
    opened.page.click("text=Send a JPEG copy that fits")
    opened.wait_for_skeleton()
    assert "large-copy.jpg" in opened.page.inner_text("#summary")


def test_another_format_can_be_sent_as_a_copy(visit, stub_server):
    picture = cv2.imencode(".bmp", np.full((40, 60, 3), 90, np.uint8))[1].tobytes()
    opened = visit(stub_server.url)
    opened.choose(picture, "old.bmp", "image/bmp")
    assert "415 unsupported_format" in opened.notice()
    opened.page.click("text=Send a JPEG copy that fits")
    opened.wait_for_skeleton()
    assert "60 × 40" in opened.page.inner_text("#summary")


def test_a_jpeg_without_its_end_marker_can_be_sent_as_a_copy(visit, stub_server, astronaut):
    opened = visit(stub_server.url)
    opened.choose(astronaut[:-2], "no-end.jpg")
    said = opened.notice()
    assert "no end marker" in said
    assert "422 undecodable" in said
    opened.page.click("text=Send a JPEG copy that fits")
    opened.wait_for_skeleton()
    assert "no-end-copy.jpg" in opened.page.inner_text("#summary")


def test_a_token_is_asked_for_kept_and_forgotten_when_wrong(visit, start, tmp_path):
    folder = tmp_path / "tokens"
    folder.mkdir()
    (folder / "me").write_text(_TOKEN)
    opened = visit(start(engine="stub", auth_tokens_dir=folder).url)
    page = opened.page
    page.wait_for_selector("#token-form:not([hidden])")
    page.fill("#token", "wrong")
    page.press("#token", "Enter")
    expect(page.locator("#notice")).to_contain_text("not accepted")
    page.fill("#token", _TOKEN)
    page.press("#token", "Enter")
    page.wait_for_selector("#token-form", state="hidden")
    page.click("#sample")
    opened.wait_for_skeleton()
    assert page.is_hidden("#notice")
    assert 'Authorization: Bearer $TOKEN"' in page.inner_text("#code")
    assert _TOKEN not in page.content()
    page.reload()
    page.click("#sample")
    opened.wait_for_skeleton()
    assert page.is_hidden("#token-form")


def _taken(server):
    return server.metrics("running") + server.metrics("queue_depth")


@pytest.fixture
def full_server(start):
    """A server, and how its one worker and its one waiting place are taken for three seconds."""
    server = start(engine="stub", workers=1, queue_length=1)
    with ThreadPoolExecutor(2) as callers:

        def fill():
            for number in range(2):
                picture = command_png(Command.OK, 1_500, b"%d" % number)
                callers.submit(client.post, server.url + "/v1/detect", picture)
                server.wait_until(lambda least=number: _taken(server) > least, "taken")

        yield server, fill


def test_no_capacity_is_counted_down_and_tried_again(visit, full_server):
    server, fill = full_server
    opened = visit(server.url)
    expect(opened.page.locator("#model")).to_contain_text("stub")
    fill()
    opened.choose(command_png(Command.OK, 1), "mine.png", "image/png")
    said = opened.notice()
    assert "No capacity: the queue is full" in said
    assert "503 queue_full" in said
    assert "All 1 waiting places are taken" in said
    first = opened.page.inner_text(".countdown")
    assert first.startswith("Trying again in ")
    opened.page.wait_for_function(
        "first => document.querySelector('.countdown')?.textContent !== first", arg=first
    )
    opened.wait_for_skeleton()
    assert opened.page.is_hidden("#notice")
    assert 2 <= len(opened.detections()) <= 7


def test_the_countdown_can_be_stopped(visit, full_server):
    server, fill = full_server
    opened = visit(server.url)
    expect(opened.page.locator("#model")).to_contain_text("stub")
    fill()
    opened.choose(command_png(Command.OK, 1), "mine.png", "image/png")
    opened.notice()
    opened.page.click("text=Stop")
    assert opened.page.is_hidden("#notice")
    sent = len(opened.detections())
    server.wait_until(lambda: server.metrics("running") == 0, "free")
    opened.page.click("#again")  # the next one is this, and no timer's
    opened.wait_for_skeleton()
    assert len(opened.detections()) == sent + 1


def test_the_quota_is_counted_down(visit, start):
    server = start(engine="stub", rate_limit_per_minute=60, rate_limit_burst=1)
    opened = visit(server.url)
    opened.choose(command_png(Command.OK, 1), "one.png", "image/png")
    opened.wait_for_skeleton()
    assert "quota" in opened.page.inner_text("#timing")
    opened.page.click("#again")
    assert "429 quota" in opened.notice()
    assert opened.page.inner_text(".countdown").startswith("Trying again in ")


def test_a_slow_answer_shows_the_seconds_and_can_be_taken_back(visit, start):
    server = start(engine="stub", workers=1, env={"STUB_MS": "6000"})
    opened = visit(server.url)
    opened.page.click("#sample")
    expect(opened.page.locator("#busy-text")).to_contain_text("2 s")
    opened.choose(
        command_png(Command.OK, 1, b"next"), "next.png", "image/png"
    )  # takes the place of the first
    opened.page.wait_for_selector("#busy:not([hidden])")
    server.wait_until(lambda: server.metrics("queue_depth") == 1, "waiting")
    opened.page.click("#cancel")
    assert "Cancelled" in opened.notice()
    assert opened.page.is_hidden("#busy")
    server.wait_until(lambda: server.metrics("queue_depth") == 0, "free", timeout_seconds=3)


def test_an_unreachable_server_is_reported(visit, start):
    server = start(engine="stub")
    opened = visit(server.url)
    expect(opened.page.locator("#pill")).to_have_text("ready")
    server.terminate()
    server.wait(10)
    expect(opened.page.locator("#pill")).to_have_text("no answer")
    opened.choose(command_png(Command.OK, 1), "mine.png", "image/png")
    assert "cannot be reached" in opened.notice()
    opened.faults = [fault for fault in opened.faults if "ERR_CONNECTION_REFUSED" not in fault]


def test_the_state_follows_the_work(visit, start):
    server = start(engine="stub", workers=1)
    opened = visit(server.url)
    opened.page.wait_for_selector(".workers .ready")
    picture = command_png(Command.OK, 4_000)
    sender = threading.Thread(target=client.post, args=(server.url + "/v1/detect", picture))
    begun = time.monotonic()
    sender.start()
    opened.page.wait_for_selector(".workers .busy-worker")
    assert time.monotonic() - begun < 4
    assert "1 of 1 busy" in opened.page.inner_text("#health")
    sender.join()
