"""The trace context of requests, and their OpenTelemetry spans if an OTLP endpoint is configured."""

import os
import re
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from posecluster_inference import __version__
from posecluster_inference.errors import PoseClusterError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

# Defined by the OpenTelemetry specification. The SDK reads the other variables (headers, sampler, ...).
ENDPOINT_VARIABLES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_SERVICE_NAME = "posecluster-inference"

# version, trace ID, parent span ID, flags; a later version may append fields
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED = 0x01


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A valid `traceparent` field (W3C Trace Context); `field` holds its four known parts."""

    field: str
    trace_id: str
    span_id: str
    is_sampled: bool


def trace_context(fields: Sequence[str]) -> TraceContext | None:
    """Return the trace context of a request, or None if it has none or an invalid one.

    The specification requires that an invalid context is ignored and not refused.
    """
    if len(fields) != 1 or (match := _TRACEPARENT.fullmatch(fields[0].strip())) is None:
        return None
    version, trace_id, span_id, flags, rest = match.groups()
    if version == "ff" or (version == "00" and rest) or not trace_id.strip("0") or not span_id.strip("0"):
        return None
    is_sampled = bool(int(flags, 16) & _SAMPLED)
    return TraceContext(f"{version}-{trace_id}-{span_id}-{flags}", trace_id, span_id, is_sampled)


@dataclass(frozen=True, slots=True)
class Span:
    """A step of a request: its start as the event loop's time, and its duration in seconds."""

    name: str
    began: float
    seconds: float


class SpanExporter:
    """Sends the spans of requests to the configured endpoint, in a thread of the SDK.

    Spans are dropped if the endpoint is too slow; requests never wait for it.
    """

    def __init__(self, provider: "TracerProvider") -> None:
        from opentelemetry import trace

        self._api = trace
        self._provider = provider
        self._tracer = provider.get_tracer("posecluster_inference", __version__)

    def record(
        self,
        parent: TraceContext | None,
        request: Span,
        steps: Sequence[Span],
        attributes: Mapping[str, str | int],
        *,
        is_error: bool,
        now: float,
    ) -> None:
        """Record a finished request and its steps; `now` is the event loop's time, in seconds."""
        api = self._api
        epoch_ns = time.time_ns() - int(now * 1e9)

        def at(loop_seconds: float) -> int:
            return epoch_ns + int(loop_seconds * 1e9)

        context = None
        if parent is not None:
            remote = api.SpanContext(
                int(parent.trace_id, 16),
                int(parent.span_id, 16),
                is_remote=True,
                trace_flags=api.TraceFlags(_SAMPLED if parent.is_sampled else 0),
            )
            context = api.set_span_in_context(api.NonRecordingSpan(remote))
        server = self._tracer.start_span(
            request.name,
            context=context,
            kind=api.SpanKind.SERVER,
            attributes=dict(attributes),
            start_time=at(request.began),
        )
        if server.is_recording():
            inner = api.set_span_in_context(server)
            for step in steps:
                child = self._tracer.start_span(step.name, context=inner, start_time=at(step.began))
                child.end(at(step.began + step.seconds))
            if is_error:
                server.set_status(api.StatusCode.ERROR)
        server.end(at(request.began + request.seconds))

    def close(self, seconds: float) -> None:
        """Send the waiting spans, blocking for at most `seconds`."""
        # Without the thread, the SDK would block for up to 30 s if the endpoint does not respond.
        sender = threading.Thread(target=self._provider.shutdown, daemon=True)
        sender.start()
        sender.join(seconds)


def span_exporter(environment: Mapping[str, str] = os.environ) -> SpanExporter | None:
    """Return the exporter, or None without an endpoint; raises PoseClusterError without the packages."""
    if not any(environment.get(name) for name in ENDPOINT_VARIABLES):
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise PoseClusterError(
            f"{' or '.join(ENDPOINT_VARIABLES)} is set, but the OpenTelemetry packages are missing: install "
            "the extra `otel` (requirements/otel.txt), or unset the variable"
        ) from None
    own = Resource(
        {
            "service.name": _SERVICE_NAME,
            "service.version": __version__,
            "service.instance.id": socket.gethostname(),  # in a pod, the pod's name
        }
    )
    provider = TracerProvider(resource=own.merge(OTELResourceDetector().detect()), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return SpanExporter(provider)
