"""The methods of each path, and redirects of addresses with an extra slash."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin

import pytest

from engines.stub_engine import Command, command_png, nose_x
from harness import client
from harness.hostile_requests import request
from harness.raw import exchange
from harness.server import ServerProcess, start_server

DETECT = "/v1/detect"
GET_PATHS = ("/v1/model", "/healthz", "/openapi.json", "/", "/docs", "/assets/api.js")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with start_server(folder=tmp_path_factory.mktemp("routes"), engine="stub") as one:
        yield one


@pytest.mark.parametrize("path", [DETECT, *GET_PATHS])
def test_options_names_the_methods_of_a_path(server: ServerProcess, path: str) -> None:
    reply = client.request("OPTIONS", server.url + path)
    assert (reply.status, reply.body) == (204, b"")
    assert reply.headers["Allow"] == ("OPTIONS, POST" if path == DETECT else "GET, HEAD, OPTIONS")


def test_options_of_the_server_names_all_methods(server: ServerProcess) -> None:
    seen = exchange(server.address, request(line=b"OPTIONS * HTTP/1.1"), responses=1)
    assert seen.statuses == [204]
    assert seen.responses[0].headers["allow"] == "GET, HEAD, OPTIONS, POST"
    assert "content-length" not in seen.responses[0].headers
    for line in (b"GET * HTTP/1.1", b"POST * HTTP/1.1", b"OPTIONS ** HTTP/1.1", b"OPTIONS x HTTP/1.1"):
        assert exchange(server.address, request(line=line)).statuses == [400]


def test_options_of_an_unknown_path_is_not_found(server: ServerProcess) -> None:
    assert client.request("OPTIONS", server.url + "/v1/nothing").status == 404


@pytest.mark.smoke
@pytest.mark.parametrize("path", GET_PATHS)
def test_a_head_request_equals_get_without_the_body(server: ServerProcess, path: str) -> None:
    head, get = (client.request(method, server.url + path) for method in ("HEAD", "GET"))
    assert (head.status, head.body) == (200, b"")
    assert head.headers["Content-Type"] == get.headers["Content-Type"]


@pytest.mark.parametrize("method", ["HEAD", "GET", "PUT"])
def test_other_methods_are_refused_with_the_allowed_ones(server: ServerProcess, method: str) -> None:
    reply = client.request(method, server.url + DETECT)
    assert (reply.status, reply.headers["Allow"]) == (405, "OPTIONS, POST")


@pytest.mark.parametrize("path", [DETECT, *GET_PATHS[:3], "/docs"])
def test_a_slash_at_the_end_is_redirected(server: ServerProcess, path: str) -> None:
    for method in ("GET", "POST", "HEAD"):
        reply = client.request(method, f"{server.url}{path}/?draw=png&a=b%20c")
        assert reply.status == 308
        for base in ("", "/below/an/ingress"):
            address = urljoin(f"http://host{base}{path}/?draw=png", reply.headers["Location"])
            assert address == f"http://host{base}{path}?draw=png&a=b%20c"


@pytest.mark.parametrize("path", [DETECT, "/v1/model"])
def test_options_is_answered_with_a_slash_too(server: ServerProcess, path: str) -> None:
    reply, plain = (client.request("OPTIONS", server.url + path + end) for end in ("/", ""))
    assert (reply.status, reply.headers["Allow"]) == (204, plain.headers["Allow"])


def test_curl_follows_with_method_body_and_parameters(server: ServerProcess, tmp_path: Path) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not on PATH")
    picture = tmp_path / "picture.png"
    picture.write_bytes(command_png(Command.OK, 0, b"redirected"))
    address = f"{server.url}{DETECT}/?keypoints=coco"
    for way in (["--data-binary", f"@{picture}"], ["-F", f"picture=@{picture}"]):
        ended = subprocess.run([curl, "-sSL", *way, address], capture_output=True, timeout=20, check=True)
        assert f"{nose_x(Command.OK, 0, b'redirected'):.9g}".encode() in ended.stdout


@pytest.mark.hostile("H-14")
@pytest.mark.parametrize(
    "target",
    [
        b"//evil.example/",
        b"/v1/detect//",
        b"//v1/detect/",
        b"//",
        b"/nope/",
        b"/v1/",
        b"/%2fdocs/",
        b"/assets/",
    ],
)
def test_no_other_address_is_redirected(server: ServerProcess, target: bytes) -> None:
    seen = exchange(server.address, request(line=b"GET %s HTTP/1.1" % target), responses=1)
    assert seen.statuses == [404]


@pytest.mark.hostile("H-14")
@pytest.mark.parametrize("query", [b"\xff\xfe", b"%", b'"<script>', "ä".encode(), b"a=//evil.example/"])
def test_odd_bytes_in_a_redirected_query_are_escaped(server: ServerProcess, query: bytes) -> None:
    seen = exchange(server.address, request(line=b"GET /docs/?%s HTTP/1.1" % query), responses=1)
    if seen.statuses == [400]:
        return  # the parser takes no such byte
    assert seen.statuses == [308]
    location = seen.responses[0].headers["location"]
    assert location.startswith("../docs?")
    assert location.isascii()
    assert not set(location) & set(' "<>\\^`{|}')
