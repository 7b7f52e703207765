"""Very many objects: when each was created, and what an operator wrote for each."""

import asyncio
import math
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from harness.kubernetes.apiserver import Server
from harness.kubernetes.connection import Connection
from harness.kubernetes.resources import BY_KIND
from harness.kubernetes.waiting import Json, conditions, wait_until

if TYPE_CHECKING:
    from harness.kubernetes.api import Api
    from harness.kubernetes.calls import Call
    from harness.kubernetes.proxy import FaultProxy

_AT_ONCE = 16
_CHILD_PLURALS = ("services", "deployments", "poddisruptionbudgets")


def create_all(server: Server, manifests: Sequence[Json]) -> dict[str, float]:
    """Create these, many at a time; when each (by name) was asked for, on the monotonic clock."""
    return asyncio.run(_create_all(server, manifests))


async def _create_all(server: Server, manifests: Sequence[Json]) -> dict[str, float]:
    connection = Connection(server)
    begun: dict[str, float] = {}
    waiting = iter(manifests)

    async def work() -> None:
        for manifest in waiting:
            metadata = manifest["metadata"]
            begun[metadata["name"]] = time.monotonic()
            path = BY_KIND[manifest["kind"]].path(metadata["namespace"])
            status, answer = await connection.send("POST", path, manifest)
            assert status == 201, answer

    try:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(_AT_ONCE):
                tasks.create_task(work())
    finally:
        await connection.close()
    return begun


def foreign_pods(namespace: str, count: int) -> list[Json]:
    """Manifests of pods that no PoseCluster owns."""
    container = {"name": "main", "image": "example.test/other:1", "env": [{"name": "A", "value": "x" * 500}]}
    return [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": f"other-{index}", "namespace": namespace, "labels": {"app": "other"}},
            "spec": {"containers": [container]},
        }
        for index in range(count)
    ]


def wait_all_rolled_out(api: "Api", namespace: str, names: Iterable[str], seconds: float) -> None:
    """Wait until all of these PoseClusters have every pod that they want."""
    wanted = set(names)

    def done() -> bool:
        items = api.list("poseclusters", namespace)
        left = wanted - {item["metadata"]["name"] for item in items if _is_rolled_out(item)}
        time.sleep(0.02 * len(left) ** 0.5)  # a list of very many takes the API server's time
        return not left

    wait_until(done, seconds, f"{len(wanted)} PoseClusters rolled out")


def wait_silent(proxy: "FaultProxy", seconds: float = 60.0) -> None:
    """Wait until there was no write for two seconds; the Lease's do not count."""
    wait_until(lambda: not proxy.writes(since=time.monotonic() - 2.0), seconds, "silent")


def _is_rolled_out(item: Json) -> bool:
    found = conditions(item).get("Progressing", {})
    current = item.get("status", {}).get("observedGeneration") == item["metadata"]["generation"]
    return current and found.get("reason") == "RolloutComplete"


def children_seconds(calls: Iterable["Call"], begun: dict[str, float]) -> dict[str, float]:
    """From each PoseCluster's creation to the answer to the apply of its last child, in seconds."""
    found: dict[str, dict[str, float]] = {}
    for call in calls:
        name = cluster_of(call)
        if call.verb == "apply" and call.status in (200, 201) and name in begun:
            found.setdefault(name, {}).setdefault(f"{call.resource} {call.name}", call.ended)
    return {name: max(ended.values()) - begun[name] for name, ended in found.items() if len(ended) >= 3}


class Arrivals:
    """When the children of PoseClusters in one namespace appeared, as watches beside the operator see it."""

    _PLURALS = ("services", "deployments")
    _LEAST = 3  # two Services and the Deployment

    def __init__(self, server: Server, namespace: str) -> None:
        self._server, self._namespace = server, namespace
        self._seen: dict[str, dict[tuple[str, str], float]] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="arrivals", daemon=True)

    def __enter__(self) -> "Arrivals":
        self._thread.start()
        self._watching = asyncio.run_coroutine_threadsafe(self._watch_all(), self._loop)
        return self

    def __exit__(self, *_: object) -> None:
        self._watching.cancel()
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0.05), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def seconds(self, begun: dict[str, float]) -> dict[str, float]:
        """From each PoseCluster's creation to its last child, in seconds; waits for those to be seen."""

        def complete() -> bool:
            return all(len(self._seen.get(name, ())) >= self._LEAST for name in begun)

        wait_until(complete, 30, "all children seen")
        return {name: max(self._seen[name].values()) - begun[name] for name in begun}

    async def _watch_all(self) -> None:
        connection = Connection(self._server)
        try:
            await asyncio.gather(*(self._watch(connection, plural) for plural in self._PLURALS))
        finally:
            await connection.close()

    async def _watch(self, connection: Connection, plural: str) -> None:
        async for change, item in connection.watch(plural, self._namespace):
            for one in item["items"] if change == "RELISTED" else (item,):
                name = one["metadata"]["name"]
                of_this = self._seen.setdefault(_cluster_of_child(name), {})
                of_this.setdefault((plural, name), time.monotonic())


def writes_each(calls: Iterable["Call"]) -> Counter[str]:
    """Writes by the PoseCluster that they are for."""
    return Counter(cluster_of(call) for call in calls)


def cluster_of(call: "Call") -> str:
    """Name of the PoseCluster that a write is for."""
    if call.resource in _CHILD_PLURALS:
        return _cluster_of_child(call.name)
    if call.resource == "events":
        named: str = call.document().get("regarding", {}).get("name") or call.name.rpartition(".")[0]
        return named
    return call.name


def _cluster_of_child(name: str) -> str:
    return name.removesuffix("-pods").removesuffix("-pose")


def percentile(values: Iterable[float], share: float) -> float:
    """The smallest value that at least `share` of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)]


def peak_rss(pid: int) -> int:
    """The most resident bytes that the process had since its start."""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        lines = dict(line.split(":", 1) for line in status)
    return int(lines["VmHWM"].split()[0]) * 1024
