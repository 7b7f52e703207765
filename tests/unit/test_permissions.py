"""The table of the operator's rights has no more than is used; tests/chart checks what the chart renders."""

import pytest

from posecluster_operator.kube.permissions import LEASE, NODES, WATCHED

pytestmark = pytest.mark.unit

RULES = (*WATCHED, *NODES, *LEASE)


def test_there_are_no_wildcards_and_no_rights_that_allow_escalation() -> None:
    never = {"secrets", "roles", "rolebindings", "clusterroles", "namespaces", "pods/exec"}
    for rule in RULES:
        assert "*" not in rule.group + rule.resource + "".join(rule.verbs)
        assert rule.resource not in never
        assert not {"escalate", "bind", "impersonate", "deletecollection"} & set(rule.verbs)


def test_nodes_are_only_listed() -> None:
    assert [(rule.resource, rule.verbs) for rule in NODES] == [("nodes", ("list",))]
    assert "nodes" not in {rule.resource for rule in WATCHED}


def test_only_disruption_budgets_are_ever_deleted() -> None:
    assert {rule.resource for rule in RULES if "delete" in rule.verbs} == {"poddisruptionbudgets"}


def test_spec_of_a_posecluster_cannot_be_written() -> None:
    verbs = {verb for rule in WATCHED if rule.resource == "poseclusters" for verb in rule.verbs}
    assert verbs == {"get", "list", "watch"}


def test_no_rule_is_repeated_and_lease_rules_are_separate() -> None:
    names = [(rule.full_name, rule.ours) for rule in RULES]
    assert len(set(names)) == len(names)
    assert {rule.resource for rule in LEASE} == {"leases"}
    assert "leases" not in {rule.resource for rule in WATCHED}


def test_of_leases_only_our_own_is_read_and_written() -> None:
    assert {verb for rule in LEASE if not rule.ours for verb in rule.verbs} == {"create"}
