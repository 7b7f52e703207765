"""The pods that the autoscaler scrapes: those of the Deployment that the list is given."""

import asyncio
import time
from dataclasses import replace
from typing import Any

import pytest

from posecluster_operator.builders import labels
from posecluster_operator.builders.table import INFERENCE_DEPLOYMENT, ChildRow
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
    pods = PodList(kube, row, namespaces=(), monotonic=time.monotonic, wanted=lambda: True)
    pods.touch()
    task = asyncio.create_task(pods.run())
    try:
        async with asyncio.timeout(5):
            await kube.asked.wait()
    finally:
        task.cancel()
    assert pods.listed
    assert [target.pod for target in pods.pods_of("default/demo")] == [f"uid-{row.name('demo')}"]
    assert kube.selectors[0].endswith(f"={row.component}")
