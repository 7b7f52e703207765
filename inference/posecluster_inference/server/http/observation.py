"""Log lines and spans of requests."""

import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from posecluster_inference.server.detection.detector import PictureFacts
from posecluster_inference.server.http.tracing import Span, SpanExporter, TraceContext
from posecluster_inference.server.workers.jobs import Answer

logger = logging.getLogger(__name__)

_SAMPLE = 100  # `sampled` logs one in this many requests, and all with a sampled trace context


@dataclass(slots=True)
class Facts(PictureFacts):
    """What is known about a request so far, for its log line and its spans."""

    answer_id: str
    request_id: str
    caller: str
    trace: TraceContext | None = None
    cache_status: str = ""
    reason: str = ""
    answer: Answer | None = None

    def steps(self) -> Sequence[Span]:
        """Return the steps of the computation as spans: the queue, then the stages in the worker."""
        if self.answer is None:
            return ()
        began, steps = self.answer.arrived, []
        for name, seconds in {"queue": self.answer.queue_seconds, **self.answer.stages}.items():
            steps.append(Span(name, began, seconds))
            began += seconds
        return steps


@dataclass(slots=True, kw_only=True)
class Observer:
    """Logs answered requests (`request_log`: `none`, `sampled` or `all`) and exports their spans."""

    request_log: str
    exporter: SpanExporter | None = None
    rng: random.Random = field(default_factory=random.Random)

    def refused(self, facts: Facts, status: int) -> None:
        """Log a refusal; all refusals are logged, independently of `request_log`."""
        fields = {"status": status, "reason": facts.reason, **_identity(facts)}
        logger.info("Request refused", extra={"fields": fields})

    def answered(
        self, facts: Facts, *, method: str, route: str, status: int, body_bytes: int, began: float, now: float
    ) -> None:
        """Log and trace a request that was answered or refused; times are the event loop's, in seconds."""
        if not facts.reason and self._is_logged(facts.trace):
            fields = {"status": status, "method": method, "route": route, **_identity(facts)}
            if facts.cache_status:
                fields["cache"] = facts.cache_status
            fields |= {"answer_bytes": body_bytes, "duration_ms": _milliseconds(now - began)}
            fields |= {f"{step.name}_ms": _milliseconds(step.seconds) for step in facts.steps()}
            logger.info("Request answered", extra={"fields": fields})
        if self.exporter is not None and route.startswith("/v1/"):
            attributes: dict[str, str | int] = {
                "http.request.method": method,
                "http.route": route,
                "http.response.status_code": status,
                "posecluster.request_id": facts.request_id,
                "posecluster.cache_status": facts.cache_status,
                "error.type": facts.reason,
            }
            self.exporter.record(
                facts.trace,
                Span(f"{method} {route}", began, now - began),
                facts.steps(),
                {name: value for name, value in attributes.items() if value},
                is_error=status >= 500,
                now=now,
            )

    def _is_logged(self, trace: TraceContext | None) -> bool:
        if self.request_log != "sampled":
            return self.request_log == "all"
        return (trace is not None and trace.is_sampled) or self.rng.randrange(_SAMPLE) == 0


def _identity(facts: Facts) -> dict[str, str | float]:
    return {
        "caller": facts.caller,
        "request_id": facts.request_id,
        "id": facts.answer_id,
        "trace_id": facts.trace.trace_id if facts.trace else "",
        "sha256": facts.digest,
        "format": facts.format,
        "bytes": facts.body_bytes,
    }


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 2)
