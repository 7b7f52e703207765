"""Labels, annotations and affinity that a PoseCluster gives its pods, as far as the operator allows them."""

import re
from dataclasses import replace
from typing import Any

import pytest
import yaml

from harness.full_spec import FULL_SPEC
from harness.poseclusters import posecluster
from harness.server import ROOT
from posecluster_operator.builders import Inputs, desired_children, labels
from posecluster_operator.builders.environment import ADMIN_PORT
from posecluster_operator.errors import InvalidSpec
from posecluster_operator.resource.posecluster import PodDefaults

pytestmark = pytest.mark.unit

IMAGES = PodDefaults(
    image="example.test/pose:1", allowed_labels=("example.com/team",), allowed_annotations=("example.com/*",)
)


EVICTABLE_VOLUMES = "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes"


def template(spec: dict[str, Any], images: PodDefaults) -> dict[str, Any]:
    inputs = Inputs(cluster=posecluster(spec), replicas=1, images=images, version="0.1.0")
    children = desired_children(inputs)
    found: dict[str, Any] = children[2]["spec"]["template"]
    return found


def test_allowed_labels_and_annotations_are_added_to_ours() -> None:
    metadata = template(FULL_SPEC, IMAGES)["metadata"]
    assert metadata["labels"] == {"example.com/team": "vision", **labels.pod_labels("demo")}
    assert metadata["annotations"].keys() == {
        "example.com/cost-centre",
        EVICTABLE_VOLUMES,
        labels.TEMPLATE_HASH,
    }


def test_cluster_autoscaler_may_evict_the_pods_despite_each_emptydir() -> None:
    for spec in ({}, FULL_SPEC):
        made = template(spec, IMAGES)
        volumes = [one["name"] for one in made["spec"]["volumes"] if "emptyDir" in one]
        assert made["metadata"]["annotations"][EVICTABLE_VOLUMES] == ",".join(volumes) != ""


def test_an_allowed_annotation_replaces_the_list_of_evictable_volumes() -> None:
    theirs = {EVICTABLE_VOLUMES: "tmp,istio-envoy"}
    allowed = replace(IMAGES, allowed_annotations=("cluster-autoscaler.kubernetes.io/*",))
    assert template({"podAnnotations": theirs}, allowed)["metadata"]["annotations"].items() >= theirs.items()


@pytest.mark.parametrize(
    ("spec", "key", "setting"),
    [
        ({"podLabels": {"example.com/other": "a"}}, "example.com/other", "LABELS"),
        ({"podLabels": {"example.com/team": "a", "team": "a"}}, "team", "LABELS"),
        ({"podAnnotations": {"sub.example.com/a": "a"}}, "sub.example.com/a", "ANNOTATIONS"),
        ({"podAnnotations": {"example.com": "a"}}, "example.com", "ANNOTATIONS"),
    ],
)
def test_a_key_that_is_not_allowed_is_named_with_the_setting(
    spec: dict[str, Any], key: str, setting: str
) -> None:
    with pytest.raises(
        InvalidSpec, match=rf"remove {key}, or add it to .*POSECLUSTER_OPERATOR_ALLOWED_POD_{setting} "
    ):
        template(spec, IMAGES)


def test_no_key_is_allowed_by_default() -> None:
    for spec in ({"podLabels": {"a": "b"}}, {"podAnnotations": {"a": "b"}}):
        with pytest.raises(InvalidSpec, match="remove a, "):
            template(spec, PodDefaults(image="x"))


def test_our_labels_and_annotations_win_even_where_theirs_are_allowed() -> None:
    ours = {**labels.pod_labels("demo"), labels.TEMPLATE_HASH: "0"}
    for field in ("podLabels", "podAnnotations"):
        for key in ours:
            with pytest.raises(InvalidSpec, match="use another key"):
                template(
                    {field: {key: "x"}},
                    replace(IMAGES, allowed_labels=(key,), allowed_annotations=(key,)),
                )
    # stored before the rule was there, or by an API server without it
    cluster = posecluster({})
    spec = replace(
        cluster.spec, pod_labels=dict.fromkeys(ours, "x"), pod_annotations=dict.fromkeys(ours, "x")
    )
    everything = replace(IMAGES, allowed_labels=("*",), allowed_annotations=("*",))
    inputs = Inputs(cluster=replace(cluster, spec=spec), replicas=1, images=everything, version="1")
    made = desired_children(inputs)[2]["spec"]["template"]["metadata"]
    assert made["labels"].items() >= labels.pod_labels("demo").items()
    assert made["annotations"][labels.TEMPLATE_HASH] != "x"


def test_a_term_without_a_selector_means_this_poseclusters_pods() -> None:
    mine = {"topologyKey": "rack", "labelSelector": {"matchLabels": {"app": "shop"}}}
    required, preferred = (
        f"{when}DuringSchedulingIgnoredDuringExecution" for when in ("required", "preferred")
    )
    terms = {
        required: [{"topologyKey": "zone"}, mine],
        preferred: [{"weight": 1, "podAffinityTerm": {"topologyKey": "zone"}}],
    }
    spec = {"affinity": {"podAffinity": terms, "podAntiAffinity": {required: [{"topologyKey": "zone"}]}}}
    affinity = template(spec, IMAGES)["spec"]["affinity"]
    ours = {"topologyKey": "zone", "labelSelector": {"matchLabels": labels.selector("demo")}}
    assert affinity["podAffinity"] == {
        required: [ours, mine],
        preferred: [{"weight": 1, "podAffinityTerm": ours}],
    }
    assert affinity["podAntiAffinity"] == {required: [ours]}


def test_the_documented_way_exempts_the_admin_port_from_a_mesh() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    section = text.partition("### Service mesh\n")[2].partition("\n### ")[0]
    values, resource = (
        yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)
    )
    allowed = replace(IMAGES, allowed_annotations=tuple(values["operator"]["allowedPodAnnotations"]))
    annotations = template(resource["spec"], allowed)["metadata"]["annotations"]
    theirs = resource["spec"]["podAnnotations"]
    assert annotations.items() >= theirs.items()
    assert set(theirs.values()) == {str(ADMIN_PORT)}
