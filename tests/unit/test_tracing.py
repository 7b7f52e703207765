"""A valid trace context is adopted, an invalid one ignored; spans need the packages of the extra."""

import sys
from types import ModuleType

import pytest

from posecluster_inference.errors import PoseClusterError
from posecluster_inference.server.http.tracing import span_exporter, trace_context

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(("flags", "is_sampled"), [("00", False), ("01", True), ("03", True), ("02", False)])
def test_valid_context_is_read(flags: str, is_sampled: bool) -> None:
    context = trace_context([f" 00-{TRACE}-{SPAN}-{flags} "])

    assert context is not None
    assert (context.trace_id, context.span_id) == (TRACE, SPAN)
    assert context.is_sampled is is_sampled
    assert context.field == f"00-{TRACE}-{SPAN}-{flags}"


def test_later_version_may_append_fields_that_are_not_echoed() -> None:
    context = trace_context([f"01-{TRACE}-{SPAN}-01-what-comes-later"])

    assert context is not None
    assert context.field == f"01-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    "field",
    [
        "",
        "garbage",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-more",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-0g",
        f"00-{TRACE}-{SPAN}-01\r\nX-Evil: 1",
    ],
)
def test_invalid_context_is_ignored(field: str) -> None:
    assert trace_context([field]) is None


def test_two_trace_contexts_are_ignored() -> None:
    assert trace_context([]) is None
    assert trace_context([f"00-{TRACE}-{SPAN}-01"] * 2) is None


def test_no_endpoint_means_no_spans() -> None:
    assert span_exporter({}) is None
    assert span_exporter({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}) is None


def test_missing_packages_stop_the_start_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", ModuleType("opentelemetry"))
    for name in list(sys.modules):
        if name.startswith("opentelemetry."):
            monkeypatch.delitem(sys.modules, name)

    with pytest.raises(PoseClusterError, match=r"OTEL_EXPORTER_OTLP_ENDPOINT.* install the extra `otel`"):
        span_exporter({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"})
