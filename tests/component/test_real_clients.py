"""Requests that many kinds of clients send are answered: recorded byte for byte, or sent by the clients.

`tests/tools/record_clients.py` records the requests. No Apple, Dart or WebKit client was available;
tests/unit/test_pictures_multipart.py has the boundaries that they generate.
"""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.pictures import built_in
from harness.raw import RawConnection, exchange
from harness.real_clients import COMMANDS, PICTURE, RECORDED, missing, recorded, run
from harness.server import ServerProcess, start_server

_RECORDED = recorded()
_BOUNDARIES = {
    "chromium": b"----WebKitFormBoundary",
    "firefox": b"----geckoformboundary",
    "npm-axios": b"axios-",
    "node": b"----formdata-undici-",
    "curl": b"------------------------",
    "java": b"Boundary-",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with start_server(folder=tmp_path_factory.mktemp("clients"), engine="stub", cache_entries=0) as one:
        yield one


def test_enough_clients_are_recorded():
    assert {path.name.partition("-")[0] for path in _RECORDED} >= {
        *(
            "chromium",
            "curl",
            "firefox",
            "go",
            "java",
            "node",
            "npm",
            "php",
            "python",
            "ruby",
            "shell",
            "wget",
        )
    }
    for client, boundary in _BOUNDARIES.items():
        forms = [
            path.read_bytes() for path in _RECORDED if path.name.startswith(client) and "form" in path.name
        ]
        assert forms
        assert all(boundary in one for one in forms), client
    paths = [path.name for path in _RECORDED if re.search(rb'filename="/[^"]', path.read_bytes())]
    assert {"go-form.http", "php-form.http"} <= set(paths)


@pytest.mark.hostile("H-8a")
@pytest.mark.parametrize("path", _RECORDED, ids=lambda path: path.stem)
def test_a_recorded_request_is_answered(server: ServerProcess, path: Path) -> None:
    request = path.read_bytes()
    statuses = [100, 200] if b"100-continue" in request else [200]
    seen = exchange(server.address, request, deadline_seconds=5, responses=len(statuses))
    assert seen.statuses == statuses, seen.data
    assert seen.responses[-1].headers["content-type"] == "application/json"
    assert b'"people"' in seen.responses[-1].body


@pytest.mark.control
@pytest.mark.parametrize(
    "path", [path for path in _RECORDED if "form" in path.stem], ids=lambda path: path.stem
)
def test_a_recorded_form_without_its_picture_is_refused(server: ServerProcess, path: Path) -> None:
    picture = PICTURE.read_bytes()
    request = path.read_bytes()
    assert picture in request
    without = request.replace(picture, b"x" * len(picture))
    seen = exchange(server.address, without, deadline_seconds=5, responses=1)
    assert seen.statuses == [415], seen.data


@pytest.mark.parametrize("name", COMMANDS)
def test_a_client_of_this_machine_is_answered(server: ServerProcess, name: str) -> None:
    lack = missing(name)
    if lack is not None:
        pytest.skip(f"open: {lack}")
    statuses = run(name, server.url + "/v1/detect")
    assert statuses
    assert set(statuses) == {"200"}


def test_an_offer_of_http_2_leaves_the_connection_open(server: ServerProcess) -> None:
    """Java's client makes it with each request."""
    request = (RECORDED / "java-body.http").read_bytes()
    assert b"Upgrade: h2c\r\n" in request
    with RawConnection(server.address) as connection:
        for _ in range(3):
            assert connection.send(request)
            seen = connection.read(5, responses=1)
            assert seen.statuses == [200]
            assert "connection" not in seen.responses[0].headers


@pytest.mark.parametrize(
    ("options", "refused"),
    [
        (("-d", "photo.jpg"), (415, "--data-binary @NAME")),
        (("--data-raw", "@photo.jpg"), (415, "name of a file")),
        (("-d", "@{photo}"), (422, "curl --data-binary")),
        (("--data-urlencode", "@{photo}"), (415, "percent-encoded")),
        (("--data-urlencode", "image@{photo}"), (415, "URL-encoded form")),
        (("-F", "picture=photo.jpg"), (400, "with the @")),
        (("-F", "picture=@{photo}", "-F", "second=@{photo}"), (400, "2 pictures")),
        (("-F", "picture=@{photo};encoder=base64"), (415, "without gzip or base64")),
        (
            ("-F", "picture=@{photo}", "-H", "Content-Type: application/json"),
            (415, "form without its Content-Type"),
        ),
        (("--data-binary", "@{photo}", "-H", "Content-Type: multipart/form-data"), (400, "JPEG picture")),
        (("--json", '{"image": "https://example.com/photo.jpg"}'), (400, "not fetched by URL")),
        (("--json", '{"url": "https://example.com/photo.jpg"}'), (400, "not fetched by URL")),
        (("--json", '{"image": "not base64!"}'), (400, "base64")),
        (("--json", '{"file": "/9j/4AAQ"}'), (400, "no other member")),
        (("--data-binary", ""), (400, "empty")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value[0], str) else "",
)
def test_a_mistake_with_curl_is_explained(
    server: ServerProcess, tmp_path: Path, options: tuple[str, ...], refused: tuple[int, str]
) -> None:
    if (lack := missing("curl body")) is not None:
        pytest.skip(f"open: {lack}")
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(built_in())
    words = [option.replace("{photo}", str(photo)) for option in options]
    done = subprocess.run(
        ["curl", "-s", *words, server.url + "/v1/detect"],  # a shell would need quotes
        capture_output=True,
        cwd=tmp_path,
        timeout=20,
        check=True,
    )
    problem = json.loads(done.stdout)
    assert (problem["status"], refused[1] in problem["detail"]) == (refused[0], True), problem["detail"]
