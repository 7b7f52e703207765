"""Rollout diagnosis of pods without a container of their own: unschedulable, refused, or slow."""

from typing import Any

import pytest

from harness.kube_objects import (
    DEADLINE,
    POD,
    container,
    deployment,
    pod,
    pod_condition,
    progressing,
    refused,
    waiting,
)
from posecluster_operator.reconcile.rollout_diagnosis import Failure, find_failure
from posecluster_operator.resource.reasons import ProgressingReason as Reason

pytestmark = pytest.mark.unit

TAINT = "node(s) had untolerated taint {node.kubernetes.io/disk: }"
NO_ROOM = f"0/3 nodes are available: 1 {TAINT}, 2 Insufficient cpu. "
PREEMPTION = (
    "preemption: 0/3 nodes are available: 2 No preemption victims found for incoming pod, "
    "1 Preemption is not helpful."
)
MAKE_ROOM = (
    "Add a node, free capacity on one, lower spec.resources.requests, or allow the pods on more nodes "
    "(spec.nodeSelector, spec.affinity, spec.tolerations). A rollout starts new pods before it stops old "
    "ones, so it needs capacity for a quarter more pods, at least one, unless "
    "spec.rollout.maxUnavailable is set."
)
BROKEN = container(state=waiting("InvalidImageName", "invalid reference format"))


def unschedulable(message: str) -> dict[str, Any]:
    return pod(conditions=[pod_condition("PodScheduled", "False", "Unschedulable", message)])


def find(*pods: dict[str, Any], secret: str | None = None, **others: Any) -> Failure | None:
    return find_failure(deployment(**others), pods, token_secret=secret)


# --- no node ---


@pytest.mark.parametrize(
    "message",
    [
        NO_ROOM + PREEMPTION,
        NO_ROOM,
        f"0/9 nodes are available: 4 Insufficient cpu, 5 {TAINT}. {PREEMPTION}",
        f"{NO_ROOM}no new claims to deallocate, {PREEMPTION}",  # 1.34
    ],
)
def test_an_unschedulable_pod_is_reported_without_node_counts(message: str) -> None:
    assert find(unschedulable(message)) == Failure(
        Reason.UNSCHEDULABLE,
        f"Unschedulable: no node accepts the pod: Insufficient cpu, {TAINT}. {MAKE_ROOM}",
    )


def test_other_messages_of_the_scheduler_are_quoted() -> None:
    found = find(unschedulable("no nodes available to schedule pods"))
    assert found == Failure(
        Reason.UNSCHEDULABLE, f"Unschedulable: no nodes available to schedule pods. {MAKE_ROOM}"
    )


# --- refused by quota or admission ---


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (
            refused(
                f'pods "{POD}" is forbidden: exceeded quota: tiny, requested: limits.cpu=2,pods=1, '
                "used: limits.cpu=3,pods=1, limited: limits.cpu=4,pods=1"
            ),
            "exceeded quota: tiny, requested: limits.cpu=2,pods=1, limited: limits.cpu=4,pods=1",
        ),
        (
            refused(f'pods "{POD}" is forbidden: violates PodSecurity "restricted:v1": runAsNonRoot != true'),
            'violates PodSecurity "restricted:v1": runAsNonRoot != true',
        ),
        (
            refused(f'admission webhook "policy.example" denied the request: {POD} has no label'),
            'admission webhook "policy.example" denied the request: demo-pose has no label',
        ),
        (
            refused('Pod "demo-pose-5d8f9c7b6d-" is invalid: spec.priority: Forbidden: not yours'),
            "spec.priority: Forbidden: not yours",
        ),
        (
            refused(
                'Internal error occurred: failed calling webhook "p": failed to call webhook: Post '
                '"https://p.ns.svc:443/?timeout=10s": dial tcp 10.96.1.2:443: connect: connection refused'
            ),
            'Internal error occurred: failed calling webhook "p": failed to call webhook: Post '
            '"https://p.ns.svc:443/?timeout=10s": dial tcp address: connect: connection refused',
        ),
        (
            progressing(
                "ReplicaSetCreateError",
                'Failed to create new replica set "demo-pose-5d8f9c7b6d": replicasets.apps '
                '"demo-pose-5d8f9c7b6d" is forbidden: exceeded quota: sets, '
                "requested: count/replicasets.apps=1, "
                "used: count/replicasets.apps=5, limited: count/replicasets.apps=5",
            ),
            "exceeded quota: sets, requested: count/replicasets.apps=1, limited: count/replicasets.apps=5",
        ),
    ],
)
def test_an_admission_refusal_is_reported_without_names_and_usage(
    condition: dict[str, Any], message: str
) -> None:
    assert find(conditions=[condition]) == Failure(Reason.FAILED_CREATE, f"FailedCreate: {message}")


def test_conditions_about_an_older_spec_do_not_count() -> None:
    old = {"generation": 4, "observed_generation": 3}
    assert find(conditions=[refused("exceeded quota: tiny"), DEADLINE], **old) is None
    # the controller does not say which generation it saw when it cannot make the ReplicaSet
    assert find(conditions=[progressing("ReplicaSetCreateError", "no")], **old) is not None


# --- time is up ---

CREATING = container(state=waiting("ContainerCreating"))
NO_SANDBOX = [pod_condition("PodReadyToStartContainers", "False")]
SANDBOX = [pod_condition("PodReadyToStartContainers", "True")]


@pytest.mark.parametrize(
    ("pods", "secret", "reason", "words"),
    [
        (
            [pod(CREATING, conditions=NO_SANDBOX)],
            "mine",
            Reason.CREATE_CONTAINER_ERROR,
            "check that Secret mine exists",
        ),
        (
            [pod(CREATING, conditions=NO_SANDBOX)],
            None,
            Reason.PROGRESS_DEADLINE_EXCEEDED,
            "volumes or network",
        ),
        ([pod(CREATING, conditions=SANDBOX)], "mine", Reason.PROGRESS_DEADLINE_EXCEEDED, "pulling the image"),
        (
            [pod(container(), phase="Running")],
            "mine",
            Reason.PROGRESS_DEADLINE_EXCEEDED,
            "did not become ready",
        ),
        ([], None, Reason.PROGRESS_DEADLINE_EXCEEDED, "made no progress"),
    ],
)
def test_slow_pods_are_reported_when_the_deadline_has_passed(
    pods: list[dict[str, Any]], secret: str | None, reason: Reason, words: str
) -> None:
    assert find(*pods, secret=secret) is None
    found = find(*pods, secret=secret, conditions=[DEADLINE])
    assert found is not None
    assert found.reason is reason
    assert words in found.message


def test_a_reverted_spec_is_not_late_because_of_the_old_deadline() -> None:
    ready = pod(container(ready=True), phase="Running", conditions=[pod_condition("Ready", "True")])
    assert find(ready, conditions=[DEADLINE]) is None


def test_a_pods_own_failure_takes_precedence_over_the_deadline() -> None:
    found = find(pod(BROKEN), conditions=[DEADLINE])
    assert found == Failure(Reason.IMAGE_PULL_BACK_OFF, "InvalidImageName: invalid reference format")
