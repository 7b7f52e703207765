"""Forms as pages send them: a plain HTML form, a FormData, and "Try it out" of the reference."""

import pytest

from engines.stub_engine import Command, command_png
from harness.server import start_server

_FORM = """<!doctype html><meta charset="utf-8">
<form action="%s/v1/detect" method="post" enctype="multipart/form-data">
  <input type="hidden" name="_charset_"><input name="comment" value="ä">
  <input type="file" name="picture"><input type="file" name="more"><button name="send">Send</button>
</form>"""
_FORM_DATA = """async (bytes) => {
  const data = new FormData();
  data.append("options", new Blob([JSON.stringify({ a: 1 })], { type: "application/json" }));
  data.append("picture", new File([Uint8Array.from(bytes)], "holiday/Bild ä.png", { type: "image/png" }));
  const answer = await fetch("v1/detect", { method: "POST", body: data });
  return [answer.status, await answer.json()];
}"""
_DATA_URL = """async (bytes) => {
  const blob = new Blob([Uint8Array.from(bytes)], { type: "image/png" });
  const url = await new Promise((done) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result);
    reader.readAsDataURL(blob);
  });
  const answers = [];
  const form = new FormData();
  form.append("image", url);
  for (const body of [url, JSON.stringify({ image: url }), form]) {
    answers.push((await fetch("v1/detect", { method: "POST", body })).status);
  }
  return answers;
}"""


@pytest.fixture(scope="module")
def stub_server():
    with start_server(engine="stub") as server:
        yield server


def _file(salt, name="Bild ä.png"):
    return {"name": name, "mimeType": "image/png", "buffer": command_png(Command.OK, 0, salt)}


def _form_of_another_page(visit, server):
    opened = visit(server.url)
    page = {"content_type": "text/html", "body": _FORM % server.url}
    opened.page.route("http://page.test/", lambda route: route.fulfill(**page))
    opened.page.goto("http://page.test/")
    return opened


def test_a_plain_form_is_answered(visit, stub_server):
    opened = _form_of_another_page(visit, stub_server)
    opened.page.set_input_files("[name=picture]", _file(b"plain form"))
    with opened.page.expect_response("**/v1/detect") as caught:
        opened.page.click("button")
    assert caught.value.status == 200
    answer = caught.value.json()
    assert len(answer["people"]) == 1


def test_a_plain_form_without_a_file_is_told_to_choose_one(visit, stub_server):
    opened = _form_of_another_page(visit, stub_server)
    with opened.page.expect_response("**/v1/detect") as caught:
        opened.page.click("button")
    assert caught.value.status == 400
    assert "choose a picture" in caught.value.json()["detail"]
    opened.faults = [fault for fault in opened.faults if "400" not in fault]


def test_form_data_and_data_urls_are_answered(visit, stub_server):
    opened = visit(stub_server.url)
    status, answer = opened.page.evaluate(_FORM_DATA, list(command_png(Command.OK, 0, b"form data")))
    assert status == 200
    assert len(answer["people"]) == 1
    assert opened.page.evaluate(_DATA_URL, list(command_png(Command.OK, 0, b"data URL"))) == [200, 200, 200]


@pytest.mark.parametrize("kind", ["multipart/form-data", "application/json"])
def test_the_reference_can_send_each_form(visit, stub_server, kind):
    opened = visit(stub_server.url + "/docs")
    operation = opened.page.locator("#operations-pose-detect")
    operation.locator(".opblock-summary-control").first.click()
    operation.locator("button.try-out__btn").click()
    operation.locator(".opblock-section-request-body select").first.select_option(kind)
    if kind == "multipart/form-data":
        operation.locator("input[type=file]").set_input_files(_file(b"reference"))
    with opened.page.expect_response("**/v1/detect") as caught:
        operation.locator("button.execute").click()
    assert caught.value.status == 200, caught.value.text()
    assert kind in caught.value.request.headers["content-type"]
    assert "people" in caught.value.json()
