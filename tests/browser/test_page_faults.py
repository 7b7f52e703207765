"""Faults around the page: malformed answers, late cameras, browsers that refuse."""

import pytest
from playwright.sync_api import expect

from engines.stub_engine import Command, command_png
from harness.server import start_server

_LATE_CAMERA = """() => {
  const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  globalThis.given = [];
  globalThis.answers = [];
  navigator.mediaDevices.getUserMedia = async (wish) => {
    await new Promise((done) => answers.push(done));
    const stream = await ask(wish);
    given.push(stream.getTracks()[0]);
    return stream;
  };
}"""
_ANSWER_ALL = "() => answers.forEach((done) => done())"
_CUT_OFF = """() => {
  const ask = globalThis.fetch;
  const cut = { start: (body) => body.error(new TypeError("cut off")) };
  globalThis.fetch = async (url, options) => String(url).endsWith("v1/detect")
    ? new Response(new ReadableStream(cut)) : ask(url, options);
}"""
_ASKED_MORE = """(before) => performance.getEntriesByType("resource")
  .filter((one) => one.name.endsWith("/v1/detect")).length > before + 2"""
# the first answer is there in full, but the page hears of it last
_FIRST_IS_LATE = """() => {
  const ask = globalThis.fetch;
  let first = true;
  globalThis.fetch = async (url, { signal, ...options } = {}) => {
    if (!String(url).endsWith("v1/detect") || !first) return ask(url, { signal, ...options });
    first = false;
    const answer = await ask(url, options);
    await new Promise((done) => (globalThis.release = done));
    return answer;
  };
}"""


@pytest.fixture(scope="module")
def stub_server():
    with start_server(engine="stub") as server:
        yield server


def _choose(opened, name="mine.png", salt=b""):
    opened.choose(command_png(Command.OK, 1, salt), name, "image/png")


def test_an_html_page_from_a_proxy_is_reported(visit, stub_server):
    opened = visit(stub_server.url)
    login = {"status": 200, "content_type": "text/html", "body": "<html>Who are you?</html>"}
    opened.page.route("**/v1/detect", lambda route: route.fulfill(**login))
    _choose(opened)
    assert "The answer cannot be read" in opened.notice()
    opened.page.unroute("**/v1/detect")
    opened.page.click("text=Try again")
    opened.wait_for_skeleton()


def test_a_truncated_answer_is_reported(visit, stub_server):
    opened = visit(stub_server.url)
    opened.page.evaluate(_CUT_OFF)
    _choose(opened)
    assert "was cut off" in opened.notice()
    assert opened.page.is_hidden("#busy")


def test_text_from_elsewhere_is_never_interpreted_as_html(visit, stub_server):
    opened = visit(stub_server.url)
    tag = "<img src=x onerror=alert(1)>"
    problem = {"title": tag, "detail": "<script>alert(1)</script>", "reason": "<b>", "status": 422}
    opened.page.route("**/v1/detect", lambda route: route.fulfill(status=422, json=problem))
    _choose(opened, f"{tag}.png")
    said = opened.notice()
    assert tag in said
    assert "<script>alert(1)</script>" in said
    assert opened.page.locator("#notice img, #notice script, #notice b").count() == 0


def test_an_answer_that_comes_late_does_not_take_the_newer_ones_place(visit, stub_server):
    opened = visit(stub_server.url)
    opened.page.evaluate(_FIRST_IS_LATE)
    _choose(opened, "first.png", b"1")
    opened.page.wait_for_function("() => globalThis.release")
    _choose(opened, "second.png", b"2")
    opened.wait_for_skeleton()
    shown = opened.page.inner_text("#timing")
    opened.page.evaluate("release()")
    opened.page.evaluate("() => new Promise((done) => setTimeout(done))")
    assert opened.page.inner_text("#timing") == shown
    assert "second.png" in opened.page.inner_text("#summary")


def test_a_file_over_the_limit_is_not_sent_before_the_limit_is_known(visit, stub_server):
    opened = visit(stub_server.url)
    held = []
    opened.page.route("**/v1/model", lambda route: held.append(route))
    opened.page.reload()
    opened.choose(b"\xff\xd8\xff" + bytes(11_000_000))
    expect(opened.page.locator("#busy")).to_be_visible()
    for route in held:
        route.continue_()
    assert "413 body_too_large" in opened.notice()
    assert opened.detections() == []
    assert opened.page.is_hidden("#busy")


def test_a_token_that_no_header_can_hold_is_not_accepted(visit, start, tmp_path):
    folder = tmp_path / "tokens"
    folder.mkdir()
    (folder / "me").write_text("a-token-of-this-test")
    opened = visit(start(engine="stub", auth_tokens_dir=folder).url)
    opened.page.fill("#token", "t☃ken")
    opened.page.press("#token", "Enter")
    expect(opened.page.locator("#notice")).to_contain_text("not accepted")
    expect(opened.page.locator("#pill")).to_have_text("ready")


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_credentials_in_the_address_are_not_shown(visit, stub_server, path):
    opened = visit(stub_server.url.replace("http://", "http://name:password@") + path)
    if path == "/docs":
        opened.page.wait_for_selector(".opblock")
    else:
        opened.page.click("#sample")
        opened.wait_for_skeleton()
    assert "password" not in opened.page.inner_text("body")


def test_a_missing_state_is_not_replaced_by_the_last_one(visit, stub_server):
    opened = visit(stub_server.url)
    expect(opened.page.locator("#pill")).to_have_text("ready")
    opened.page.route("**/healthz", lambda route: None)
    expect(opened.page.locator("#pill")).to_have_text("no answer")


def test_a_server_with_tokens_shows_only_its_status(visit, tmp_path):
    (tmp_path / "one").write_text("a-token-for-this-test")
    with start_server(engine="stub", auth_tokens_dir=str(tmp_path)) as server:
        opened = visit(server.url)
        expect(opened.page.locator("#pill")).to_have_text("ready")
        expect(opened.page.locator("#health")).to_have_text(
            "No details, because this server requires tokens."
        )


def test_a_refused_clipboard_is_reported(visit, stub_server):
    opened = visit(stub_server.url)
    opened.page.evaluate("""() => {
        navigator.clipboard.writeText = () => Promise.reject(new DOMException("no", "NotAllowedError"));
        document.execCommand = () => false;
    }""")
    opened.page.click("#copy-code")
    expect(opened.page.locator("#copy-code")).to_have_text("Not allowed")


def test_joints_are_shown_even_if_the_browser_cannot_show_the_picture(visit, stub_server):
    opened = visit(stub_server.url)
    opened.page.evaluate("""() => {
        HTMLImageElement.prototype.decode = () => Promise.reject(new DOMException("no", "EncodingError"));
    }""")
    _choose(opened)
    opened.wait_for_skeleton()
    assert opened.page.is_visible("#frame")


def test_a_click_beside_all_joints_names_none(visit, stub_server):
    opened = visit(stub_server.url)
    _choose(opened)
    opened.wait_for_skeleton()
    far = opened.page.evaluate("""() => {
        const box = document.getElementById("frame").getBoundingClientRect();
        const joints = [...document.querySelectorAll(".joint")].map((one) => one.getBoundingClientRect());
        const gap = ([x, y]) => Math.min(...joints.map((one) => Math.hypot(one.x - x, one.y - y)));
        const corners = [[box.left + 4, box.top + 4], [box.right - 4, box.top + 4],
          [box.left + 4, box.bottom - 4], [box.right - 4, box.bottom - 4]];
        return corners.sort((one, other) => gap(other) - gap(one))[0];
    }""")
    opened.page.mouse.click(*far)
    assert opened.page.is_hidden("#tip")
    opened.page.keyboard.press("ArrowRight")  # it continues by keyboard
    assert opened.page.is_visible("#tip")


def test_a_camera_that_was_asked_for_twice_is_turned_on_once(visit, stub_server):
    opened = visit(stub_server.url)
    opened.page.evaluate(_LATE_CAMERA)
    opened.page.click("#camera")
    opened.page.click("#camera")
    opened.page.evaluate(_ANSWER_ALL)
    opened.page.wait_for_selector("#video:not([hidden])")
    opened.page.wait_for_function("() => given.length === 2")
    opened.page.click("#camera-off")
    opened.page.wait_for_function("() => given.every(({ readyState }) => readyState === 'ended')")


def test_a_picture_that_was_chosen_while_the_camera_was_asked_for_stays(visit, stub_server):
    opened = visit(stub_server.url)
    opened.page.evaluate(_LATE_CAMERA)
    opened.page.click("#camera")
    _choose(opened)
    opened.wait_for_skeleton()
    opened.page.evaluate(_ANSWER_ALL)
    opened.page.wait_for_function("() => given[0]?.readyState === 'ended'")
    assert opened.page.is_visible("#photo")
    assert opened.page.is_hidden("#camera-bar")


def test_a_disconnected_camera_is_reported(visit, stub_server):
    opened = visit(stub_server.url)
    opened.page.click("#camera")
    opened.page.click("#live")
    opened.page.wait_for_selector(".joint")
    opened.page.evaluate("""() => {
        document.getElementById("video").srcObject.getTracks()[0].dispatchEvent(new Event("ended"));
    }""")
    assert "The camera is no longer available" in opened.notice()
    assert opened.page.is_hidden("#camera-bar")


def test_the_selected_joint_stays_selected_from_frame_to_frame(visit, stub_server):
    opened = visit(stub_server.url)
    opened.page.click("#camera")
    opened.page.click("#live")
    opened.page.wait_for_selector(".joint")
    opened.page.focus("#skeleton")
    opened.page.keyboard.press("End")
    sent = len(opened.detections())
    opened.page.wait_for_function(_ASKED_MORE, arg=sent)
    assert opened.page.inner_text("#tip").startswith("point 32")
    assert opened.page.locator("#joints .on").count() == 1
