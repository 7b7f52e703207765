"""The operator's metrics: names are a contract, and a deleted PoseCluster leaves no series."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from posecluster_operator.admin.metrics import CONTENT_TYPE, RESULTS, Metrics
from posecluster_operator.admin.namespaces import ALL
from posecluster_operator.resource.reasons import ScalingReason

pytestmark = pytest.mark.unit

# dashboards and alerts depend on these names and labels
CONTRACT = {
    "posecluster_operator_reconcile_total": {"result"},
    "posecluster_operator_reconcile_seconds_bucket": {"le"},
    "posecluster_operator_reconcile_seconds_count": set(),
    "posecluster_operator_reconcile_seconds_sum": set(),
    "posecluster_operator_work_queue_depth": set(),
    "posecluster_operator_scrape_failures_total": set(),
    "posecluster_operator_desired_replicas": {"namespace", "name"},
    "posecluster_operator_scraped_pods": set(),
    "posecluster_operator_scrape_interval_seconds": set(),
    "posecluster_operator_scrape_seconds_bucket": {"le"},
    "posecluster_operator_scrape_seconds_sum": set(),
    "posecluster_operator_scrape_seconds_count": set(),
    "posecluster_operator_ready_replicas": {"namespace", "name"},
    "posecluster_operator_unmet_conditions": {"namespace", "name", "condition", "reason"},
    "posecluster_operator_repairs_total": {"namespace", "name", "kind"},
    "posecluster_operator_queued_rollouts": set(),
    "posecluster_operator_scaling_decisions_total": {"reason"},
    "posecluster_operator_api_requests_total": {"verb", "code"},
    "posecluster_operator_leader": set(),
    "posecluster_operator_namespace_watched": {"namespace"},
    "posecluster_operator_build_info": {"version"},
}


def samples(metrics: Metrics, *names: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(metrics.text(list(names)).decode())
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(version="1.2.3")


def test_names_and_labels_are_the_contract(metrics: Metrics) -> None:
    metrics.count_call("list", "200")
    metrics.show_size("default", "demo", desired=3, ready=2)
    metrics.show_unmet("default", "demo", [("Available", "NoReadyPods")])
    metrics.count_repair("default", "demo", "Service")
    metrics.show_namespaces([""], lambda _name: True)
    shown = {name: {label for label, _ in labels} for name, labels in samples(metrics)}
    ours = {name: labels for name, labels in shown.items() if name.startswith("posecluster")}
    assert ours == CONTRACT
    assert {name for name in shown if name not in ours} >= {
        "process_resident_memory_bytes",
        "process_start_time_seconds",
    }


def test_every_result_and_reason_is_there_from_the_start(metrics: Metrics) -> None:
    shown = samples(metrics)
    for result in RESULTS:
        assert shown["posecluster_operator_reconcile_total", (("result", result),)] == 0
    for reason in ScalingReason:
        assert shown["posecluster_operator_scaling_decisions_total", (("reason", reason.value),)] == 0


def test_counts_and_sizes_are_shown(metrics: Metrics) -> None:
    metrics.count_pass("ok", 0.3)
    metrics.count_call("apply", "201")
    metrics.show_leader(True)
    metrics.show_queue_depth(lambda: 7)
    metrics.show_size("a", "x", desired=4, ready=1)
    shown = samples(metrics)
    size = (("name", "x"), ("namespace", "a"))
    assert shown["posecluster_operator_reconcile_total", (("result", "ok"),)] == 1
    assert shown["posecluster_operator_reconcile_seconds_sum", ()] == 0.3
    assert shown["posecluster_operator_api_requests_total", (("code", "201"), ("verb", "apply"))] == 1
    assert shown["posecluster_operator_leader", ()] == 1
    assert shown["posecluster_operator_work_queue_depth", ()] == 7
    assert shown["posecluster_operator_desired_replicas", size] == 4
    assert shown["posecluster_operator_ready_replicas", size] == 1
    assert shown["posecluster_operator_build_info", (("version", "1.2.3"),)] == 1


def test_the_metrics_of_a_deleted_posecluster_are_removed(metrics: Metrics) -> None:
    metrics.show_size("a", "x", desired=1, ready=1)
    metrics.show_size("b", "x", desired=1, ready=1)
    metrics.forget("a", "x")
    metrics.forget("a", "never-seen")
    named = {labels for name, labels in samples(metrics) if name.endswith("_replicas")}
    assert named == {(("name", "x"), ("namespace", "b"))}
    metrics.forget_all()
    assert not [name for name, _ in samples(metrics) if name.endswith("_replicas")]


def unmet(metrics: Metrics) -> set[tuple[str, ...]]:
    """Namespace, name, condition, reason of what is shown as False."""
    shown = samples(metrics, "posecluster_operator_unmet_conditions")
    assert set(shown.values()) <= {1.0}
    order = ("namespace", "name", "condition", "reason")
    return {tuple(dict(labels)[label] for label in order) for _, labels in shown}


def test_a_condition_that_is_false_is_shown_until_it_is_met_or_has_another_reason(metrics: Metrics) -> None:
    metrics.show_unmet("a", "x", [("Available", "NoReadyPods"), ("ScalingActive", "NoMetrics")])
    metrics.show_unmet("b", "x", [("Progressing", "Unschedulable")])
    metrics.show_unmet("a", "x", [("ScalingActive", "PartialMetrics")])
    other = ("b", "x", "Progressing", "Unschedulable")
    assert unmet(metrics) == {("a", "x", "ScalingActive", "PartialMetrics"), other}
    metrics.show_unmet("a", "x", [])
    metrics.show_unmet("a", "x", [])
    assert unmet(metrics) == {other}
    metrics.forget("b", "x")
    assert unmet(metrics) == set()
    metrics.show_unmet("b", "x", [("Progressing", "Unschedulable")])
    metrics.forget_all()
    assert unmet(metrics) == set()
    metrics.show_unmet("b", "x", [("Progressing", "Unschedulable")])
    assert unmet(metrics) == {other}


def test_a_scrape_can_select_names(metrics: Metrics) -> None:
    name = "posecluster_operator_leader"
    assert samples(metrics, name) == {(name, ()): 0}
    assert metrics.text(["nothing"]) == b""
    assert "version=0.0.4" in CONTENT_TYPE


def test_two_instances_share_nothing(metrics: Metrics) -> None:
    metrics.count_pass("ok", 1)
    assert samples(Metrics(version="2"))["posecluster_operator_reconcile_total", (("result", "ok"),)] == 0


def test_watched_namespaces_are_read_at_each_scrape(metrics: Metrics) -> None:
    watched = {"a": True, "b": False, ALL: True}
    metrics.show_namespaces(watched, watched.__getitem__)
    name = "posecluster_operator_namespace_watched"

    def shown() -> dict[str, float]:
        return {labels[0][1]: value for (_, labels), value in samples(metrics, name).items()}

    assert shown() == {"a": 1, "b": 0, "*": 1}
    watched["a"] = False
    assert shown() == {"a": 0, "b": 0, "*": 1}
