"""A picture in base64, in a data URL or in JSON: a worker decodes it, and all other rules apply."""

import base64
import json
from collections.abc import Iterator

import pytest

from engines.stub_engine import Command, command_png
from harness import client
from harness.faults import is_right
from harness.hostile_requests import DEBUG_LOOP, assert_well, slowest_turn_seconds
from harness.pictures import built_in
from harness.server import ServerProcess, start_server

_FORMS = {
    "base64": ("text/plain", b"%s"),
    "base64 of any type": ("application/octet-stream", b"%s\n"),
    "data URL": ("text/plain", b"data:image/png;base64,%s"),
    "JSON": ("application/json", b'{"image": "%s"}'),
    "JSON with a data URL": ("application/json; charset=utf-8", b'{"image": "data:image/png;base64,%s"}'),
    "JSON without its type": ("application/x-www-form-urlencoded", b'{"image": "%s"}'),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with start_server(folder=tmp_path_factory.mktemp("encoded"), engine="stub", env=DEBUG_LOOP) as one:
        yield one


def _post(server: ServerProcess, body: bytes, kind: str = "text/plain", **headers: str) -> client.Reply:
    return client.post(server.url + "/v1/detect", body, headers={"Content-Type": kind, **headers})


@pytest.mark.hostile("H-17")
@pytest.mark.parametrize("form", _FORMS)
def test_the_answer_is_that_of_the_picture(server, form):
    kind, wrapped = _FORMS[form]
    comment = form.encode()
    body = wrapped % base64.b64encode(command_png(Command.OK, 0, comment))
    reply = _post(server, body, kind)
    assert is_right(reply, Command.OK, 0, comment), reply
    assert not reply.json()["cached"]
    assert _post(server, body, kind).json()["cached"]
    drawn = _post(server, body, kind, Accept="image/jpeg")
    assert drawn.status == 200
    assert drawn.body.startswith(b"\xff\xd8\xff")
    assert_well(server)


def test_a_picture_in_base64_in_a_form_is_a_picture(server):
    picture = command_png(Command.OK, 0, b"in a form")
    text = b"data:image/png;base64," + base64.b64encode(picture)
    head = b'--b\r\nContent-Disposition: form-data; name="image"\r\n\r\n'
    reply = _post(server, head + text + b"\r\n--b--\r\n", "multipart/form-data; boundary=b")
    assert is_right(reply, Command.OK, 0, b"in a form"), reply


def test_faults_behind_the_beginning_are_found_by_the_worker(server):
    jpeg = built_in()
    padded = base64.b64encode(jpeg[:2] + b"\xff\xfe\xff\xff" + bytes(65_533) + jpeg[2:])
    long_text = base64.b64encode(jpeg + bytes(300_000))
    pids = server.worker_pids()
    before = server.metrics("failed_total", reason="malformed")
    for body, refused in (
        (long_text[:-400] + b"*" * 400, (400, "malformed")),
        (b'{"image": "' + long_text[:-400] + rb"\u12" + b'"}', (400, "malformed")),
        (base64.b64encode(jpeg[:-2] + bytes(300_000)), (422, "undecodable")),
        (padded[: len(padded) // 8 * 4], (422, "undecodable")),
    ):
        reply = _post(server, body)
        assert (reply.status, reply.reason) == refused, reply
    assert server.metrics("failed_total", reason="malformed") == before + 2
    assert server.worker_pids() == pids
    assert_well(server)


@pytest.mark.acceptance(13)
def test_the_limit_counts_the_bytes_as_sent(start):
    limit = 1 << 20
    server = start(engine="stub", max_body_bytes=limit)
    start_of_text = b'{"image": "'
    picture = command_png(Command.OK)
    text = base64.b64encode(picture.ljust((limit - 20) // 4 * 3, b"\0"))
    body = start_of_text + text + b'"}'
    assert _post(server, body.ljust(limit)).status == 200
    over = _post(server, body.ljust(limit + 1))
    assert (over.status, over.reason) == (413, "body_too_large")
    assert str(limit) in over.json()["detail"]


def test_the_largest_bodies_do_not_stall_the_server(start, record_figure):
    server = start(engine="stub", env=DEBUG_LOOP, hang_limit_ms=30_000, deadline_ms=40_000)
    limit = 10 << 20
    picture = command_png(Command.OK).ljust((limit - 1_000_000) // 4 * 3, b"\0")
    text = base64.b64encode(picture)
    escaped = json.dumps({"image": text[: 4 << 20].decode()}).replace("A", r"\u0041")
    bodies = [text, base64.encodebytes(picture), b'{"image": "%s"}' % text, escaped.encode()[:limit]]
    for body in bodies:
        assert len(body) <= limit
        assert _post(server, body).status in (200, 400)
    stall = slowest_turn_seconds(server.logs())
    record_figure("slowest turn (0: under 0.1 s)", stall, bar="<= 0.25 s", unit="s", sample=len(bodies))
    assert_well(server)
