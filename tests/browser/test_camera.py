"""The camera: a still picture, and live mode with at most one request in flight (Chromium's fake camera)."""

from playwright.sync_api import expect

from engines.stub_engine import Command, command_png
from harness import client

_FRAMES = 6


def test_a_still_is_sent(visit, pose_server):
    opened = visit(pose_server.url)
    opened.page.click("#camera")
    opened.page.wait_for_selector("#video:not([hidden])")
    opened.page.click("#snap")
    expect(opened.page.locator("#summary")).to_contain_text("1280 × 720 · camera.jpg")
    assert opened.page.is_hidden("#camera-bar")
    assert opened.page.evaluate("document.getElementById('video').srcObject") is None


def test_live_sends_the_next_frame_when_the_answer_is_there(visit, start):
    server = start(engine="stub", workers=2, env={"STUB_MS": "60"})
    opened = visit(server.url)
    under_way, most = set(), 0

    def began(request):
        nonlocal most
        if request.url.endswith("/v1/detect"):
            under_way.add(request)
            most = max(most, len(under_way))

    opened.page.on("request", began)
    opened.page.on("requestfinished", lambda request: under_way.discard(request))
    opened.page.on("requestfailed", lambda request: under_way.discard(request))
    opened.page.click("#camera")
    opened.page.click("#live")
    server.wait_until(lambda: server.metrics("completed_total") >= _FRAMES, "frames", timeout_seconds=30)
    expect(opened.page.locator("#rate")).to_contain_text("frames a second")
    expect(opened.page.locator(".joint")).to_have_count(33)
    opened.page.click("#live")
    expect(opened.page.locator("#live")).to_have_text("Go live")
    server.wait_until(lambda: server.metrics("running") == 0, "idle")
    sent = len(opened.detections())
    opened.page.click("#camera-off")
    expect(opened.page.locator("#camera-bar")).to_be_hidden()
    assert len(opened.detections()) == sent >= _FRAMES
    assert most == 1


def test_live_waits_when_there_is_no_capacity(visit, start):
    server = start(engine="stub", rate_limit_per_minute=60, rate_limit_burst=2)
    opened = visit(server.url)
    opened.page.click("#camera")
    opened.page.click("#live")
    said = opened.notice()
    assert "429 quota" in said
    assert "Trying again in" in said
    server.wait_until(
        lambda: server.metrics("http_requests_total", route="/v1/detect", code="200") >= 3, "on again"
    )
    refused = server.metrics("http_requests_total", route="/v1/detect", code="429")
    assert refused <= 4, "it waits between retries"
    assert client.post(server.url + "/v1/detect", command_png(Command.OK)).status in (200, 429)


def test_without_a_camera_it_says_so(visit, pose_server):
    opened = visit(pose_server.url)
    opened.page.evaluate("""() => {
        const refuse = () => Promise.reject(Object.assign(new Error("no"), { name: "NotAllowedError" }));
        navigator.mediaDevices.getUserMedia = refuse;
    }""")
    opened.page.click("#camera")
    assert "camera was denied" in opened.notice()
    opened.page.click("#sample")
    opened.wait_for_skeleton()
