"""A page of another origin calls the API with fetch, as an application's own front end does."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from harness.server import start_server

# Both requests need a preflight: their fields are not among the basic ones.
_CALL = """async ([url, token, picture]) => {
  const headers = { "Authorization": `Bearer ${token}`, "X-Request-Id": "from-a-page" };
  const body = picture && Uint8Array.from(atob(picture), (letter) => letter.charCodeAt(0));
  try {
    const answer = await fetch(url, { method: "POST", headers, body });
    const read = Object.fromEntries(answer.headers);
    return { status: answer.status, headers: read, body: await answer.json() };
  } catch (error) {
    return { error: error.name };
  }
}"""
TOKEN = "a-token-for-this-test"


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b"<!doctype html><title>Another origin</title>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    """The origin of a server of pages; another port is another origin."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def call(browser, origin):
    """Calls the API from a page of the other origin; returns what its script can read."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(origin)
    yield lambda server, picture="", token=TOKEN, path="/v1/detect": page.evaluate(
        _CALL, [server.url + path, token, picture]
    )
    context.close()


@pytest.fixture(scope="module")
def tokens(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("tokens")
    (folder / "page").write_text(TOKEN, encoding="ascii")
    return str(folder)


@pytest.fixture(scope="module")
def allowing(origin, tokens):
    with start_server(engine="stub", allowed_origins=origin, auth_tokens_dir=tokens) as server:
        yield server


def test_allowed_page_reads_answer_and_fields(call, allowing, astronaut_base64):
    answer = call(allowing, astronaut_base64)

    assert answer["status"] == 200
    assert answer["body"]["people"]
    assert answer["headers"]["x-request-id"] == "from-a-page"
    assert "inference" in answer["headers"]["server-timing"]


def test_allowed_page_is_redirected(call, allowing, astronaut_base64):
    assert call(allowing, astronaut_base64, path="/v1/detect/")["status"] == 200


def test_allowed_page_reads_refusals(call, allowing):
    refused = call(allowing, "bm90IGEgcGljdHVyZQ==")
    assert (refused["status"], refused["body"]["reason"]) == (415, "unsupported_format")

    refused = call(allowing, "bm90IGEgcGljdHVyZQ==", token="a-wrong-token-of-this-test")
    assert (refused["status"], refused["body"]["reason"]) == (401, "unauthorized")


def test_a_page_can_read_retry_after(call, origin, tokens, astronaut_base64):
    limits = {"rate_limit_per_minute": 1, "rate_limit_burst": 1}
    with start_server(engine="stub", allowed_origins=origin, auth_tokens_dir=tokens, **limits) as server:
        assert call(server, astronaut_base64)["status"] == 200
        refused = call(server, astronaut_base64)

    assert (refused["status"], refused["body"]["reason"]) == (429, "quota")
    assert int(refused["headers"]["retry-after"]) >= 1


@pytest.mark.parametrize("origins", ["", "https://app.example"])
def test_page_of_another_origin_reads_nothing(call, tokens, astronaut_base64, origins):
    with start_server(engine="stub", allowed_origins=origins, auth_tokens_dir=tokens) as server:
        assert call(server, astronaut_base64) == {"error": "TypeError"}


def test_any_origin_where_there_are_no_tokens(call, astronaut_base64):
    with start_server(engine="stub", allowed_origins="*") as server:
        assert call(server, astronaut_base64)["status"] == 200
