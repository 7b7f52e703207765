"""Repairs back off after the fifth within a minute, name who changed what, and end with the conflict."""

import math
from typing import Any

import pytest

from posecluster_operator.reconcile.field_paths import changed_paths, overridden_paths, owners, text_of
from posecluster_operator.reconcile.repairs import Repairs

pytestmark = pytest.mark.unit


def contested(start: float = 0.0) -> Repairs:
    """After five repairs within five seconds."""
    repairs = Repairs()
    for second in range(5):
        repairs.note(start + second, fields=["spec.ports"], writers=["kubectl-edit"])
    return repairs


def test_the_fifth_repair_within_a_minute_begins_a_back_off_of_1_2_and_then_5_minutes() -> None:
    repairs, now = contested(), 4.0
    for wait in (60.0, 120.0, 300.0, 300.0):
        assert repairs.is_contested
        assert repairs.seconds_left(now) == wait
        assert repairs.must_wait(now + wait - 1)
        now += wait
        assert not repairs.must_wait(now)
        repairs.note(now, fields=["spec.ports"])


def test_repairs_every_so_often_are_not_contested() -> None:
    repairs = Repairs()
    for minute in range(100):
        assert not repairs.must_wait(minute * 20.0)
        repairs.note(minute * 20.0, fields=["spec.ports"])
    assert not repairs.is_contested
    assert repairs.seconds_left(2000.0) == math.inf


@pytest.mark.parametrize(("after", "over"), [(89.0, False), (90.0, True)])
def test_an_object_that_stays_unchanged_is_no_longer_contested(after: float, over: bool) -> None:
    repairs = contested()
    repairs.note_unchanged(4.0 + after)
    assert repairs.is_contested is not over
    assert not over or repairs.seconds_left(4.0 + after) == math.inf


def test_a_change_during_the_wait_keeps_the_object_contested() -> None:
    repairs = contested()
    assert repairs.must_wait(60.0)
    repairs.note_unchanged(100.0)
    assert repairs.is_contested


def test_two_operators_with_the_same_pace_both_stay_contested() -> None:
    pair, now = [Repairs(), Repairs()], 0.0
    for repair in range(40):
        one, other = pair[repair % 2], pair[1 - repair % 2]
        while one.must_wait(now):
            other.note_unchanged(now)
            now += 1.0
        one.note(now, fields=["spec.template"])
        if repair > 10:
            assert one.is_contested
            assert other.is_contested
        now += 0.5


def test_the_message_names_the_object_the_fields_the_managers_and_says_what_to_do() -> None:
    message = contested().message("Service", "demo-pose")
    assert message == (
        "Service demo-pose: another client keeps changing it (field managers: kubectl-edit; fields: "
        "spec.ports). The operator restores it after waits of up to 300 s: find and stop the other client."
    )


def test_a_deletion_is_named_and_names_are_bounded() -> None:
    repairs = Repairs()
    for second in range(5):
        repairs.note(second)
    assert "keeps deleting it. " in repairs.message("Deployment", "demo-pose")
    for number in range(100):
        repairs.note(5, fields=[f"spec.f{number}"], writers=[f"writer{number}"])
    message = repairs.message("Deployment", "demo-pose")
    assert "keeps changing and deleting it" in message
    assert "writer0, writer1, writer10 and 17 more" in message
    assert len(message) < 400


def test_another_operator_is_named_as_one() -> None:
    repairs = Repairs()
    for second in range(5):
        repairs.note(second, fields=["spec.template"], writers=["posecluster-operator"])
    assert "posecluster-operator (another operator" in repairs.message("Deployment", "demo-pose")


CONTAINER = {"name": "inference", "image": "a", "env": [{"name": "A", "value": "1"}]}


def child(container: Any = CONTAINER, **spec: Any) -> dict[str, Any]:
    template = {
        "metadata": {"annotations": {"posecluster.io/template-hash": str(container)}},
        "spec": {"containers": [container]},
    }
    return {"metadata": {"labels": {"app.kubernetes.io/name": "x"}}, "spec": {"template": template} | spec}


@pytest.mark.parametrize(
    ("changed", "fields"),
    [
        (child(), []),
        (child(CONTAINER | {"image": "b"}), ["spec.template.spec.containers[inference].image"]),
        (
            child(CONTAINER | {"env": [{"name": "A", "value": "2"}]}),
            ["spec.template.spec.containers[inference].env[A].value"],
        ),
        (child(CONTAINER | {"name": "evil"}), ["containers[evil]", "containers[inference]"]),
        (child(paused=True), ["spec.paused"]),
        (child() | {"metadata": {"labels": {}}}, ["metadata.labels[app.kubernetes.io/name]"]),
        (child() | {"metadata": {"resourceVersion": "2", **child()["metadata"]}}, []),
    ],
)
def test_changed_fields_have_readable_paths(changed: dict[str, Any], fields: list[str]) -> None:
    found = [text_of(path) for path in changed_paths(changed, child())]
    assert len(found) == len(fields)
    assert all(path.endswith(field) for path, field in zip(found, fields, strict=True)), found


def test_the_owner_of_a_changed_field_is_found_also_in_a_list() -> None:
    items = {'k:{"name":"inference"}': {".": {}, "f:image": {}}}
    theirs = {"f:spec": {"f:template": {"f:spec": {"f:containers": items, "f:affinity": {}}}}}
    changed = child(CONTAINER | {"image": "b"})
    changed["metadata"]["managedFields"] = [
        {"manager": "kubectl-edit", "fieldsV1": theirs},
        {"manager": "kubectl-scale", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
        {"manager": "nothing"},
    ]
    (path,) = changed_paths(changed, child())
    assert owners(changed, path) == {"kubectl-edit"}
    assert owners(changed, ("spec", "replicas")) == {"kubectl-scale"}
    assert owners(changed, ("spec", "template", "spec", "affinity", "nodeAffinity")) == {"kubectl-edit"}
    assert owners(changed, ("spec", "paused")) == set()


@pytest.mark.parametrize(
    ("sent", "live", "fields"),
    [
        ({"cpu": "0.5", "memory": "1024Mi"}, {"cpu": "500m", "memory": "1Gi"}, []),
        ({"paused": False, "notes": {}}, {"replicas": 1}, []),
        ({"ports": [{"port": 80}]}, {"ports": [{"port": 80, "nodePort": 30_000}]}, []),
        (
            {"ports": [{"name": "http", "port": 80}]},
            {"ports": [{"name": "http", "port": 81}]},
            ["ports[http].port"],
        ),
        ({"tolerations": [{"key": "a"}]}, {"tolerations": [{"key": "a"}, {"key": "b"}]}, ["tolerations"]),
        ({"replicas": 2}, {"replicas": 1}, ["replicas"]),
        ({"image": "a"}, {}, ["image"]),
    ],
)
def test_only_values_that_admission_changed_count_as_overridden(
    sent: Any, live: Any, fields: list[str]
) -> None:
    bodies = [{"metadata": {}, "spec": spec} for spec in (sent, live)]
    assert [text_of(path) for path in overridden_paths(*bodies)] == [f"spec.{one}" for one in fields]


@pytest.mark.parametrize(
    ("sent", "live", "fields"),
    [
        ({}, {"annotations": {"deployment.kubernetes.io/revision": "1"}}, []),  # by the Deployment controller
        ({"annotations": {"a": "b"}}, {"annotations": {"a": "b", "c": "d"}}, []),
        ({"labels": {"a": "b"}}, {"labels": {"a": "c"}}, ["labels.a"]),
        ({"labels": {"a": "b"}}, {}, ["labels"]),
    ],
)
def test_metadata_that_others_add_is_not_overridden(sent: Any, live: Any, fields: list[str]) -> None:
    bodies = [{"metadata": metadata, "spec": {}} for metadata in (sent, live)]
    assert [text_of(path) for path in overridden_paths(*bodies)] == [f"metadata.{one}" for one in fields]
