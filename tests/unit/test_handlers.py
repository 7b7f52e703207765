"""The handlers that kopf calls: which keys an event enqueues, and that kopf only watches events."""

import asyncio
from typing import Any

import aiohttp
import kopf
import pytest

from posecluster_operator.builders.labels import pod_labels
from posecluster_operator.watch.handlers import SELECTOR, WATCHED, child_owner, labelled, make_registry

pytestmark = pytest.mark.unit

OWNER = {"apiVersion": "posecluster.io/v1alpha1", "kind": "PoseCluster", "name": "demo", "controller": True}


def child(*owners: dict[str, Any]) -> dict[str, Any]:
    return {"namespace": "default", "name": "any", "ownerReferences": list(owners)}


@pytest.mark.parametrize(
    ("meta", "key"),
    [
        (child(OWNER), "default/demo"),
        (child({**OWNER, "apiVersion": "posecluster.io/v2"}), "default/demo"),
        (child({**OWNER, "controller": False}, {**OWNER, "name": "other"}), "default/other"),
        (child({**OWNER, "controller": False}), None),
        (child({**OWNER, "kind": "ReplicaSet"}), None),
        (child({**OWNER, "apiVersion": "example.com/v1alpha1"}), None),
        (child({**OWNER, "apiVersion": "posecluster.io.example.com/v1"}), None),
        (child(), None),
        ({"namespace": "default", "name": "any", "ownerReferences": None}, None),
        ({"namespace": "default", "name": "any"}, None),
    ],
)
def test_the_owner_of_a_child_is_its_controller(meta: dict[str, Any], key: str | None) -> None:
    assert child_owner(meta) == key


@pytest.mark.parametrize(
    ("labels", "key"),
    [(pod_labels("demo"), "a/demo"), ({}, None), (None, None), ({"app.kubernetes.io/instance": ""}, None)],
)
def test_the_owner_of_a_pod_is_its_label(labels: dict[str, str] | None, key: str | None) -> None:
    assert labelled({"namespace": "a", "name": "demo-pose-1-x", "labels": labels}) == key


def test_the_selector_finds_what_the_builders_label() -> None:
    label, _, value = SELECTOR.partition("=")
    assert pod_labels("demo")[label] == value


def registry_and_wakes() -> tuple[kopf.OperatorRegistry, list[tuple[str, float]]]:
    wakes: list[tuple[str, float]] = []
    registry = make_registry(
        server="https://x",
        open_session=aiohttp.ClientSession,
        wake=lambda key, seconds: wakes.append((key, seconds)),
    )
    return registry, wakes


def test_kopf_only_watches_events() -> None:
    registry, _ = registry_and_wakes()
    for part in (registry._changing, registry._spawning, registry._indexing, registry._webhooks):
        assert list(part.get_all_handlers()) == []
    selectors = {handler.selector for handler in registry._watching.get_all_handlers()}
    assert {(one.group or "", one.version, one.any_name) for one in selectors} == {
        (resource.group, resource.version, resource.plural) for resource in WATCHED
    }


async def test_events_become_keys() -> None:
    registry, wakes = registry_and_wakes()
    meta = {"namespace": "a", "name": "demo", "labels": pod_labels("demo"), "ownerReferences": [OWNER]}
    for handler in registry._watching.get_all_handlers():
        await handler.fn(meta=meta, type=None)  # type: ignore[call-arg, misc]
        await handler.fn(meta={"namespace": "a", "name": "stranger"}, type="DELETED")  # type: ignore[call-arg, misc]
    assert sorted(wakes) == [("a/demo", 0.0)] + [("a/demo", 0.5)] * 4 + [("a/stranger", 0.0)]


async def test_a_second_login_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    registry, _ = registry_and_wakes()
    (handler,) = registry._activities.get_all_handlers()
    monkeypatch.setattr(asyncio, "sleep", sleep)
    for _ in range(2):
        login: Any = await handler.fn()  # type: ignore[call-arg, misc]
        assert isinstance(login, kopf.AiohttpSession)
        await login.aiohttp_session.close()
    assert waits[0] == 0
    assert 4 < waits[1] <= 5
