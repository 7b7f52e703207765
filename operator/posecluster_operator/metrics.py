"""Every metric of the operator, declared once, on an explicit registry; names are a contract."""

from collections.abc import Callable, Iterable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from posecluster_operator.reasons import ScalingReason

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
RESULTS = ("ok", "retry", "conflict", "not_leader", "error")
_PREFIX = "posecluster_operator"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """The operator's metrics; one instance a process. Counting is safe from any thread."""

    def __init__(self, *, version: str) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a third of the lines, and the process's start says the same
        self.registry = CollectorRegistry(auto_describe=True)
        ProcessCollector(registry=self.registry)  # memory, CPU, descriptors, start
        self._reconcile = self._counter("reconcile", "Passes over a PoseCluster", "result")
        self._reconcile_seconds = Histogram(
            "reconcile_seconds",
            "Time of a pass",
            namespace=_PREFIX,
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._queue_depth = self._gauge("work_queue_depth", "Keys that are due and wait for a worker")
        self._scrape_failures = self._counter("scrape_failures", "Pods whose load could not be read")
        self._scrape_seconds = Histogram(
            "scrape_seconds",
            "Time to read the load of all pods once and to decide",
            namespace=_PREFIX,
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._scrape_interval = self._gauge(
            "scrape_interval_seconds",
            "Time between two readings of a pod; stretched when there are very many",
        )
        self._scraped = self._gauge("scraped_pods", "Pods whose load was read last time")
        self._desired = self._gauge("desired_replicas", "Pods that are wanted", "namespace", "name")
        self._ready = self._gauge("ready_replicas", "Pods that are ready", "namespace", "name")
        self._unmet = self._gauge(
            "unmet_conditions",
            "1 for each condition that is False",
            "namespace",
            "name",
            "condition",
            "reason",
        )
        self._shown_unmet: dict[tuple[str, str], frozenset[tuple[str, str]]] = {}
        self._scaling_decisions = self._counter("scaling_decisions", "Changes of a size", "reason")
        self._api_requests = self._counter("api_requests", "Answered calls to the API server", "verb", "code")
        self._leader = self._gauge("leader", "1 while this process holds the Lease")
        self._gauge("build_info", "Always 1", "version").labels(version=version).set(1)
        for result in RESULTS:
            self._reconcile.labels(result)
        for reason in ScalingReason:
            self._scaling_decisions.labels(reason.value)

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(name, meaning, labels, namespace=_PREFIX, registry=self.registry)

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        return Gauge(name, meaning, labels, namespace=_PREFIX, registry=self.registry)

    def count_pass(self, result: str, seconds: float) -> None:
        """Count a pass that ended; `result` is one of RESULTS."""
        self._reconcile.labels(result).inc()
        self._reconcile_seconds.observe(seconds)

    def count_call(self, verb: str, code: str) -> None:
        """Count a call to the API server; `code` is the status, or `error` when there was no answer."""
        self._api_requests.labels(verb, code).inc()

    def count_decision(self, reason: ScalingReason) -> None:
        """Count a change of a size."""
        self._scaling_decisions.labels(reason.value).inc()

    def count_scrapes(self, *, read: int, failed: int) -> None:
        """Count one reading of all pods."""
        self._scraped.set(read)
        self._scrape_failures.inc(failed)

    def show_scrape(self, *, interval: float, seconds: float | None) -> None:
        """Show how often pods are read, in seconds, and how long it took; None: there were none to read."""
        self._scrape_interval.set(interval)
        if seconds is None:
            self._scraped.set(0)
        else:
            self._scrape_seconds.observe(seconds)

    def show_size(self, namespace: str, name: str, *, desired: int, ready: int) -> None:
        """Show how many pods a PoseCluster wants and has."""
        self._desired.labels(namespace, name).set(desired)
        self._ready.labels(namespace, name).set(ready)

    def show_unmet(self, namespace: str, name: str, unmet: Iterable[tuple[str, str]]) -> None:
        """Show the conditions that are False, as type and reason, in place of those shown before."""
        now = frozenset(unmet)
        for one in self._shown_unmet.pop((namespace, name), frozenset()) - now:
            self._unmet.remove(namespace, name, *one)
        for one in now:
            self._unmet.labels(namespace, name, *one).set(1)
        if now:
            self._shown_unmet[namespace, name] = now

    def forget(self, namespace: str, name: str) -> None:
        """Remove the labels of a PoseCluster that is gone; unknown ones are fine."""
        self.show_unmet(namespace, name, ())
        for gauge in (self._desired, self._ready):
            gauge.remove_by_labels({"namespace": namespace, "name": name})

    def forget_all(self) -> None:
        """Remove all PoseClusters' labels: only the holder of the Lease shows sizes."""
        self._desired.clear()
        self._ready.clear()
        self._unmet.clear()
        self._shown_unmet.clear()

    def show_leader(self, held: bool) -> None:
        """Show whether this process holds the Lease."""
        self._leader.set(held)

    def show_queue_depth(self, depth: Callable[[], float]) -> None:
        """Read the queue's depth from here whenever it is scraped."""
        self._queue_depth.set_function(depth)

    def text(self, names: list[str]) -> bytes:
        """Return the exposition text, of the named sample names only if any are given."""
        if not names:
            return generate_latest(self.registry)
        return generate_latest(self.registry.restricted_registry(names))
