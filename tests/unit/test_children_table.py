"""Everything about children derives from one table: a row that is added to it takes effect everywhere."""

import json
import subprocess
import sys
from typing import Any

import pytest

from harness.poseclusters import posecluster
from harness.server import ROOT
from posecluster_operator.builders import Inputs
from posecluster_operator.builders.table import CHILDREN, DISRUPTION_BUDGET, INFERENCE_DEPLOYMENT
from posecluster_operator.reconcile.children import Children, is_own
from posecluster_operator.resource.posecluster import PodDefaults

pytestmark = pytest.mark.unit

# Prints what each module makes of the table.
DERIVED = """
import json, sys
from random import Random
import kopf
from harness import gateway_child
if sys.argv[1:] == ["gateway"]:
    gateway_child.register(gateway_child.SERVICE, gateway_child.DEPLOYMENT, gateway_child.ROUTES)
from harness.poseclusters import posecluster
from posecluster_operator.kube import kinds, permissions
from posecluster_operator.watch import kopf_runner
from posecluster_operator.builders import Inputs, desired_children, table
from posecluster_operator.resource.posecluster import PodDefaults
cluster = posecluster()
settings = kopf.OperatorSettings()
kopf_runner.configure_kopf(settings, inactivity_seconds=1, instance="x", random=Random(1))
def applied(replicas):
    images = PodDefaults(image="example.test/pose:1")
    made = desired_children(Inputs(cluster=cluster, replicas=replicas, images=images, version="1"))
    return [f"{one['kind']}/{one['metadata']['name']}" for one in made]
print(json.dumps({
    "read": ["/".join(ident) for ident in table.idents(cluster)],
    "applied": applied(2),
    "applied to one pod": applied(1),
    "rights": {rule.full_name: rule.verbs for rule in permissions.WATCHED},
    "watched": sorted(str(watch) for watch in kopf_runner.watches([])),
    "watched by label": sorted(one.any_name for one in settings.watching.label_selectors),
    "kinds": sorted(kind for _api_version, kind in kinds.BY_KIND),
}))
"""


def derived(*arguments: str) -> dict[str, Any]:
    """What follows from the table, in a process in which nothing has been imported yet."""
    path = {"PYTHONPATH": f"{ROOT / 'tests'}:{ROOT / 'operator'}:{ROOT / 'common'}"}
    done = subprocess.run(
        [sys.executable, "-c", DERIVED, *arguments], env=path, check=True, stdout=subprocess.PIPE, timeout=60
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_row_appears_in_everything_that_follows_from_the_table() -> None:
    before, after = derived(), derived("gateway")
    gateway = ["Service/demo-pose-gateway", "Deployment/demo-pose-gateway", "ConfigMap/demo-pose-routes"]
    assert after["read"] == before["read"] + gateway
    assert after["applied"] == before["applied"] + gateway
    assert after["applied to one pod"] == before["applied to one pod"] + gateway[:2]
    config_maps = ["get", "list", "watch", "create", "patch", "delete"]
    # the other kinds are there already, and no rule is there twice
    assert after["rights"] == before["rights"] | {"configmaps": config_maps}
    assert set(after["watched"]) - set(before["watched"]) == {"configmaps"}
    assert set(after["watched by label"]) - set(before["watched by label"]) == {"configmaps"}
    assert set(after["kinds"]) - set(before["kinds"]) == {"ConfigMap"}


def manifests(replicas: int) -> list[dict[str, Any] | None]:
    images = PodDefaults(image="example.test/pose:1")
    inputs = Inputs(cluster=posecluster({}), replicas=replicas, images=images, version="1")
    return [row.manifest(inputs) for row in CHILDREN]


@pytest.mark.parametrize("replicas", [0, 1, 2, 500])
def test_only_optional_children_are_ever_missing_and_each_row_names_a_part_of_its_object(
    replicas: int,
) -> None:
    for row, manifest in zip(CHILDREN, manifests(replicas), strict=True):
        assert manifest is not None or row.is_optional
        owned: Any = manifest
        for key in row.owned if manifest else ():
            owned = owned[key]
        assert owned or manifest is None


def test_an_optional_child_is_missing_at_some_size() -> None:
    missing = {
        row
        for replicas in (0, 1, 2)
        for row, made in zip(CHILDREN, manifests(replicas), strict=True)
        if made is None
    }
    assert missing == {row for row in CHILDREN if row.is_optional}


def test_children_are_read_by_role() -> None:
    cluster = posecluster({})
    own, other = ({"metadata": {"ownerReferences": [{"uid": uid}]}} for uid in (cluster.uid, "another"))
    assert is_own(cluster, own)
    live: dict[tuple[str, str], Any] = {row.ident(cluster.name): other for row in CHILDREN}
    live[INFERENCE_DEPLOYMENT.ident(cluster.name)] = own
    pods = [{"metadata": {"name": "a"}}]
    children = Children(cluster, live, {INFERENCE_DEPLOYMENT.component: pods})
    assert children[INFERENCE_DEPLOYMENT] is own
    assert children[DISRUPTION_BUDGET] is None, "another PoseCluster's object of that name is not a child"
    assert children.pods_of(INFERENCE_DEPLOYMENT) == pods
