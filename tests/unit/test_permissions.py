"""The table of rights: nothing more than is used, and the files in deploy/ are it."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from posecluster_operator.permissions import LEASE, WATCHED, manifests

pytestmark = pytest.mark.unit

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"


def _rules(objects: list[dict[str, Any]]) -> set[tuple[str, str, str]]:
    return {
        (group, resource, verb)
        for item in objects
        for rule in item.get("rules", ())
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


@pytest.mark.parametrize(
    ("file", "watched"),
    [("rbac.yaml", ()), ("rbac-namespaced.yaml", ("posecluster",))],
    ids=["cluster", "named"],
)
def test_files_in_deploy_equal_the_table(file: str, watched: tuple[str, ...]) -> None:
    text = (DEPLOY / file).read_text(encoding="utf-8")
    assert list(yaml.safe_load_all(text)) == manifests(namespace="posecluster", watched=watched)


def test_no_wildcards_and_no_right_that_others_gain_by() -> None:
    for group, resource, verb in _rules(manifests(namespace="here")):
        assert "*" not in group + resource + verb
        assert resource not in {"secrets", "roles", "rolebindings", "clusterroles", "namespaces", "pods/exec"}
        assert verb not in {"escalate", "bind", "impersonate", "deletecollection"}


def test_only_disruption_budgets_are_ever_deleted() -> None:
    assert {rule.resource for rule in (*WATCHED, *LEASE) if "delete" in rule.verbs} == {
        "poddisruptionbudgets"
    }


def test_spec_of_a_posecluster_cannot_be_written() -> None:
    verbs = {verb for rule in WATCHED if rule.resource == "poseclusters" for verb in rule.verbs}
    assert verbs == {"get", "list", "watch"}


def test_namespaced_rights_hold_in_the_named_namespaces_and_nowhere_else() -> None:
    objects = manifests(namespace="here", watched=["a", "b"])
    assert not [item["kind"] for item in objects if item["kind"].startswith("Cluster")]
    roles = [item for item in objects if item["kind"] == "Role"]
    assert sorted((item["metadata"]["namespace"], item["metadata"]["name"]) for item in roles) == [
        ("a", "posecluster-operator"),
        ("b", "posecluster-operator"),
        ("here", "posecluster-operator-lease"),
    ]
    assert {item["metadata"]["namespace"] for item in objects} == {"a", "b", "here"}


@pytest.mark.parametrize("watched", [(), ("a",)], ids=["cluster", "named"])
def test_leases_elsewhere_stay_out_of_reach(watched: tuple[str, ...]) -> None:
    for item in manifests(namespace="here", watched=watched):
        leases = {resource for _, resource, _ in _rules([item])} & {"leases"}
        assert not leases or (item["kind"], item["metadata"]["namespace"]) == ("Role", "here")


@pytest.mark.parametrize("watched", [(), ("a",)], ids=["cluster", "named"])
def test_every_role_is_bound_to_the_account(watched: tuple[str, ...]) -> None:
    objects = manifests(namespace="here", watched=watched)
    roles = {
        (i["kind"], i["metadata"].get("namespace"), i["metadata"]["name"]) for i in objects if "rules" in i
    }
    bindings = [item for item in objects if "roleRef" in item]
    bound = {(i["roleRef"]["kind"], i["metadata"].get("namespace"), i["roleRef"]["name"]) for i in bindings}
    assert bound == roles
    account = {"kind": "ServiceAccount", "name": "posecluster-operator", "namespace": "here"}
    assert all(item["subjects"] == [account] for item in bindings)
