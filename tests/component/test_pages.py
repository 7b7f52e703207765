"""The pages and their files over HTTP: compression, revalidation, no token, 404 for other names."""

import gzip
import re
import urllib.parse

import pytest

from harness import client
from harness.server import start_server

_PAGES = ("/", "/docs")


@pytest.fixture(scope="module")
def server():
    with start_server(engine="stub") as server:
        yield server


def test_pages_are_served_compressed_or_plain(server):
    for path in _PAGES:
        plain = client.get(server.url + path)
        packed = client.get(server.url + path, headers={"Accept-Encoding": "gzip, br"})
        assert (plain.status, packed.status) == (200, 200)
        assert plain.headers["Content-Type"] == "text/html; charset=utf-8"
        assert plain.headers["Content-Encoding"] is None
        assert packed.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(packed.body) == plain.body
        assert plain.headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in plain.headers["Content-Security-Policy"]


def test_every_file_that_a_page_names_is_served(server):
    for path in _PAGES:
        page = client.get(server.url + path).body.decode()
        named = re.findall(r'(?:src|href)="([^#"]+)"', page)
        assert len(named) >= 5
        for name in named:
            reply = client.get(urllib.parse.urljoin(server.url + path, name))
            assert reply.status == 200, name
            assert reply.headers["X-Request-Id"]


def test_a_known_file_is_not_sent_again(server):
    for path in (*_PAGES, "/assets/main.js", "/assets/astronaut.jpg"):
        first = client.get(server.url + path)
        tag = first.headers["ETag"]
        again = client.get(server.url + path, headers={"If-None-Match": f'"other", {tag}'})
        assert (again.status, again.body) == (304, b"")
        assert again.headers["ETag"] == tag
        assert client.get(server.url + path, headers={"If-None-Match": 'W/"other"'}).status == 200
        head = client.request("HEAD", server.url + path)
        assert (head.status, head.body) == (200, b"")
        assert head.headers["Content-Length"] == str(len(first.body))


@pytest.mark.parametrize(
    "name", ["index.html", "docs.html", "nothing.js", "..%2fhandlers.py", "%2e%2e%2fpages.py"]
)
def test_other_names_are_not_found(server, name):
    reply = client.get(f"{server.url}/assets/{name}")
    assert (reply.status, reply.reason) == (404, "not_found")


def test_pages_need_no_token_and_are_no_detections(start, tmp_path):
    folder = tmp_path / "tokens"
    folder.mkdir()
    (folder / "one").write_text("secret")
    server = start(engine="stub", auth_tokens_dir=folder, rate_limit_per_minute=1, rate_limit_burst=1)
    for path in (*_PAGES, "/assets/main.js", "/openapi.json"):
        assert [client.get(server.url + path).status for _ in range(3)] == [200] * 3
    assert client.get(server.url + "/v1/model").status == 401
    assert server.metrics("arrivals_total") == 0
    assert server.metrics("http_requests_total", route="/assets/{name}", code="200") == 3
