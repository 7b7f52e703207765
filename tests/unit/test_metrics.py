"""The metrics' names are a contract, and series that alerts need exist from the start."""

import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from posecluster_inference.metrics import Metrics
from posecluster_inference.server.workers.process import Ended

FAMILIES = {
    "process_start_time_seconds": "gauge",
    "posecluster_arrivals": "counter",
    "posecluster_refused": "counter",
    "posecluster_completed": "counter",
    "posecluster_failed": "counter",
    "posecluster_busy_seconds": "counter",
    "posecluster_late": "counter",
    "posecluster_http_requests": "counter",
    "posecluster_connections_closed": "counter",
    "posecluster_worker_restarts": "counter",
    "posecluster_cache_requests": "counter",
    "posecluster_request_duration_seconds": "histogram",
    "posecluster_queue_wait_seconds": "histogram",
    "posecluster_stage_seconds": "histogram",
}


def _samples(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_every_name_of_the_contract_is_exposed() -> None:
    families = text_string_to_metric_families(Metrics().text([]).decode())
    assert {family.name: family.type for family in families} == FAMILIES


def test_the_start_time_is_exposed_once_and_not_per_series() -> None:
    before = time.time()
    metrics = Metrics()
    metrics.arrivals.inc()
    metrics.stage_seconds.labels("decode").observe(0.1)
    assert before <= _samples(metrics.text([]))["process_start_time_seconds", ()] <= time.time()
    assert not [name for name, _labels in _samples(metrics.text([])) if name.endswith("_created")]


@pytest.mark.parametrize(
    ("name", "label", "values"),
    [
        ("refused", "reason", {"queue_full", "deadline", "draining", "starting", "memory"}),
        (
            "failed",
            "reason",
            {"worker_crashed", "worker_hung", "undecodable", "picture_too_large", "malformed"},
        ),
        ("worker_restarts", "cause", {"crash", "hang", "start", "memory", "requests"}),
        ("cache_requests", "result", {"hit", "miss", "collapsed", "bypass"}),
    ],
)
def test_labels_that_alerts_need_are_zero_before_the_first(name: str, label: str, values: set[str]) -> None:
    samples = _samples(Metrics().text([f"posecluster_{name}_total"]))
    assert samples == {(f"posecluster_{name}_total", ((label, value),)): 0 for value in values}


def test_every_cause_that_a_worker_can_end_by_is_there_before_the_first() -> None:
    samples = _samples(Metrics().text(["posecluster_worker_restarts_total"]))
    causes = {labels[0][1] for _name, labels in samples}
    assert causes == set(Ended) - {Ended.STOPPED}


def test_a_scrape_can_select_names() -> None:
    metrics = Metrics()
    metrics.gauge("queue_depth", "Waiting", lambda: 3)
    metrics.gauge_by("workers", "state", "By state", lambda: {"ready": 2.0, "busy": 1.0})
    metrics.arrivals.inc(5)
    wanted = ["posecluster_arrivals_total", "posecluster_queue_depth", "posecluster_workers"]
    assert _samples(metrics.text([*wanted, "posecluster_no_such_name"])) == {
        ("posecluster_arrivals_total", ()): 5,
        ("posecluster_queue_depth", ()): 3,
        ("posecluster_workers", (("state", "ready"),)): 2,
        ("posecluster_workers", (("state", "busy"),)): 1,
    }
    assert metrics.text(["no_such_name"]) == b""


def test_gauges_are_read_when_they_are_scraped() -> None:
    metrics, depth, states = Metrics(), [1.0], {"ready": 1.0}
    metrics.gauge("queue_depth", "Waiting", lambda: depth[0])
    metrics.gauge_by("workers", "state", "By state", lambda: states)
    first = _samples(metrics.text([]))
    depth[0], states["ready"] = 7.0, 4.0
    second = _samples(metrics.text([]))
    for key, values in {
        ("posecluster_queue_depth", ()): (1, 7),
        ("posecluster_workers", (("state", "ready"),)): (1, 4),
    }.items():
        assert (first[key], second[key]) == values


def test_two_servers_in_a_process_share_nothing() -> None:
    one, other = Metrics(), Metrics()
    one.arrivals.inc()
    name = "posecluster_arrivals_total"
    assert (one.registry.get_sample_value(name), other.registry.get_sample_value(name)) == (1, 0)


def test_build_info_is_one_with_its_labels() -> None:
    metrics = Metrics()
    metrics.build_info(version="1.2", engine="mediapipe")
    labels = (("engine", "mediapipe"), ("version", "1.2"))
    assert _samples(metrics.text(["posecluster_build_info"])) == {("posecluster_build_info", labels): 1}


def test_a_whole_scrape_fits_the_operators_limit_many_times() -> None:
    assert len(Metrics().text([])) < 256 * 1024 / 8
