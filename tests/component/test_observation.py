"""What an administrator can observe of single requests: log lines, trace contexts, spans."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from harness import client
from harness.pictures import built_in, unique_jpeg
from harness.server import ServerProcess
from harness.stub import DETECT

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = f"00-{TRACE}-{SPAN}-01"
Start = Callable[..., ServerProcess]
_numbers = count()


def _picture() -> bytes:
    return unique_jpeg(built_in(), next(_numbers))


def _lines(server: ServerProcess, message: str, least: int = 1) -> list[dict[str, Any]]:
    """The JSON log lines of this message, once there are `least`: a thread of the server writes them."""

    def found() -> list[dict[str, Any]]:
        lines = [line for line in server.logs().splitlines() if line.startswith("{") and line.endswith("}")]
        return [line for line in map(json.loads, lines) if line["message"] == message]

    server.wait_until(lambda: len(found()) >= least, f"{least} lines {message!r} in the log")
    return found()


def test_request_log_has_a_line_for_each_request(start: Start) -> None:
    server = start(engine="stub", request_log="all", log_format="json")
    picture = _picture()
    answer = client.post(server.url + DETECT, picture, headers={"X-Request-Id": "holiday-17"})
    hit = client.post(server.url + DETECT, picture)
    refused = client.post(server.url + DETECT, b"not a picture")
    model = client.get(server.url + "/v1/model")

    assert [reply.status for reply in (answer, hit, refused, model)] == [200, 200, 415, 200]
    lines = _lines(server, "Request answered", 3)
    assert [(line["route"], line["status"]) for line in lines] == [
        (DETECT, 200),
        (DETECT, 200),
        ("/v1/model", 200),
    ]
    computed, kept = lines[:2]
    assert computed["request_id"] == "holiday-17"
    assert computed["id"] == answer.json()["id"]
    assert computed["bytes"] == len(picture)
    assert computed["answer_bytes"] == len(answer.body)
    assert computed["caller"] == "127.0.0.1"
    assert 0 < computed["inference_ms"] <= computed["duration_ms"]
    assert {"queue_ms", "decode_ms"} <= set(computed)
    assert kept["cache"] == "posecluster; hit"
    assert "inference_ms" not in kept
    assert len(_lines(server, "Request refused")) == 1


def test_request_log_is_off_by_default(start: Start) -> None:
    server = start(engine="stub", log_format="json")
    client.post(server.url + DETECT, _picture(), headers={"traceparent": SAMPLED})
    client.post(server.url + DETECT, b"not a picture")

    _lines(server, "Request refused")
    assert "Request answered" not in server.logs()


def test_sampled_log_follows_the_callers_decision(start: Start) -> None:
    server = start(engine="stub", request_log="sampled", log_format="json")
    for number in range(5):
        client.post(
            server.url + DETECT,
            _picture(),
            headers={"traceparent": SAMPLED, "X-Request-Id": f"request-{number}"},
        )

    lines = _lines(server, "Request answered", 5)
    assert [line["request_id"] for line in lines] == [f"request-{number}" for number in range(5)]
    assert {line["trace_id"] for line in lines} == {TRACE}


def test_trace_context_is_echoed_also_on_refusals(start: Start) -> None:
    server = start(engine="stub", log_format="json")
    answer = client.post(server.url + DETECT, _picture(), headers={"traceparent": SAMPLED})
    refused = client.post(server.url + DETECT, b"not a picture", headers={"traceparent": SAMPLED})
    ignored = client.post(server.url + DETECT, _picture(), headers={"traceparent": "garbage"})

    assert answer.headers["traceparent"] == refused.headers["traceparent"] == SAMPLED
    assert (ignored.status, ignored.headers["traceparent"]) == (200, None)
    assert _lines(server, "Request refused")[0]["trace_id"] == TRACE


@contextmanager
def _collector(status: int = 200) -> Iterator[tuple[str, list[Any]]]:
    """An OTLP endpoint; gives its address and the resource spans that it received."""
    received: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/v1/traces" and status == 200:
                received.extend(ExportTraceServiceRequest.FromString(body).resource_spans)
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", received
        finally:
            server.shutdown()
            thread.join()


def test_spans_of_a_request_reach_the_collector(start: Start) -> None:
    with _collector() as (endpoint, received):
        server = start(
            engine="stub",
            env={"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_RESOURCE_ATTRIBUTES": "deployment=test"},
        )
        client.post(server.url + DETECT, _picture(), headers={"traceparent": SAMPLED})
        client.post(server.url + DETECT, b"not a picture")
        client.get(server.url + "/healthz")
        server.terminate()  # what waits is sent before the end
        server.wait(20)

    spans = [span for item in received for scope in item.scope_spans for span in scope.spans]
    by_name = {span.name: span for span in spans if span.trace_id.hex() == TRACE}
    assert list(by_name) == ["queue", "decode", "inference", "encode", f"POST {DETECT}"]
    request = by_name.pop(f"POST {DETECT}")
    assert request.parent_span_id.hex() == SPAN
    end = request.start_time_unix_nano
    for step in by_name.values():
        assert step.parent_span_id == request.span_id
        assert end <= step.start_time_unix_nano <= step.end_time_unix_nano <= request.end_time_unix_nano
        end = step.end_time_unix_nano
    (refused,) = [span for span in spans if span.trace_id.hex() != TRACE]
    attributes = {item.key: item.value for item in refused.attributes}
    assert attributes["error.type"].string_value == "unsupported_format"
    assert attributes["http.response.status_code"].int_value == 415
    resource = {item.key: item.value.string_value for item in received[0].resource.attributes}
    assert resource["service.name"] == "posecluster-inference"
    assert resource["deployment"] == "test"


@pytest.mark.parametrize("status", [503, 0])
def test_a_failing_collector_delays_no_request(start: Start, status: int) -> None:
    with _collector(status) as (endpoint, _received):
        server = start(
            engine="stub", env={"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint if status else "http://127.0.0.1:9"}
        )
        for _ in range(50):
            reply = client.post(server.url + DETECT, _picture(), headers={"traceparent": SAMPLED})
            assert reply.status == 200
        server.terminate()

        assert server.wait(10) == 0
