"""Unusual release names, labels and values give valid objects or a clear error."""

import re
from collections.abc import Iterator

import pytest

from harness import chart
from harness.chart import ChartError, Json, one_of, render

PARTS = ("podMonitor", "prometheusRule", "grafanaDashboard", "networkPolicy")
SERVICE_NAME = "[a-z]([-a-z0-9]{0,61}[a-z0-9])?"
NEEDED = {
    "operator.image.repository",
    "inference.image.repository",
    "prometheusRule.runbook",
    "networkPolicy.apiServerPorts",  # without them the policy would open every port
}
LEASE_NAME = "POSECLUSTER_OPERATOR_LEASE_NAME"


@pytest.mark.parametrize(
    ("release", "values", "name"),
    [
        ("posecluster", {}, "posecluster-operator"),
        ("my-posecluster", {}, "my-posecluster-operator"),
        ("vision", {}, "vision-posecluster-operator"),
        ("vision", {"fullnameOverride": "eyes"}, "eyes"),
        ("v" * 53, {}, "v" * 53 + "-poseclust"),
        ("v" * 50, {}, "v" * 50 + "-posecluster"),  # cut after a dash
        ("posecluster.v2", {}, "posecluster-v2-operator"),
        ("2posecluster", {"fullnameOverride": "second"}, "second"),
    ],
)
def test_names_follow_the_release(release: str, values: Json, name: str) -> None:
    objects = render(values, release=release)
    for kind in ("Deployment", "Service", "ServiceAccount"):
        assert one_of(objects, kind)["metadata"]["name"] == name
    assert re.fullmatch(SERVICE_NAME, name)
    (container,) = one_of(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert {"name": LEASE_NAME, "value": name} in container["env"]


def test_a_release_that_begins_with_a_digit_is_told_what_to_set() -> None:
    with pytest.raises(ChartError, match=r"2posecluster-operator.*set fullnameOverride"):
        render(release="2posecluster")


def leaves(one: Json, path: str = "") -> Iterator[str]:
    """Every value without keys of ours in it: `operator.podLabels`."""
    for name, child in one.get("properties", {}).items():
        place = f"{path}{name}"
        if "properties" in child and place != "operator.settings":
            yield from leaves(child, f"{place}.")
        elif place != "global":
            yield place


def nulled(*paths: str) -> Json:
    """Values that take these away, as Helm's users do, and ask for every part."""
    values: Json = {part: {"enabled": True} for part in PARTS}
    for path in paths:
        *above, last = path.split(".")
        inner = values
        for name in above:
            inner = inner.setdefault(name, {})
        inner[last] = None
    return values


def test_any_other_value_may_be_taken_away_with_null() -> None:
    paths = {path for path in leaves(chart.schema()) if not path.endswith(("enabled", "create"))} - NEEDED
    assert len(paths) > 30
    kinds = {one["kind"] for one in render(nulled(*paths))}
    assert kinds == {one["kind"] for one in render(nulled())}


@pytest.mark.parametrize("path", sorted(NEEDED | {"operator", "operator.image", "networkPolicy", "rbac"}))
def test_a_missing_required_value_is_named(path: str) -> None:
    with pytest.raises(ChartError, match=f"missing property '{path.rpartition('.')[2]}'"):
        render(nulled(path))


def test_a_label_for_all_replaces_none_of_ours() -> None:
    objects = render({"commonLabels": {"app.kubernetes.io/component": "x", "app.kubernetes.io/name": "x"}})
    labels = [one["metadata"]["labels"] for one in objects]
    assert {one["app.kubernetes.io/name"] for one in labels} == {"posecluster-operator"}
    assert {one.get("app.kubernetes.io/component") for one in labels} == {"operator", "test", None}
