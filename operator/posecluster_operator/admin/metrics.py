"""All metrics of the operator. Their names are part of the public interface."""

from collections.abc import Callable, Iterable
from functools import partial

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from posecluster_operator.admin.namespaces import describe
from posecluster_operator.resource.reasons import ScalingReason

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
RESULTS = ("ok", "retry", "conflict", "not_leader", "error")
_PREFIX = "posecluster_operator"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """The operator's metrics, one instance per process. Methods may be called from any thread."""

    def __init__(self, *, version: str) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a third of the lines, with no more information than process_start_time_seconds
        self.registry = CollectorRegistry(auto_describe=True)
        ProcessCollector(registry=self.registry)  # memory, CPU time, open files, start time
        self._reconcile = self._counter("reconcile", "Reconciliations of a PoseCluster", "result")
        self._reconcile_seconds = Histogram(
            "reconcile_seconds",
            "Duration of a reconciliation",
            namespace=_PREFIX,
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._queue_depth = self._gauge("work_queue_depth", "PoseClusters that are due and wait for a worker")
        self._scrape_failures = self._counter("scrape_failures", "Failed scrapes of a pod's load")
        self._scrape_seconds = Histogram(
            "scrape_seconds",
            "Duration of one scrape of all pods, including the scaling decisions",
            namespace=_PREFIX,
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._scrape_interval = self._gauge(
            "scrape_interval_seconds",
            "Time between two scrapes of a pod, which increases with a large number of pods",
        )
        self._scraped = self._gauge("scraped_pods", "Pods that were scraped successfully in the last round")
        self._desired = self._gauge("desired_replicas", "Desired number of pods", "namespace", "name")
        self._ready = self._gauge("ready_replicas", "Number of Ready pods", "namespace", "name")
        self._unmet = self._gauge(
            "unmet_conditions",
            "1 for each condition that is False",
            "namespace",
            "name",
            "condition",
            "reason",
        )
        self._shown_unmet: dict[tuple[str, str], frozenset[tuple[str, str]]] = {}
        self._repairs = self._counter(
            "repairs",
            "Repairs of objects that another client had changed or deleted",
            "namespace",
            "name",
            "kind",
        )
        self._queued_rollouts = self._gauge(
            "queued_rollouts", "PoseClusters whose rollout waits until fewer others are under way"
        )
        self._scaling_decisions = self._counter(
            "scaling_decisions", "Changes of a PoseCluster's size", "reason"
        )
        self._api_requests = self._counter("api_requests", "Requests to the API server", "verb", "code")
        self._leader = self._gauge("leader", "1 while this process holds the Lease")
        self._watched = self._gauge(
            "namespace_watched",
            "1 while all watches in a namespace are open, 0 while one is not; `*` stands for all namespaces",
            "namespace",
        )
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
        """Count a reconciliation that ended; `result` is one of RESULTS."""
        self._reconcile.labels(result).inc()
        self._reconcile_seconds.observe(seconds)

    def count_call(self, verb: str, code: str) -> None:
        """Count a request to the API server; `code` is the status, or `error` or `timeout`."""
        self._api_requests.labels(verb, code).inc()

    def count_decision(self, reason: ScalingReason) -> None:
        """Count a change of a PoseCluster's size."""
        self._scaling_decisions.labels(reason.value).inc()

    def count_repair(self, namespace: str, name: str, kind: str) -> None:
        """Count a repair of an object of this kind that belongs to the PoseCluster."""
        self._repairs.labels(namespace, name, kind).inc()

    def count_scrapes(self, *, read: int, failed: int) -> None:
        """Count one scrape of all pods."""
        self._scraped.set(read)
        self._scrape_failures.inc(failed)

    def show_scrape(self, *, interval: float, seconds: float | None) -> None:
        """Show the interval and the duration of a scrape, in seconds; None: there was no pod to scrape."""
        self._scrape_interval.set(interval)
        if seconds is None:
            self._scraped.set(0)
        else:
            self._scrape_seconds.observe(seconds)

    def show_size(self, namespace: str, name: str, *, desired: int, ready: int) -> None:
        """Show how many pods of a PoseCluster are desired and how many are Ready."""
        self._desired.labels(namespace, name).set(desired)
        self._ready.labels(namespace, name).set(ready)

    def show_unmet(self, namespace: str, name: str, unmet: Iterable[tuple[str, str]]) -> None:
        """Show the conditions that are False, as type and reason, and remove the other ones."""
        now = frozenset(unmet)
        for one in self._shown_unmet.pop((namespace, name), frozenset()) - now:
            self._unmet.remove(namespace, name, *one)
        for one in now:
            self._unmet.labels(namespace, name, *one).set(1)
        if now:
            self._shown_unmet[namespace, name] = now

    def forget(self, namespace: str, name: str) -> None:
        """Remove the series of a deleted PoseCluster, if there are any."""
        self.show_unmet(namespace, name, ())
        for family in (self._desired, self._ready, self._repairs):
            family.remove_by_labels({"namespace": namespace, "name": name})

    def forget_all(self) -> None:
        """Remove the series of all PoseClusters, because only the holder of the Lease shows sizes."""
        self._desired.clear()
        self._ready.clear()
        self._unmet.clear()
        self._repairs.clear()
        self._shown_unmet.clear()

    def show_leader(self, held: bool) -> None:
        """Show whether this process holds the Lease."""
        self._leader.set(held)

    def show_namespaces(self, names: Iterable[str], watched: Callable[[str], bool]) -> None:
        """Call `watched` for each of these namespaces at each scrape."""
        for name in names:
            self._watched.labels(describe(name)).set_function(partial(watched, name))

    def show_queue_depth(self, depth: Callable[[], float]) -> None:
        """Read the queue's depth from `depth` at each scrape."""
        self._queue_depth.set_function(depth)

    def show_queued_rollouts(self, number: Callable[[], float]) -> None:
        """Read the number of waiting rollouts from `number` at each scrape."""
        self._queued_rollouts.set_function(number)

    def text(self, names: list[str]) -> bytes:
        """Return the exposition text, restricted to the samples in `names` unless it is empty."""
        if not names:
            return generate_latest(self.registry)
        return generate_latest(self.registry.restricted_registry(names))
