"""The client against a real API server: what is sent, and which error each answer becomes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest

from harness.kubernetes.api import Api, ApiError
from harness.kubernetes.client import Calls, open_kube
from posecluster_operator.builders.kinds import DEPLOYMENTS, Resource
from posecluster_operator.errors import Conflict, KubeError, NotFound, Rejected
from posecluster_operator.kube.client import Kube

pytestmark = pytest.mark.apiserver

CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")
OTHER_UID = "00000000-0000-0000-0000-000000000000"


def _deployment(namespace: str, **spec: Any) -> dict[str, Any]:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "x", "namespace": namespace},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": template, **spec},
    }


@pytest.fixture
def calls() -> Calls:
    return []


@pytest.fixture
async def kube(api: Api, calls: Calls) -> AsyncIterator[Kube]:
    async with open_kube(api.server.kubeconfig, calls=calls) as opened:
        yield opened


@asynccontextmanager
async def _raises(error: type[KubeError], status: int) -> AsyncIterator[None]:
    with pytest.raises(error) as caught:
        yield
    assert type(caught.value) is error
    assert caught.value.status == status


async def test_apply_makes_owns_and_changes(kube: Kube, api: Api, namespace: str, calls: Calls) -> None:
    await kube.apply(_deployment(namespace))
    api.patch("deployments", namespace, "x", {"spec": {"replicas": 7}})
    assert (await kube.apply(_deployment(namespace)))["spec"]["replicas"] == 1
    managers = {
        item["manager"] for item in api.get("deployments", namespace, "x")["metadata"]["managedFields"]
    }
    assert "posecluster-operator" in managers
    assert calls == [("apply", "201"), ("apply", "200")]


@pytest.mark.parametrize("change", [{"foo": 1}, {"replicas": "many"}], ids=["unknown field", "wrong type"])
async def test_wrongly_typed_apply_is_rejected_though_answered_500(
    kube: Kube, namespace: str, change: dict[str, Any]
) -> None:
    async with _raises(Rejected, 500):
        await kube.apply(_deployment(namespace, **change))


async def test_invalid_apply_is_rejected(kube: Kube, namespace: str) -> None:
    async with _raises(Rejected, 422):
        await kube.apply(_deployment(namespace, selector={"matchLabels": {"other": "label"}}))


async def test_apply_in_no_namespace_is_rejected_and_a_read_is_not_found(kube: Kube) -> None:
    async with _raises(Rejected, 404):
        await kube.apply(_deployment("absent"))
    async with _raises(NotFound, 404):
        await kube.get(DEPLOYMENTS, "absent", "x")
    assert await kube.find(DEPLOYMENTS, "absent", "x") is None


async def test_apply_never_lands_on_an_object_of_another_uid(kube: Kube, namespace: str) -> None:
    manifest = _deployment(namespace)
    manifest["metadata"]["uid"] = OTHER_UID
    async with _raises(Conflict, 409):  # gone meanwhile
        await kube.apply(manifest)
    await kube.apply(_deployment(namespace))
    async with _raises(Conflict, 422):  # replaced meanwhile
        await kube.apply(manifest)


async def test_quota_is_a_rejection_not_a_missing_right(kube: Kube, api: Api, namespace: str) -> None:
    hard = {"hard": {"count/services": "0"}}
    metadata = {"name": "none", "namespace": namespace}
    api.create({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": hard})
    api.patch_status("resourcequotas", namespace, "none", hard | {"used": {"count/services": "0"}})
    service = {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": [{"port": 80}]}}
    await asyncio.to_thread(api.wait_until, partial(_is_refused, api, service), 10, "the quota in force")
    async with _raises(Rejected, 403):
        await kube.apply(service)


def _is_refused(api: Api, manifest: dict[str, Any]) -> bool:
    try:
        api.create(manifest, dry_run=True)
    except ApiError as error:
        return error.status == 403
    return False


async def test_lists_come_whole_in_chunks(kube: Kube, api: Api, namespace: str, calls: Calls) -> None:
    for number in range(7):
        metadata = {"name": f"m{number}", "namespace": namespace, "labels": {"odd": str(number % 2)}}
        api.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("posecluster_operator.kube.client._CHUNK", 2)
        found = await kube.list(CONFIG_MAPS, namespace, labels="odd in (0, 1)")
    assert [item["metadata"]["name"] for item in found] == [f"m{number}" for number in range(7)]
    assert calls == [("list", "200")] * 4
    assert len(await kube.list(CONFIG_MAPS, namespace, labels="odd=1")) == 3
    assert len(await kube.list(CONFIG_MAPS, namespace, limit=1)) == 1


async def test_delete_takes_only_the_object_that_was_meant(kube: Kube, api: Api, namespace: str) -> None:
    uid = (await kube.apply(_deployment(namespace)))["metadata"]["uid"]
    async with _raises(Conflict, 409):
        await kube.delete(DEPLOYMENTS, namespace, "x", uid=OTHER_UID)
    assert api.find("deployments", namespace, "x")
    await kube.delete(DEPLOYMENTS, namespace, "x", uid=uid)
    await kube.delete(DEPLOYMENTS, namespace, "x", uid=uid)
    assert api.find("deployments", namespace, "x") is None


async def test_status_of_an_old_read_is_a_conflict(kube: Kube, namespace: str) -> None:
    await kube.apply(_deployment(namespace))
    patch = {"metadata": {"resourceVersion": "1"}, "status": {"replicas": 1}}
    async with _raises(Conflict, 409):
        await kube.patch_status(DEPLOYMENTS, namespace, "x", patch)
