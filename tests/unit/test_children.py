"""Ownership of children and foreign fields in them, on plain objects."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from harness.poseclusters import posecluster
from posecluster_operator.builders.table import INFERENCE_DEPLOYMENT
from posecluster_operator.reconcile.apply import has_foreign_fields
from posecluster_operator.reconcile.children import is_own
from posecluster_operator.resource.stable_text import stamp
from posecluster_operator.scaling.size_owner import SizeOwner, size_owner

CLUSTER = posecluster()
OURS = {"manager": "posecluster-operator", "operation": "Apply"}
THEIRS = {"manager": "kubectl-edit", "operation": "Update"}
POD = {"f:containers": {'k:{"name":"inference"}': {".": {}, "f:image": {}}}}


def fields(pod: Any, **others: Any) -> dict[str, Any]:
    """Fields of a Deployment, with these of its pods."""
    return {"f:spec": {"f:template": {"f:spec": pod, "f:metadata": others}}}


def child(*managed: dict[str, Any], owners: Any = None, instance: str | None = None) -> dict[str, Any]:
    """A Deployment with these managers."""
    labels = {"app.kubernetes.io/instance": CLUSTER.name if instance is None else instance}
    metadata = {"name": "demo-pose", "labels": labels, "managedFields": list(managed)}
    return {"kind": "Deployment", "metadata": metadata | ({"ownerReferences": owners} if owners else {})}


def owner(uid: str, controller: bool = True) -> dict[str, Any]:
    return {"kind": "PoseCluster", "name": CLUSTER.name, "uid": uid, "controller": controller}


APPLIED = OURS | {"fieldsV1": fields(POD)}


@pytest.mark.parametrize(
    ("body", "own"),
    [
        (child(owners=[owner(CLUSTER.uid)]), True),
        (child(owners=[owner(CLUSTER.uid, controller=False)]), True),
        (child(owners=[owner(CLUSTER.uid, controller=False), owner("other")]), False),
        (child(APPLIED, owners=[owner("other")]), False),
        (child(APPLIED), True),
        (child(APPLIED, instance="another"), False),
        (child(THEIRS | {"fieldsV1": fields(POD)}), False),
        (child(OURS | {"operation": "Update", "fieldsV1": fields(POD)}), False),
        (child(), False),
    ],
)
def test_a_child_is_ours_by_its_owner_or_by_our_apply(body: dict[str, Any], own: bool) -> None:
    assert is_own(CLUSTER, body) is own


EXTRA = {"f:containers": {'k:{"name":"evil"}': {".": {}, "f:image": {}}}}


@pytest.mark.parametrize(
    ("theirs", "foreign"),
    [
        (THEIRS | {"fieldsV1": fields(EXTRA)}, True),
        (THEIRS | {"fieldsV1": fields({"f:hostNetwork": {}})}, True),
        (THEIRS | {"fieldsV1": fields(POD)}, False),
        (THEIRS | {"fieldsV1": fields({}, **{"f:annotations": {"f:restartedAt": {}}})}, False),
        (THEIRS | {"fieldsV1": {"f:spec": {"f:minReadySeconds": {}}}}, False),
        (THEIRS | {"fieldsV1": fields(EXTRA), "subresource": "status"}, False),
        (THEIRS | {"fieldsV1": None}, False),
    ],
)
def test_only_added_fields_in_parts_that_we_own_whole_are_foreign(
    theirs: dict[str, Any], foreign: bool
) -> None:
    assert has_foreign_fields(child(APPLIED, theirs), INFERENCE_DEPLOYMENT.owned) is foreign


NOW = datetime(2026, 11, 23, 2, 0, 0, tzinfo=UTC)


def size_of(
    *managers: str, fields: str = "f:replicas", silent: float | None = 0.0, noted: str = ""
) -> dict[str, Any]:
    """A Deployment whose `fields` of the spec these managers set so many seconds ago (None: no time)."""
    time = {} if silent is None else {"time": stamp(NOW - timedelta(seconds=silent))}
    managed = [
        {"manager": name, "operation": "Update", "fieldsV1": {"f:spec": {fields: {}}}} | time
        for name in managers
    ]
    notes = {"annotations": {"posecluster.io/size-taken-back": noted}} if noted else {}
    return {"kind": "Deployment", "metadata": {"name": "demo-pose", "managedFields": managed} | notes}


def scaling(reason: str, generation: int = 1) -> dict[str, Any]:
    """A status with that reason, judged at that generation."""
    condition = {"type": "ScalingActive", "reason": reason, "observedGeneration": generation}
    return {"conditions": [condition]}


@pytest.mark.parametrize(
    ("deployment", "status", "taken_over"),
    [
        (None, {}, False),
        (size_of("posecluster-operator"), {}, False),
        (size_of(), {}, False),
        (size_of("kubectl-edit", fields="f:template"), {}, False),
        (size_of("kubectl"), {}, True),
        (size_of("kube-controller-manager"), scaling("Steady"), True),
        # both own it: they want the same
        (size_of("kubectl", "posecluster-operator"), {}, False),
        (size_of("kubectl"), scaling("ReplicasTakenOver", 2), True),
        # taken back: the spec has changed since, or a pause is over
        (size_of("kubectl"), scaling("ReplicasTakenOver", 1), False),
        (size_of("kubectl"), scaling("Paused", 2), False),
    ],
)
def test_a_size_is_taken_over_until_the_user_takes_it_back(
    deployment: Any, status: Any, taken_over: bool
) -> None:
    cluster = posecluster(generation=2, status=status)
    assert size_owner(cluster, deployment, now=NOW).taken_over is taken_over


TAKEN = scaling("ReplicasTakenOver", 2)


@pytest.mark.parametrize(
    ("deployment", "status", "owner"),
    [
        (size_of("kubectl", silent=540), TAKEN, SizeOwner(taken_over=True, seconds_left=60)),
        (size_of("kubectl", silent=600), TAKEN, SizeOwner(taken_back=True)),
        # noticed late: by an operator that has just started
        (size_of("kubectl", silent=9000), scaling("Steady"), SizeOwner(taken_back=True)),
        (size_of("kubectl", silent=None), TAKEN, SizeOwner(taken_over=True, seconds_left=600)),
        # it stays ours, and that it was taken back is known for the rest of the generation
        (size_of("posecluster-operator", noted="2"), scaling("Steady"), SizeOwner(taken_back=True)),
        (size_of("posecluster-operator", noted="1"), scaling("Steady"), SizeOwner()),
        # after a second write the size stays theirs, however long they are silent, until the user changes it
        (size_of("hpa", silent=9000, noted="2"), TAKEN, SizeOwner(taken_over=True, taken_back=True)),
        (size_of("hpa", silent=9000, noted="2"), scaling("ReplicasTakenOver", 1), SizeOwner()),
        (size_of("hpa", silent=9000, noted="2"), scaling("Paused", 2), SizeOwner()),
    ],
)
def test_the_size_is_taken_back_from_a_silent_writer_once_per_generation(
    deployment: Any, status: Any, owner: SizeOwner
) -> None:
    assert size_owner(posecluster(generation=2, status=status), deployment, now=NOW) == owner


def test_the_latest_write_counts() -> None:
    deployment = size_of("kubectl", silent=9000)
    deployment["metadata"]["managedFields"] += size_of("hpa", silent=1)["metadata"]["managedFields"]
    assert size_owner(posecluster(generation=2), deployment, now=NOW).taken_over
