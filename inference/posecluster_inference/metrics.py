"""Every metric, declared once, on an explicit registry; names are a contract (docs/operations.md)."""

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
    """The server's metrics; one instance a process."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a third of the lines, and the process's start says the same
        self.registry = CollectorRegistry(auto_describe=True)
        started = Gauge("process_start_time_seconds", "Start, as a UNIX time", registry=self.registry)
        started.set_to_current_time()
        self.arrivals = self._counter("arrivals", "Detections that asked for compute, admitted or refused")
        self.refused = self._counter(
            "refused", "Of the arrivals, those refused for lack of capacity", "reason"
        )
        self.completed = self._counter("completed", "Detections that a worker answered")
        self.failed = self._counter("failed", "Detections that a worker could not answer", "reason")
        self.busy_seconds = self._counter("busy_seconds", "Worker time spent on requests, decode to answer")
        self.late = self._counter("late", "Answers slower than the latency objective, plus refused")
        self.http_requests = self._counter(
            "http_requests", "Answered HTTP requests", "route", "method", "code"
        )
        self.worker_restarts = self._counter("worker_restarts", "Workers replaced", "cause")
        self.cache_requests = self._counter("cache_requests", "Look-ups in the answer cache", "result")
        self.request_duration_seconds = self._histogram(
            "request_duration_seconds", "Whole requests, head read to answer made", _SECONDS, "route"
        )
        self.queue_wait_seconds = self._histogram(
            "queue_wait_seconds", "Time from admission to a worker", _SECONDS
        )
        self.stage_seconds = self._histogram("stage_seconds", "Stages of the work", _STAGE_SECONDS, "stage")
        for reason in ("queue_full", "deadline", "draining", "starting", "memory"):
            self.refused.labels(reason)
        for reason in ("worker_crashed", "worker_hung", "undecodable", "picture_too_large", "malformed"):
            self.failed.labels(reason)
        for cause in ("crash", "hang", "start", "memory", "requests"):
            self.worker_restarts.labels(cause)
        for result in ("hit", "miss", "collapsed", "bypass"):
            self.cache_requests.labels(result)

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(name, meaning, labels, namespace=_PREFIX, registry=self.registry)

    def _histogram(self, name: str, meaning: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(name, meaning, labels, namespace=_PREFIX, buckets=buckets, registry=self.registry)

    def gauge(self, name: str, meaning: str, value: Callable[[], float]) -> None:
        """Add a gauge that is read when it is scraped."""
        Gauge(name, meaning, namespace=_PREFIX, registry=self.registry).set_function(value)

    def gauge_by(self, name: str, label: str, meaning: str, values: Callable[[], dict[str, float]]) -> None:
        """Add a gauge with one label whose values are read when it is scraped."""
        self.registry.register(_LabelledGauge(f"{_PREFIX}_{name}", label, meaning, values))

    def build_info(self, **labels: str) -> None:
        info = Gauge("build_info", "Always 1", tuple(labels), namespace=_PREFIX, registry=self.registry)
        info.labels(**labels).set(1)

    def text(self, names: list[str]) -> bytes:
        """Return the exposition text, of the named sample names only if any are given."""
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
