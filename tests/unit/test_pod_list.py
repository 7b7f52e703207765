"""The pods that the autoscaler scrapes: those of the Deployment that the list is given."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from posecluster_operator.admin.namespaces import Namespaces
from posecluster_operator.builders import labels
from posecluster_operator.builders.table import INFERENCE_DEPLOYMENT, ChildRow
from posecluster_operator.errors import Forbidden, Retryable
from posecluster_operator.scaling import pod_list
from posecluster_operator.scaling.pod_list import PodList

pytestmark = pytest.mark.unit

OTHER = replace(INFERENCE_DEPLOYMENT, suffix="-gateway", component="gateway")


class FakeKube:
    """Returns two pods of a PoseCluster, one of each Deployment, whatever the label selector is."""

    def __init__(self) -> None:
        self.selectors: list[str] = []
        self.asked = asyncio.Event()

    async def list(self, _kind: object, _namespace: str | None, *, labels: str) -> list[dict[str, Any]]:
        self.selectors.append(labels)
        self.asked.set()
        return [pod(row.name("demo")) for row in (INFERENCE_DEPLOYMENT, OTHER)]


def pod(deployment: str) -> dict[str, Any]:
    owner = {"kind": "ReplicaSet", "name": f"{deployment}-5d8f", "controller": True}
    return {
        "metadata": {
            "name": f"{deployment}-5d8f-x",
            "namespace": "default",
            "uid": f"uid-{deployment}",
            "labels": {labels.INSTANCE: "demo"},
            "ownerReferences": [owner],
        },
        "status": {"podIP": "127.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]},
    }


@pytest.mark.parametrize("row", [INFERENCE_DEPLOYMENT, OTHER], ids=lambda row: row.component)
async def test_only_pods_of_the_given_deployment_are_listed(row: ChildRow) -> None:
    kube: Any = FakeKube()
    pods = PodList(kube, row, namespaces=Namespaces(), monotonic=time.monotonic, wanted=lambda: True)
    pods.touch("default/demo")
    task = asyncio.create_task(pods.run())
    try:
        async with asyncio.timeout(5):
            await kube.asked.wait()
    finally:
        task.cancel()
    assert pods.listed("default/demo")
    assert [target.pod for target in pods.pods_of("default/demo")] == [f"uid-{row.name('demo')}"]
    assert kube.selectors[0].endswith(f"={row.component}")


class Failing:
    """Lists no pods in `good`, and fails in `bad`."""

    def __init__(self, error: Exception) -> None:
        self.error: Exception | None = error
        self.asked: list[str | None] = []

    async def list(self, _kind: object, namespace: str | None, *, labels: str) -> list[dict[str, Any]]:
        self.asked.append(namespace)
        if namespace == "bad" and self.error:
            raise self.error
        return []


@pytest.mark.parametrize(
    "error", [Forbidden("list pods bad", "no"), Retryable("list pods bad", "late")], ids=str
)
async def test_a_namespace_that_cannot_be_listed_does_not_affect_the_others(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pod_list, "_FIRST_BACK_OFF_SECONDS", 0.01)
    monkeypatch.setattr(pod_list, "_LEAST_SECONDS", 0.01)
    kube: Any = Failing(error)
    namespaces = Namespaces(["bad", "good"])
    wanted = True
    pods = PodList(
        kube, INFERENCE_DEPLOYMENT, namespaces=namespaces, monotonic=time.monotonic, wanted=lambda: wanted
    )
    task = asyncio.create_task(pods.run())

    async def until(fact: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not fact():  # noqa: ASYNC110 - the list has no event for it
                await asyncio.sleep(0.005)

    try:
        pods.touch("bad/demo")
        pods.touch("good/demo")
        await until(lambda: kube.asked.count("bad") >= 3 and pods.listed("good/demo"))
        assert not pods.listed("bad/demo")
        denied = isinstance(error, Forbidden)
        assert namespaces.denied == (("bad",) if denied else ())
        lines = [record.message for record in caplog.records]
        assert lines.count("Namespace is not watched, reads are denied") == denied
        assert ("Pods could not be listed" in lines) is not denied
        # also if the PoseClusters there are no longer known, the end of the denial is noticed
        wanted = not denied
        kube.error = None
        await until(lambda: pods.listed("bad/demo"))
        assert namespaces.denied == ()
    finally:
        task.cancel()
