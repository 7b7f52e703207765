"""One figure from a process's /metrics, for server and operator."""

from collections.abc import Mapping

from prometheus_client.parser import text_string_to_metric_families

from harness import client


def read_metric(url: str, name: str, labels: Mapping[str, str]) -> float:
    """Sum of a metric's samples that have these labels; 0 if none has, KeyError if no such metric."""
    return sum_metric(client.get(url + "/metrics", timeout_seconds=5).body.decode(), name, labels)


def sum_metric(text: str, name: str, labels: Mapping[str, str]) -> float:
    """As `read_metric`, of the text of a /metrics."""
    known, total = False, 0.0
    for family in text_string_to_metric_families(text):
        known = known or name.removeprefix(family.name) in {"", "_total", "_count", "_sum", "_bucket"}
        for sample in family.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                total += sample.value
    if not known:
        raise KeyError(name)
    return total
