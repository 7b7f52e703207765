"""Check 36: the OpenAPI document is complete, tested with requests that are generated from it."""

import json

import pytest

from harness import client
from harness.contract import run_schemathesis
from harness.hostile_requests import DEBUG_LOOP, STALL_SECONDS, assert_well, slowest_turn_seconds

_ACCEPTED_SHARE = 0.2


@pytest.mark.serial
@pytest.mark.acceptance(36)
@pytest.mark.timeout(180)
def test_operations_of_the_document_get_documented_answers(start, seed, tmp_path, record_figure, long_run):
    server = start(engine="stub", env=DEBUG_LOOP)
    workers = server.worker_pids()
    document = server.url + "/openapi.json"
    ended = run_schemathesis(document, seed, tmp_path, seconds=120 if long_run else 14)
    assert ended.returncode == 0, ended.stdout[-4_000:]
    sent = server.metrics("http_requests_total")
    accepted = server.metrics("http_requests_total", code="200")
    record_figure(
        "generated from the document", accepted / sent, bar="no 500", unit="accepted", sample=int(sent)
    )
    assert sent >= 400
    assert accepted >= _ACCEPTED_SHARE * sent
    for route in ("/v1/detect", "/v1/model", "/healthz", "/", "/docs", "/assets/{name}"):
        assert server.metrics("http_requests_total", route=route, code="200") > 0
    assert server.metrics("http_requests_total", code="405") > 0
    assert slowest_turn_seconds(server.logs()) <= STALL_SECONDS
    assert_well(server, workers=workers)


@pytest.mark.serial
@pytest.mark.acceptance(36)
@pytest.mark.timeout(120)
def test_the_document_holds_where_tokens_are_asked_for(start, seed, tmp_path):
    folder = tmp_path / "tokens"
    folder.mkdir()
    (folder / "one").write_text("secret")
    server = start(engine="stub", auth_tokens_dir=folder)
    ended = run_schemathesis(server.url + "/openapi.json", seed, tmp_path, seconds=6)
    assert ended.returncode == 0, ended.stdout[-4_000:]
    assert server.metrics("http_requests_total", route="/v1/detect", code="401") > 0
    assert server.metrics("http_requests_total", route="/docs", code="200") > 0


@pytest.mark.acceptance(36)
@pytest.mark.control
@pytest.mark.parametrize(
    ("path", "method", "status"), [("/v1/detect", "post", "415"), ("/assets/{name}", "get", "404")]
)
def test_a_status_that_the_document_lacks_is_found(start, seed, tmp_path, path, method, status):
    server = start(engine="stub")
    document = client.get(server.url + "/openapi.json").json()
    del document["paths"][path][method]["responses"][status]
    file = tmp_path / "openapi.json"
    file.write_text(json.dumps(document))
    ended = run_schemathesis(str(file), seed, tmp_path, seconds=60, url=server.url)  # ends with the first
    assert ended.returncode == 1
    assert status in ended.stdout
