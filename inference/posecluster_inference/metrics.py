"""Declarations of all metrics. Their names are a contract (docs/operations.md)."""

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

_PREFIX = "posecluster"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_STAGE_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)


class Metrics:
    """The server's metrics, one instance per process."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a third of the lines, and equal to process_start_time_seconds
        self.registry = CollectorRegistry(auto_describe=True)
        started = Gauge(
            "process_start_time_seconds",
            "Start time of the process, in seconds since the UNIX epoch",
            registry=self.registry,
        )
        started.set_to_current_time()
        self.arrivals = self._counter(
            "arrivals", "Detections that needed a worker, whether admitted or refused"
        )
        self.refused = self._counter("refused", "Arrivals that were refused for lack of capacity", "reason")
        self.completed = self._counter("completed", "Detections that a worker completed")
        self.failed = self._counter("failed", "Detections that no worker could complete", "reason")
        self.busy_seconds = self._counter(
            "busy_seconds", "Time that workers spent on requests, from decoding to the response"
        )
        self.late = self._counter("late", "Responses slower than the latency objective, and refused arrivals")
        self.http_requests = self._counter(
            "http_requests", "HTTP requests that got a response", "route", "method", "code"
        )
        self.connections_closed = self._counter(
            "connections_closed", "Client connections that the server closed after a response", "reason"
        )
        self.worker_restarts = self._counter("worker_restarts", "Workers that were replaced", "cause")
        self.cache_requests = self._counter(
            "cache_requests", "Requests by what the response cache did for them", "result"
        )
        self.request_duration_seconds = self._histogram(
            "request_duration_seconds",
            "Duration of a request, from the end of its head to its response",
            _SECONDS,
            "route",
        )
        self.queue_wait_seconds = self._histogram(
            "queue_wait_seconds", "Time from admission until a worker takes the request", _SECONDS
        )
        self.stage_seconds = self._histogram(
            "stage_seconds", "Duration of each stage of a detection", _STAGE_SECONDS, "stage"
        )
        for reason in ("queue_full", "deadline", "draining", "starting", "memory"):
            self.refused.labels(reason)
        for reason in ("worker_crashed", "worker_hung", "undecodable", "picture_too_large", "malformed"):
            self.failed.labels(reason)
        for reason in ("age", "busy", "draining", "memory", "pipelining", "request"):
            self.connections_closed.labels(reason)
        for cause in ("crash", "hang", "start", "memory", "requests"):
            self.worker_restarts.labels(cause)
        for result in ("hit", "miss", "collapsed", "bypass"):
            self.cache_requests.labels(result)

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(name, meaning, labels, namespace=_PREFIX, registry=self.registry)

    def _histogram(self, name: str, meaning: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(name, meaning, labels, namespace=_PREFIX, buckets=buckets, registry=self.registry)

    def gauge(self, name: str, meaning: str, value: Callable[[], float]) -> None:
        """Add a gauge whose value is read at each scrape."""
        Gauge(name, meaning, namespace=_PREFIX, registry=self.registry).set_function(value)

    def gauge_by(self, name: str, label: str, meaning: str, values: Callable[[], dict[str, float]]) -> None:
        """Add a gauge with one label whose values are read at each scrape."""
        self.registry.register(_LabelledGauge(f"{_PREFIX}_{name}", label, meaning, values))

    def build_info(self, **labels: str) -> None:
        info = Gauge("build_info", "Always 1", tuple(labels), namespace=_PREFIX, registry=self.registry)
        info.labels(**labels).set(1)

    def text(self, names: list[str]) -> bytes:
        """Return the metrics in text format; if `names` is not empty, only the samples with these names."""
        if not names:
            return generate_latest(self.registry)
        return generate_latest(self.registry.restricted_registry(names))


class _LabelledGauge(Collector):
    def __init__(self, name: str, label: str, meaning: str, values: Callable[[], dict[str, float]]) -> None:
        self._name, self._label, self._meaning, self._values = name, label, meaning, values

    def _family(self) -> GaugeMetricFamily:
        return GaugeMetricFamily(self._name, self._meaning, labels=[self._label])

    def describe(self) -> list[Metric]:
        return [self._family()]

    def collect(self) -> list[Metric]:
        family = self._family()
        for value, number in self._values().items():
            family.add_metric([value], number)
        return [family]
