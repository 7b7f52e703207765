"""What GitOps tools conclude from the status: in progress, current, failed."""

from datetime import UTC, datetime
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from harness.kstatus import CURRENT, FAILED, IN_PROGRESS, TERMINATING, kstatus
from harness.kube_objects import DEADLINE, container, deployment, pod, progressing, refused, waiting
from harness.poseclusters import posecluster
from harness.scaling import fixed_decision
from harness.server import ROOT
from posecluster_operator.reconcile.readiness import ready_generation
from posecluster_operator.reconcile.rollout_diagnosis import Failure
from posecluster_operator.reconcile.status import compute_status, mark_problem, notices
from posecluster_operator.resource.json_access import condition
from posecluster_operator.resource.posecluster import PoseCluster
from posecluster_operator.resource.reasons import ProgressingReason, ReadyReason

pytestmark = pytest.mark.unit

GENERATION = 7
NOW = datetime(2026, 11, 22, tzinfo=UTC)
NO_IMAGE = pod(container(state=waiting("ErrImagePull", "not found")))
INVALID = Failure(ProgressingReason.INVALID_SPEC, "no image")
TAKEN = Failure(ProgressingReason.NAME_TAKEN, "taken")
LEAVING = Failure(ProgressingReason.ROLLING_OUT, "waiting for a deletion")
REFUSED = Failure(ProgressingReason.APPLY_REJECTED, "a webhook")
FORBIDDEN = Failure(ProgressingReason.FORBIDDEN, "no right")
FIXED = {"scaling": {"mode": "Fixed"}}


def status_of(
    observed: Any = None,
    *pods: Any,
    spec: dict[str, Any] | None = None,
    size: int = 1,
    problem: Failure | None = None,
    rolled_out: int = 0,
    **cluster: Any,
) -> tuple[PoseCluster, dict[str, Any]]:
    """A PoseCluster and its new status. `rolled_out`: the generation that was rolled out before."""
    spec = FIXED | {"replicas": size} if spec is None else spec
    made = posecluster(spec, generation=GENERATION, **cluster)
    acts = not made.paused and problem not in (INVALID, FORBIDDEN)
    return made, compute_status(
        made,
        deployment=observed,
        pods=pods,
        decision=fixed_decision(size) if acts else None,
        problem=problem,
        rolled_out=rolled_out,
        now=NOW,
    )


def verdict(status: dict[str, Any], *, generation: int = GENERATION) -> str:
    return kstatus({"metadata": {"generation": generation}, "status": status})


def abnormal(status: dict[str, Any]) -> dict[str, str]:
    """Reconciling and Stalled, if they are there, with their reasons."""
    return {
        one["type"]: one["reason"]
        for one in status["conditions"]
        if one["type"] in {"Reconciling", "Stalled"}
    }


ROLLING, NO_PULL = {"Reconciling": "RollingOut"}, {"Reconciling": "ImagePullBackOff"}
AUTO = {"replicas": 2, "scaling": {"mode": "Auto", "minReplicas": 1, "maxReplicas": 5}}
BURST: dict[str, Any] = {"spec": AUTO, "size": 5, "rolled_out": GENERATION}
BEFORE: dict[str, Any] = {"rolled_out": GENERATION}
LATE = deployment(conditions=[DEADLINE])
REFUSING = deployment(total=0, conditions=[refused("quota")])
STILL_REFUSING = deployment(total=0, conditions=[refused("quota"), DEADLINE])
MISSING = deployment(ready=1, updated=1, total=2, conditions=[DEADLINE])
NO_SET = deployment(generation=4, conditions=[progressing("ReplicaSetCreateError", "no")])

# what it is: kstatus's verdict, Reconciling or Stalled, the Deployment, pods, other facts
STATES: dict[str, tuple[str, dict[str, str], Any, list[Any], dict[str, Any]]] = {
    "new": (IN_PROGRESS, ROLLING, None, [], {}),
    "pods start": (IN_PROGRESS, ROLLING, deployment(), [], {}),
    "one of three": (IN_PROGRESS, ROLLING, deployment(replicas=3, ready=1), [], {"size": 3}),
    "done": (CURRENT, {}, deployment(replicas=3, ready=3), [], {"size": 3}),
    "not observed yet": (IN_PROGRESS, ROLLING, deployment(ready=1, generation=4), [], {}),
    "old pods left": (IN_PROGRESS, ROLLING, deployment(ready=2, updated=1, total=2), [], {}),
    "too many pods": (IN_PROGRESS, ROLLING, deployment(replicas=2, ready=2), [], {}),
    # Kubernetes gives the rollout 45 s: a registry or a node may come back
    "first pull fails": (IN_PROGRESS, NO_PULL, deployment(), [NO_IMAGE], {}),
    "no image": (FAILED, {"Stalled": "ImagePullBackOff"}, LATE, [NO_IMAGE], {}),
    "no image, old pods serve": (FAILED, {"Stalled": "ImagePullBackOff"}, MISSING, [NO_IMAGE], {}),
    "never ready": (FAILED, {"Stalled": "ProgressDeadlineExceeded"}, LATE, [], {}),
    # the deadline of a spec that was taken back says nothing about the present one
    "reverted": (IN_PROGRESS, ROLLING, deployment(generation=4, conditions=[DEADLINE]), [], {}),
    "pods refused": (IN_PROGRESS, {"Reconciling": "FailedCreate"}, REFUSING, [], {}),
    "pods refused for long": (FAILED, {"Stalled": "FailedCreate"}, STILL_REFUSING, [], {}),
    "ReplicaSet refused": (FAILED, {"Stalled": "FailedCreate"}, NO_SET, [], {}),
    # the operator cannot act
    "invalid": (FAILED, {"Stalled": "InvalidSpec"}, deployment(ready=1), [], {"problem": INVALID}),
    "name taken": (FAILED, {"Stalled": "NameTaken"}, None, [], {"problem": TAKEN}),
    "refused": (FAILED, {"Stalled": "ApplyRejected"}, deployment(ready=1), [], {"problem": REFUSED}),
    "forbidden": (FAILED, {"Stalled": "Forbidden"}, deployment(ready=1), [], {"problem": FORBIDDEN}),
    "a namesake's child is being deleted": (IN_PROGRESS, ROLLING, None, [], {"problem": LEAVING}),
    "scaled to zero": (CURRENT, {}, deployment(replicas=0), [], {"size": 0}),
    "a pod is left": (IN_PROGRESS, ROLLING, deployment(replicas=0, total=1, ready=1), [], {"size": 0}),
    # Auto: the spec asks for its first size, and the rest is the autoscaler's business
    "first size not reached": (
        IN_PROGRESS, ROLLING, deployment(replicas=2, ready=1), [], {"spec": AUTO, "size": 2}
    ),
    "burst in a rollout": (CURRENT, {}, deployment(replicas=5, ready=2), [], {"spec": AUTO, "size": 5}),
    "little load": (CURRENT, {}, deployment(ready=1), [], {"spec": AUTO, "size": 1}),
    # rolled out before
    "scale-up": (CURRENT, {}, deployment(replicas=5, ready=1), [], BURST),
    "scale-up not observed yet": (
        CURRENT, {}, deployment(replicas=5, ready=1, updated=1, total=1, generation=4), [], BURST
    ),
    "scale-up that fails": (
        CURRENT, {}, deployment(replicas=5, ready=1, conditions=[DEADLINE]), [NO_IMAGE], BURST
    ),
    "scale-up refused": (CURRENT, {}, deployment(ready=1), [], BURST | {"problem": REFUSED}),
    "one pod of three lost": (CURRENT, {}, deployment(replicas=3, ready=2), [], BEFORE | {"size": 3}),
    "the only pod lost": (IN_PROGRESS, ROLLING, deployment(), [], BEFORE),
    "Deployment deleted": (IN_PROGRESS, ROLLING, None, [], BEFORE),
    "new default image": (IN_PROGRESS, ROLLING, deployment(ready=2, updated=1, total=2), [], BEFORE),
    "another generation was": (
        IN_PROGRESS, ROLLING, deployment(replicas=3, ready=1), [], {"size": 3, "rolled_out": GENERATION - 1}
    ),
}  # fmt: skip


@pytest.mark.parametrize("state", STATES)
def test_ready_reconciling_and_stalled_in_each_state(state: str) -> None:
    expected, why, observed, pods, facts = STATES[state]
    _, status = status_of(observed, *pods, **facts)
    assert (verdict(status), abnormal(status)) == (expected, why)
    ready = condition(status, "Ready")
    assert ready["status"] == str(expected == CURRENT)
    if expected != CURRENT:
        (reason,) = why.values()
        assert ready["reason"] == condition(status, "Progressing")["reason"] == reason
        assert ready["message"] == condition(status, "Progressing")["message"]


@pytest.mark.parametrize(
    ("observed", "expected"),
    [
        ({"observedGeneration": 0}, IN_PROGRESS),  # made while paused
        ({"observedGeneration": GENERATION - 1}, IN_PROGRESS),  # changed while paused
        ({"observedGeneration": GENERATION}, CURRENT),
    ],
)
def test_the_verdict_of_a_paused_posecluster_follows_its_last_status(
    observed: dict[str, int], expected: str
) -> None:
    _, status = status_of(
        deployment(ready=1), paused=True, status=observed, rolled_out=observed["observedGeneration"]
    )
    assert verdict(status) == expected
    assert abnormal(status) == {}
    assert condition(status, "Ready")["status"] == str(observed["observedGeneration"] > 0)


def test_paused_before_the_rollout_was_complete_is_neither_ready_nor_failed() -> None:
    facts: dict[str, Any] = {"paused": True, "status": {"observedGeneration": GENERATION}}
    for observed in (deployment(replicas=3, ready=1), deployment(ready=1), None):
        _, status = status_of(observed, **facts, rolled_out=GENERATION - 1)
        assert (condition(status, "Ready")["status"], condition(status, "Ready")["reason"]) == (
            "False",
            "Paused",
        )
        assert (verdict(status), abnormal(status)) == (IN_PROGRESS, {})


def test_paused_at_size_zero_is_scaled_to_zero() -> None:
    before = {"observedGeneration": GENERATION}
    _, status = status_of(deployment(replicas=0), paused=True, status=before, rolled_out=GENERATION)
    assert condition(status, "Available")["reason"] == "ScaledToZero"
    assert (condition(status, "Ready")["reason"], verdict(status)) == ("ScaledToZero", CURRENT)


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        (status_of(deployment(ready=1))[1], CURRENT),
        (status_of(deployment(replicas=0), size=0)[1], CURRENT),
        (status_of(deployment())[1], FAILED),
        ({}, FAILED),
    ],
)
def test_children_that_cannot_be_read_leave_ready_as_it_was(before: Any, expected: str) -> None:
    cluster = posecluster(generation=GENERATION, status=before)
    assert verdict(mark_problem(cluster, FORBIDDEN, now=NOW)) == expected
    newer = posecluster(generation=GENERATION + 1, status=before)
    assert verdict(mark_problem(newer, FORBIDDEN, now=NOW), generation=GENERATION + 1) == FAILED


def test_a_change_without_an_operator_and_a_deletion_are_not_current() -> None:
    _, status = status_of(deployment(ready=1))
    assert verdict(status) == CURRENT
    assert verdict(status, generation=GENERATION + 1) == IN_PROGRESS
    metadata = {"generation": GENERATION, "deletionTimestamp": "2026-11-22T00:00:00Z"}
    assert kstatus({"metadata": metadata, "status": status}) == TERMINATING


def test_before_the_first_status_it_is_in_progress() -> None:
    crd = yaml.safe_load((ROOT / "crds" / "poseclusters.yaml").read_text(encoding="utf-8"))
    (version,) = crd["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]["properties"]["status"]
    fields = schema["properties"]
    assert schema["default"] == {}
    status = {name: one["default"] for name, one in fields.items() if "default" in one}
    for part in (
        status,
        {"observedGeneration": status["observedGeneration"]},
        {"conditions": status["conditions"]},
    ):
        assert verdict(part, generation=1) == IN_PROGRESS  # each of the two is enough
    (ready,) = status["conditions"]
    reason = ReadyReason.WAITING_FOR_OPERATOR
    assert (ready["type"], ready["reason"], ready["message"]) == ("Ready", reason, reason.message)
    assert ready_generation(status) == 0


def test_the_status_after_the_crds_default_has_the_events_of_a_first_status() -> None:
    _, starting = status_of(deployment())
    assert (
        notices({"observedGeneration": 0, "conditions": [{"type": "Ready", "status": "Unknown"}]}, starting)
        == ()
    )


SIZES = st.integers(0, 4)


@given(
    st.builds(
        deployment, replicas=SIZES, ready=SIZES, updated=SIZES, total=SIZES,
        generation=st.sampled_from([3, 4]),
        conditions=st.sampled_from([[], [DEADLINE], [refused("no")]]),
    ),
    st.sampled_from([(), (NO_IMAGE,)]),
    SIZES,
    st.sampled_from([None, INVALID, TAKEN, LEAVING, REFUSED, FORBIDDEN]),
    st.sampled_from([0, GENERATION - 1, GENERATION]),
    st.booleans(),
)  # fmt: skip
def test_exactly_one_of_ready_reconciling_and_stalled_is_true_unless_paused(
    observed: Any, pods: Any, size: int, problem: Failure | None, rolled_out: int, paused: bool
) -> None:
    cluster, status = status_of(
        observed,
        *pods,
        size=size,
        problem=problem,
        rolled_out=rolled_out,
        paused=paused,
        status={"observedGeneration": GENERATION},
    )
    true = [
        kind
        for kind in ("Ready", "Reconciling", "Stalled")
        if condition(status, kind).get("status") == "True"
    ]
    is_left_alone = cluster.paused and condition(status, "Progressing")["reason"] == "Paused"
    assert len(true) == 1 or (is_left_alone and not true)
    assert all(
        one["status"] == "True" for one in status["conditions"] if one["type"] in {"Reconciling", "Stalled"}
    )
    if true == ["Ready"]:
        available = condition(status, "Available")
        assert available["status"] == "True" or available["reason"] == "ScaledToZero"
        assert rolled_out == GENERATION or problem is None
    if condition(status, "Progressing")["reason"] == "RolloutComplete":
        assert true == ["Ready"]
