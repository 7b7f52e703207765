"""What `explain` derives from the resource, without or in addition to the operator's answer."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from harness.golden import Golden
from harness.poseclusters import posecluster
from posecluster_operator.explain.decision import page
from posecluster_operator.explain.resource import explain_resource, needs_operator, resource_rows
from posecluster_operator.reconcile.status import OVERRIDDEN
from posecluster_operator.resource.posecluster import PoseCluster
from posecluster_operator.resource.reasons import ScalingReason

pytestmark = pytest.mark.unit

NOW = datetime(2026, 11, 23, 2, 0, 0, tzinfo=UTC)
LOAD = {"queued": 4, "running": 6, "requestsPerSecond": 31, "lateRequestsPermille": 5, "scrapedPods": 3}
LAST = {"time": "2026-11-23T01:59:48Z", "from": 3, "to": 5, "reason": "Burst", "message": "4.6 were needed"}
SPECS: dict[ScalingReason, dict[str, Any]] = {
    ScalingReason.FIXED_SIZE: {"replicas": 5, "scaling": {"mode": "Fixed"}},
    ScalingReason.AT_MINIMUM: {"scaling": {"minReplicas": 5}},
}


def told(reason: ScalingReason, *, seen: int = 2, progressing: Any = None, **status: Any) -> PoseCluster:
    """The resource as the operator left it when this was the reason."""
    measured = reason.is_active or reason is ScalingReason.PARTIAL_METRICS
    conditions = [
        {"type": "Progressing", "status": "True", "reason": "RolloutComplete", "message": "All is well."},
        {"type": "ScalingActive", "status": str(reason.is_active), "reason": reason.value, "message": "x"},
    ]
    if progressing:
        conditions[0] |= progressing
    usual = {
        "observedGeneration": seen,
        "desiredReplicas": 5,
        "readyReplicas": 4,
        "lastScaling": LAST,
        "conditions": conditions,
    } | ({"load": LOAD} if measured else {})
    spec = SPECS.get(reason)
    paused = reason is ScalingReason.PAUSED
    return posecluster(spec, generation=2, paused=paused, status=usual | status)


def text(cluster: PoseCluster) -> str:
    return page(explain_resource(cluster).rstrip("\n"), resource_rows(cluster, NOW))


def test_the_texts_are_those_of_the_golden_file(golden: Golden) -> None:
    golden(
        "explanations-resource",
        [{"reason": one.value, "text": text(told(one)).splitlines()} for one in ScalingReason],
    )


@pytest.mark.parametrize("mode", [ScalingReason.FIXED_SIZE, ScalingReason.WAITING_FOR_PODS])
def test_a_silent_node_is_named_and_comes_first_in_what_to_do(mode: ScalingReason) -> None:
    cluster = told(mode)
    about = {"type": "DisruptionSafe", "status": "False", "reason": "NodeSilent", "message": "No pod on a."}
    conditions = [*cluster.status["conditions"], about]
    named = text(replace(cluster, status={**cluster.status, "conditions": conditions}))
    assert "NodeSilent: No pod on a." in named
    assert "kubectl -n default get pods -o wide" in named.partition("To do")[2]
    assert "Check the nodes that do not respond." in named
    assert "To do       Nothing" not in named
    assert "Nodes" not in text(cluster)


def test_a_scale_without_effect_is_explained_with_the_command_that_has_one() -> None:
    cluster = replace(told(ScalingReason.STEADY), scaled=True)
    found = text(cluster)
    assert "has no effect while spec.scaling.mode is Auto" in " ".join(found.split())
    patch = '{"spec":{"replicas":1,"scaling":{"mode":"Fixed"}}}'
    assert f"kubectl -n default patch posecluster demo --type merge -p '{patch}'" in found
    fixed = replace(told(ScalingReason.FIXED_SIZE), scaled=True)
    assert "has no effect" not in text(fixed)


@pytest.mark.parametrize("reason", ScalingReason)
def test_each_reason_says_what_it_means_and_what_to_do(reason: ScalingReason) -> None:
    found = text(told(reason))
    assert found.startswith("posecluster default/demo has 5 pods (")
    assert found.splitlines()[0].endswith(f": {reason.value}")
    assert reason.message in " ".join(found.split())
    assert "  To do " in found


def test_the_operator_is_queried_only_for_sizes_that_follow_from_load() -> None:
    asked = {reason for reason in ScalingReason if needs_operator(told(reason))}
    assert asked == set(ScalingReason) - {ScalingReason.PAUSED, ScalingReason.FIXED_SIZE}


def test_the_spec_takes_precedence_over_the_last_observed_status() -> None:
    status = told(ScalingReason.STEADY).status
    fixed = posecluster({"replicas": 2, "scaling": {"mode": "Fixed"}}, generation=3, status=status)
    assert text(fixed).splitlines()[0] == "posecluster default/demo has 5 pods (fixed): FixedSize"
    assert "Spec        not reconciled yet: generation 3, observed generation 2" in text(fixed)


@pytest.mark.parametrize("status", [None, {}, {"conditions": [{"type": "ScalingActive", "reason": "Mine"}]}])
def test_without_a_condition_the_text_advises_to_check_the_operator(status: Any) -> None:
    found = text(posecluster(status=status))
    assert "no operator has reconciled it yet" in found
    assert "Check that the operator is running" in found


def test_the_cause_that_stops_the_pods_is_reported() -> None:
    stuck = {"status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available."}
    found = text(told(ScalingReason.WAITING_FOR_PODS, progressing=stuck))
    assert "  Stuck       Unschedulable: 0/3 nodes are available.\n" in found
    moving = {"status": "True", "reason": "RollingOut", "message": "Pods are being started or replaced."}
    found = text(told(ScalingReason.WAITING_FOR_PODS, progressing=moving))
    assert "  Rollout     RollingOut: Pods are being started or replaced.\n" in found
    assert "Rollout" not in text(told(ScalingReason.STEADY))


@pytest.mark.parametrize(
    ("time", "said"),
    [
        ("2026-11-23T01:59:48Z", "12 s ago from 3 to 5: Burst, 4.6 were needed"),
        ("2026-11-23T01:30:00Z", "30 min ago"),
        ("2026-11-22T20:00:00Z", "6 h ago"),
        ("2026-11-13T02:00:00Z", "10 d ago"),
        ("2026-11-23T02:00:03Z", "0 s ago"),  # another machine's clock
        ("yesterday", "at an unknown time"),
        ("", "at an unknown time"),
    ],
)
def test_the_last_change_is_dated(time: str, said: str) -> None:
    found = text(told(ScalingReason.STEADY, lastScaling=LAST | {"time": time}))
    assert f"  Last change {said}" in found


def test_a_new_posecluster_has_no_change_and_no_load_to_report() -> None:
    found = text(told(ScalingReason.STEADY, lastScaling=None, load=None))
    assert "Last change" not in found
    assert "unknown, because status.load is unset" in found


def test_a_contested_child_is_explained_with_the_commands_that_find_the_other_client() -> None:
    contested = {"status": "False", "reason": "Contested", "message": "Service demo-pose: another client."}
    lines = text(told(ScalingReason.STEADY, progressing=contested)).splitlines()
    begin = next(number for number, line in enumerate(lines) if "Contested" in line)
    assert lines[begin] == "  Stuck       Contested: Service demo-pose: another client."
    rest = "\n".join(lines[begin:])
    assert "get deployments,services,poddisruptionbudgets -l app.kubernetes.io/instance=demo" in rest
    assert "kubectl -n default annotate posecluster demo posecluster.io/paused=true" in rest


def test_a_queued_rollout_is_explained_with_the_setting() -> None:
    queued = {"status": "True", "reason": "RolloutQueued", "message": "Later."}
    page = text(told(ScalingReason.STEADY, progressing=queued))
    assert "  Rollout     RolloutQueued: Later." in page
    assert "operator.settings.concurrentRollouts" in page


def test_fields_that_admission_changes_are_explained() -> None:
    message = f"All is well. {OVERRIDDEN} Deployment demo-pose: spec.replicas."
    page = text(told(ScalingReason.STEADY, progressing={"message": message}))
    assert "  Overridden  An admission webhook or policy" in page
    assert "Deployment demo-pose: spec.replicas." in page
