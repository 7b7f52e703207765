"""The status from observed state: conditions, skipped writes, Events on transitions."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.kube_objects import DEADLINE, container, deployment, pod, refused, terminated, waiting
from harness.poseclusters import posecluster
from harness.reasons import allowed_reasons
from harness.scaling import fixed_decision
from posecluster_operator.reconcile.rollout_diagnosis import Failure
from posecluster_operator.reconcile.status import compute_status, mark_problem, notices, status_patch
from posecluster_operator.resource.json_access import condition
from posecluster_operator.resource.posecluster import PoseCluster
from posecluster_operator.resource.reasons import (
    DisruptionReason,
    ProgressingReason,
    ReadyReason,
    ScalingReason,
)
from posecluster_operator.scaling.policy import Decision

pytestmark = pytest.mark.unit

NOW = datetime(2026, 11, 22, 22, 13, 51, 999, UTC)
LATER = NOW + timedelta(hours=1)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
CRASHING = pod(
    container(state=waiting("CrashLoopBackOff"), last=terminated("Error", 1, "posecluster-inference: no"))
)
ALWAYS = {"Ready", "Available", "Progressing", "ScalingActive", "DisruptionSafe"}


def decision(replicas: int = 1) -> Decision:
    return fixed_decision(replicas)


def status_of(
    cluster: PoseCluster | None = None,
    observed: Any = None,
    *pods: Any,
    size: int | None = 1,
    problem: Failure | None = None,
    now: datetime = NOW,
) -> dict[str, Any]:
    return compute_status(
        cluster or posecluster(),
        deployment=observed,
        pods=pods,
        decision=None if size is None else decision(size),
        problem=problem,
        now=now,
    )


def reasons(status: Any) -> tuple[str, str]:
    """Available and Progressing as `Status/Reason`."""
    found = [condition(status, kind) for kind in ("Available", "Progressing")]
    available, progressing = (f"{item['status']}/{item['reason']}" for item in found)
    return available, progressing


# --- what is reported ---


@pytest.mark.parametrize(
    ("observed", "pods", "size", "available", "progressing"),
    [
        (None, [], 1, "False/NoReadyPods", "True/RollingOut"),
        (None, [], 0, "False/ScaledToZero", "True/RollingOut"),
        ({}, [], 1, "False/NoReadyPods", "True/RollingOut"),
        (deployment(), [], 1, "False/NoReadyPods", "True/RollingOut"),
        (deployment(ready=1), [], 1, "True/PodsReady", "True/RolloutComplete"),
        (deployment(replicas=0), [], 0, "False/ScaledToZero", "True/RolloutComplete"),
        # the controller has not seen this spec yet
        (deployment(ready=1, generation=4), [], 1, "True/PodsReady", "True/RollingOut"),
        # old pods serve while new ones start, or fail
        (deployment(ready=1, total=2), [], 1, "True/PodsReady", "True/RollingOut"),
        (deployment(ready=1, updated=0), [], 1, "True/PodsReady", "True/RollingOut"),
        (deployment(ready=1, total=2), [CRASHING], 1, "True/PodsReady", "False/CrashLoopBackOff"),
        (
            deployment(ready=1, total=2, conditions=[DEADLINE]),
            [],
            1,
            "True/PodsReady",
            "False/ProgressDeadlineExceeded",
        ),
        (deployment(total=0, conditions=[refused("no")]), [], 1, "False/NoReadyPods", "False/FailedCreate"),
        # a size that the Deployment does not have yet
        (deployment(ready=1), [], 2, "True/PodsReady", "True/RollingOut"),
        # what is complete is not spoilt by leftovers of the way there
        (deployment(ready=1, conditions=[refused("no")]), [], 1, "True/PodsReady", "True/RolloutComplete"),
        # nothing decided: the size is the Deployment's
        (deployment(replicas=2, ready=2), [], None, "True/PodsReady", "True/RolloutComplete"),
    ],
)
def test_conditions_of_each_observed_state(
    observed: Any, pods: list[Any], size: int | None, available: str, progressing: str
) -> None:
    assert reasons(status_of(None, observed, *pods, size=size)) == (available, progressing)


def test_the_whole_status() -> None:
    cluster = posecluster({"service": {"port": 8080}}, generation=7)
    assert status_of(cluster, deployment(replicas=3, ready=2), size=3) == {
        "observedGeneration": 7,
        "replicas": 3,
        "readyReplicas": 2,
        "desiredReplicas": 3,
        "selector": "app.kubernetes.io/component=inference,app.kubernetes.io/instance=demo,"
        "app.kubernetes.io/name=posecluster",
        "endpoint": "http://demo-pose.default.svc:8080",
        "conditions": [
            {
                "type": kind,
                "status": status,
                "observedGeneration": 7,
                "lastTransitionTime": "2026-11-22T22:13:51Z",
                "reason": reason,
                "message": message,
            }
            for kind, status, reason, message in (
                ("Ready", "True", "RolledOut", ReadyReason.ROLLED_OUT.message),
                ("Available", "True", "PodsReady", "At least one pod is ready."),
                ("Progressing", "True", "RollingOut", "Pods are being started or replaced."),
                ("ScalingActive", "False", "FixedSize", ScalingReason.FIXED_SIZE.message),
                ("DisruptionSafe", "True", "Protected", DisruptionReason.PROTECTED.message),
            )
        ],
    }
    assert status_of()["endpoint"] == "http://demo-pose.default.svc"


@pytest.mark.parametrize("reason", list(ProgressingReason))
def test_a_problem_takes_precedence_over_the_deployments_status(reason: ProgressingReason) -> None:
    told = condition(status_of(None, deployment(ready=1), problem=Failure(reason, "words")), "Progressing")
    assert told["status"] == (
        "True" if reason in {"RollingOut", "RolloutComplete", "RolloutQueued"} else "False"
    )
    assert (told["reason"], told["message"]) == (reason, "words")


@pytest.mark.parametrize(("before", "after"), [(None, 0), (4, 4), (99, 7), ("x", 0), (True, 0)])
def test_paused_freezes_the_generation_but_not_the_counts(before: Any, after: int) -> None:
    cluster = posecluster(generation=7, paused=True, status={"observedGeneration": before})
    status = status_of(cluster, deployment(replicas=2, ready=1), size=None)
    assert (status["observedGeneration"], status["readyReplicas"], status["desiredReplicas"]) == (after, 1, 2)
    assert reasons(status) == ("True/PodsReady", "False/Paused")
    assert condition(status, "ScalingActive")["reason"] == "Paused"


def test_when_children_cannot_be_read_the_rest_stays() -> None:
    before = status_of(None, deployment(replicas=2, ready=2), size=2)
    problem = Failure(ProgressingReason.FORBIDDEN, "No right to list pods")
    after = mark_problem(posecluster(generation=2, status=before), problem, now=LATER)
    assert reasons(after) == ("True/PodsReady", "False/Forbidden")
    assert {name: after[name] for name in ("replicas", "readyReplicas", "desiredReplicas")} == {
        "replicas": 2, "readyReplicas": 2, "desiredReplicas": 2,
    }  # fmt: skip
    assert after["observedGeneration"] == 2


# --- times ---


def test_only_a_changed_status_gets_a_new_time() -> None:
    before = status_of(None, deployment(), now=NOW)
    after = status_of(posecluster(status=before), deployment(ready=1), now=LATER)
    times = {item["type"]: item["lastTransitionTime"] for item in after["conditions"]}
    assert times == {
        "Ready": "2026-11-22T23:13:51Z",
        "Available": "2026-11-22T23:13:51Z",
        "Progressing": "2026-11-22T22:13:51Z",  # RollingOut and RolloutComplete are both True
        "ScalingActive": "2026-11-22T22:13:51Z",
        "DisruptionSafe": "2026-11-22T22:13:51Z",
    }


# --- unusual and forged objects ---


@given(JSON, JSON, st.lists(JSON, max_size=3))
def test_no_observed_state_raises_or_gives_an_unknown_reason(
    status: Any, observed: Any, pods: list[Any]
) -> None:
    cluster = posecluster(status=status)
    computed = status_of(cluster, observed, *pods)
    assert {item["type"] for item in computed["conditions"]} - {"Reconciling", "Stalled"} == ALWAYS
    for item in computed["conditions"]:
        assert item["reason"] in allowed_reasons(item["type"])
    status_patch(status, computed)
    mark_problem(cluster, Failure(ProgressingReason.FORBIDDEN, "x"), now=NOW)


KEYS = st.sampled_from(
    ["metadata", "status", "spec", "conditions", "type", "reason", "message", "state", "lastState", "waiting",
     "terminated", "containerStatuses", "ownerReferences", "name", "observedGeneration", "replicas", "kind",
     "readyReplicas", "template", "annotations", "lastTransitionTime", "controller", "ready", "exitCode"]
)  # fmt: skip
WORDS = st.sampled_from(
    ["Progressing", "Available", "False", "True", "ReplicaSet", "demo-pose-", "ErrImagePull", ""]
)
SHAPED = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=25,
)


@given(SHAPED, SHAPED, st.lists(SHAPED, max_size=3), st.sampled_from([None, 0, 1, 2]))
def test_a_status_that_was_written_is_not_written_again(
    status: Any, observed: Any, pods: list[Any], size: Any
) -> None:
    first = status_of(posecluster(status=status), observed, *pods, size=size)
    second = status_of(posecluster(status=first), observed, *pods, size=size, now=LATER)
    assert status_patch(first, second) is None


@given(st.dictionaries(KEYS, SHAPED))
def test_the_patch_makes_any_status_the_right_one(before: dict[str, Any]) -> None:
    right = status_of(None, deployment(ready=1))
    patch = status_patch(before, right)
    assert patch is not None
    merged = {**before, **patch["status"]}  # a merge patch: lists replaced, null removes
    assert {name: value for name, value in merged.items() if value is not None} == right


def test_a_forged_status_is_corrected() -> None:
    right = status_of(None, deployment(ready=1))
    forged = {
        **right,
        "replicas": True,
        "load": {"queued": 5},
        "phase": "Great",
        "conditions": [*right["conditions"], {"type": "Mine", "status": "True"}],
    }
    patch = status_patch(forged, status_of(posecluster(status=forged), deployment(ready=1), now=LATER))
    assert patch == {
        "status": {"replicas": 1, "conditions": right["conditions"], "load": None, "phase": None},
    }


@pytest.mark.parametrize("forged", ["x", 3, [1], {"conditions": "x"}, {"conditions": [{"type": 1}]}])
def test_a_status_of_the_wrong_shape_is_replaced(forged: Any) -> None:
    computed = status_of(posecluster(status=forged), deployment(ready=1))
    assert computed == status_of(None, deployment(ready=1))
    assert status_patch(forged, computed) == {"status": computed}


# --- children that others change, rollouts that wait ---


def kstatus_of(status: Any) -> dict[str, tuple[str, str]]:
    kinds = {"Ready", "Stalled", "Reconciling", "Progressing"}
    return {
        one["type"]: (one["status"], one["reason"]) for one in status["conditions"] if one["type"] in kinds
    }


def test_a_contested_posecluster_is_stalled_although_its_generation_was_rolled_out() -> None:
    problem = Failure(ProgressingReason.CONTESTED, "words")
    status = status_with(problem)
    failed = ("False", "Contested")
    assert kstatus_of(status) == {"Ready": failed, "Progressing": failed, "Stalled": ("True", "Contested")}
    # the generation is not rolled out again when the conflict is over
    assert kstatus_of(status_with(None)) == {
        "Ready": ("True", "RolledOut"),
        "Progressing": ("True", "RolloutComplete"),
    }


def test_a_queued_rollout_leaves_a_rolled_out_generation_ready() -> None:
    queued = Failure(ProgressingReason.ROLLOUT_QUEUED, "words")
    assert kstatus_of(status_with(queued)) == {
        "Ready": ("True", "RolledOut"),
        "Progressing": ("True", "RolloutQueued"),
    }
    # what is wrong with the present pods is more important
    broken = status_with(queued, CRASHING, observed=deployment(ready=1, total=2, updated=2))
    assert kstatus_of(broken)["Progressing"] == ("False", "CrashLoopBackOff")


def test_fields_that_admission_changes_are_in_the_message() -> None:
    status = status_with(None, overridden=["Deployment demo-pose: spec.replicas"])
    message = condition(status, "Progressing")["message"]
    assert message.startswith("All desired pods are ready and match the spec. An admission webhook or policy")
    assert message.endswith("requests: Deployment demo-pose: spec.replicas.")
    (event,) = notices(status_with(None), status)
    assert (event.type, event.reason, event.note) == ("Warning", "Overridden", message)
    assert notices(status, status) == ()


def status_with(
    problem: Failure | None, *pods: Any, observed: Any = None, overridden: Any = ()
) -> dict[str, Any]:
    """Of a PoseCluster whose generation was rolled out before."""
    return compute_status(
        posecluster(),
        deployment=observed or deployment(ready=1),
        pods=pods,
        decision=decision(),
        problem=problem,
        now=NOW,
        rolled_out=1,
        overridden=overridden,
    )
