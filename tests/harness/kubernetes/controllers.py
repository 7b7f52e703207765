"""The player's Deployment controller: one pass at a time per Deployment, a few in parallel."""

import asyncio
import copy
import secrets
import time
from typing import TYPE_CHECKING, Any

import aiohttp

from harness.kubernetes.connection import MERGE, Connection
from harness.kubernetes.garbage import collect_garbage
from harness.kubernetes.kubelet import Kubelet, timestamp
from harness.kubernetes.pod_status import QUOTA_MESSAGE, Behaviour
from harness.kubernetes.resources import BY_PLURAL
from harness.kubernetes.rollout import (
    HASH_LABEL,
    Progress,
    deployment_status,
    plan,
    revision,
    same_status,
    template_hash,
)
from harness.kubernetes.waiting import Json

if TYPE_CHECKING:
    from harness.kubernetes.player import Player

Key = tuple[str, str]  # namespace, name
_WORKERS = 8
_AGAIN_SECONDS = 0.3  # after a refused pod, or a sick API server


class Controllers:
    """All that runs in the player's loop; `play` holds the options, which may change."""

    def __init__(self, play: "Player") -> None:
        self.play = play
        self.awake = asyncio.Event()
        self._pods_known = asyncio.Event()  # before that, pods of an earlier player would be made again
        self.connection = Connection(play.api.server)
        self.kubelet = Kubelet(self.connection, real=play.makes_pods, address=lambda name: play.address(name))
        self._deployments: dict[Key, Json] = {}
        self._sets: dict[tuple[str, str], str] = {}  # uid of Deployment, name: uid of ReplicaSet
        self._owners: dict[str, Key] = {}  # uid of ReplicaSet: Deployment
        self._sets_of: dict[Key, list[str]] = {}  # Deployment: uids of its ReplicaSets
        self._failures: dict[Key, str] = {}
        self._reached: dict[Key, tuple[Any, float]] = {}  # how far the rollout is, and since when
        self._waiting: asyncio.Queue[Key] = asyncio.Queue()
        self._dirty: set[Key] = set()
        self._busy: set[Key] = set()

    async def start(self) -> None:
        """Learn what an earlier player has left."""
        self.awake.set()
        if not self.play.makes_pods:
            self._pods_known.set()
        _, found = await self.connection.send("GET", BY_PLURAL["replicasets"].path(self.play.namespace))
        for item in found["items"]:
            for owner in item["metadata"].get("ownerReferences", []):
                self._own(item, owner["uid"], owner["name"])

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch_deployments())
            if self.play.makes_pods:
                group.create_task(self._watch_pods())
            if self.play.auto_garbage:
                group.create_task(self._watch_owners())
            for _ in range(_WORKERS):
                group.create_task(self._work())

    async def close(self) -> None:
        """End all tasks of the loop but this one."""
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self.connection.close()

    def pods_of(self, namespace: str, deployment: str) -> list[Json]:
        """Pods of a Deployment, without those that are on their way out."""
        return [
            pod
            for uid in list(self._sets_of.get((namespace, deployment), ()))
            for pod in self.kubelet.owned_by(uid)
            if "deletionTimestamp" not in pod["metadata"]
        ]

    def look_again(self) -> None:
        """Wake all: a behaviour has changed, or we were away."""
        for key in self._deployments:
            self._wake(key)

    def _owner(self, pod: Json) -> Key | None:
        owners = pod["metadata"].get("ownerReferences") or [{}]
        return self._owners.get(owners[0].get("uid", ""))

    def _own(self, replica_set: Json, deployment_uid: str, deployment: str) -> str:
        metadata = replica_set["metadata"]
        self._sets[deployment_uid, metadata["name"]] = metadata["uid"]
        self._owners[metadata["uid"]] = (metadata["namespace"], deployment)
        self._sets_of.setdefault((metadata["namespace"], deployment), []).append(metadata["uid"])
        return str(metadata["uid"])

    async def _watch_deployments(self) -> None:
        async for kind, item in self.connection.watch("deployments", self.play.namespace):
            if kind == "RELISTED":
                self._deployments = {_key(one): one for one in item["items"]}
                self.look_again()
                continue
            key = _key(item)
            if kind == "DELETED":
                self._deployments.pop(key, None)
            else:
                self._deployments[key] = item
            self._wake(key)

    async def _watch_pods(self) -> None:
        async for kind, item in self.connection.watch("pods", self.play.namespace, HASH_LABEL):
            if kind == "RELISTED":
                present = {_key(one) for one in item["items"]}
                for place in set(self.kubelet.pods) - present:
                    self.kubelet.forget(place)
                for one in item["items"]:
                    self.kubelet.see(one)
                self._pods_known.set()
                self.look_again()
                continue
            owner = self._owner(item)
            if kind == "DELETED":
                self.kubelet.forget(_key(item))
            else:
                self.kubelet.see(item)
                if "deletionTimestamp" in item["metadata"] and self.awake.is_set():
                    await self.kubelet.delete(_key(item))
            if owner is not None and (kind == "DELETED" or "deletionTimestamp" in item["metadata"]):
                self._wake(owner)

    async def _watch_owners(self) -> None:
        async for kind, item in self.connection.watch("poseclusters", self.play.namespace):
            if kind == "DELETED" or "deletionTimestamp" in item["metadata"]:
                await asyncio.to_thread(collect_garbage, self.play.api, self.play.namespace)

    def _wake(self, key: Key) -> None:
        if key not in self._dirty:
            self._dirty.add(key)
            if key not in self._busy:
                self._waiting.put_nowait(key)

    def _wake_after(self, key: Key, seconds: float) -> None:
        asyncio.get_running_loop().call_later(seconds, self._wake, key)

    async def _work(self) -> None:
        while True:
            key = await self._waiting.get()
            await self._pods_known.wait()
            await self.awake.wait()
            self._dirty.discard(key)
            self._busy.add(key)
            try:
                await self._reconcile(key)
            except (aiohttp.ClientError, TimeoutError):
                self._wake_after(key, _AGAIN_SECONDS)
            finally:
                self._busy.discard(key)
                if key in self._dirty:
                    self._waiting.put_nowait(key)

    async def _reconcile(self, key: Key) -> None:
        deployment = self._deployments.get(key)
        self._failures.pop(key, None)
        if deployment is None or "deletionTimestamp" in deployment["metadata"]:
            self._reached.pop(key, None)
            return
        if deployment["spec"].get("paused"):
            return
        owner = await self._replica_set(key, deployment)
        steps = plan(deployment, self.pods_of(*key))
        behaviour = self._behaviour(deployment)
        if steps.create and behaviour is Behaviour.QUOTA:
            self._failures[key] = QUOTA_MESSAGE.format(name=f"{owner['name']}-x7x7x")
        else:
            await asyncio.gather(*(self._create_pod(key, deployment, owner) for _ in range(steps.create)))
        await asyncio.gather(*(self.kubelet.delete(_key(pod)) for pod in steps.delete))
        for pod in self.pods_of(*key):
            # those of older revisions stay as they are
            if revision(pod) == template_hash(deployment):
                self.kubelet.live(
                    _key(pod),
                    behaviour,
                    ready_seconds=self.play.ready_seconds,
                    changed=lambda: self._wake(key),
                )
        await self._write_status(key, deployment, owner["name"])

    async def _write_status(self, key: Key, deployment: Json, replica_set: str) -> None:
        pods = self.pods_of(*key)
        progress = Progress(
            replica_set, late=self._is_late(key, deployment, pods), failure=self._failures.get(key, "")
        )
        status = deployment_status(deployment, pods, progress, now=timestamp())
        if progress.failure:
            self._wake_after(key, _AGAIN_SECONDS)
        if same_status(deployment, status):
            return
        path = BY_PLURAL["deployments"].path(*key, "status")
        code, answer = await self.connection.send("PATCH", path, {"status": status}, MERGE)
        if code == 200 and self._deployments.get(key) is deployment:
            self._deployments[key] = answer

    def _is_late(self, key: Key, deployment: Json, pods: list[Json]) -> bool:
        """Whether the rollout has not moved for its progress deadline; looks again when it will be."""
        counts = deployment_status(deployment, pods, Progress(""), now="")
        progress = [counts["updatedReplicas"], counts["readyReplicas"], counts["replicas"]]
        reached = (template_hash(deployment), deployment["spec"].get("replicas"), progress)
        before, since = self._reached.get(key, (None, 0.0))
        if before != reached:
            since = time.monotonic()
            self._reached[key] = (reached, since)
        deadline = self.play.progress_deadline_seconds
        if deadline is None:
            deadline = float(deployment["spec"].get("progressDeadlineSeconds", 600))
        left = since + deadline - time.monotonic()
        if left > 0 and counts["unavailableReplicas"]:
            self._wake_after(key, left + 0.01)
        return left <= 0

    def _behaviour(self, deployment: Json) -> Behaviour:
        metadata = deployment["metadata"]
        image = deployment["spec"]["template"]["spec"]["containers"][0]["image"]
        return self.play.behaviour(f"{metadata['namespace']}/{metadata['name']}", image)

    async def _replica_set(self, key: Key, deployment: Json) -> Json:
        """The owner reference for pods of this revision; makes its ReplicaSet if need be."""
        name, owner = f"{key[1]}-{template_hash(deployment)}", deployment["metadata"]["uid"]
        uid = self._sets.get((owner, name))
        if uid is None and self.play.makes_pods:
            uid = self._own(await self._make_replica_set(key, deployment, name), owner, key[1])
        elif uid is None:
            fake = {"name": name, "namespace": key[0], "uid": f"{owner}/{name}"}
            uid = self._own({"metadata": fake}, owner, key[1])
        return {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name, "uid": uid, "controller": True}

    async def _make_replica_set(self, key: Key, deployment: Json, name: str) -> Json:
        path, owner = BY_PLURAL["replicasets"].path(key[0]), deployment["metadata"]["uid"]
        code, found = await self.connection.send("GET", f"{path}/{name}")
        if code == 200:
            if found["metadata"]["ownerReferences"][0]["uid"] == owner:
                return found
            # of a deleted namesake: garbage, and so are its pods
            for pod in self.pods_of(*key):
                if pod["metadata"]["ownerReferences"][0]["uid"] == found["metadata"]["uid"]:
                    await self.kubelet.delete(_key(pod))
            await self.connection.send("DELETE", f"{path}/{name}", {})
        template = copy.deepcopy(deployment["spec"]["template"])
        labels = template["metadata"].setdefault("labels", {})
        labels[HASH_LABEL] = template_hash(deployment)
        reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": key[1], "uid": owner}
        spec = {"replicas": deployment["spec"].get("replicas", 1), "template": template}
        body = {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": name,
                "labels": labels,
                "ownerReferences": [reference | {"controller": True, "blockOwnerDeletion": True}],
            },
            "spec": spec | {"selector": {"matchLabels": labels}},
        }
        code, made = await self.connection.send("POST", path, body)
        if code != 201:
            raise aiohttp.ClientError(f"no ReplicaSet: {made.get('message')}")
        return made

    async def _create_pod(self, key: Key, deployment: Json, owner: Json) -> None:
        template = copy.deepcopy(deployment["spec"]["template"])
        metadata, spec = template["metadata"], template["spec"]
        metadata |= {"name": f"{owner['name']}-{secrets.token_hex(3)[:5]}", "namespace": key[0]}
        metadata.setdefault("labels", {})[HASH_LABEL] = template_hash(deployment)
        metadata["ownerReferences"] = [owner | {"blockOwnerDeletion": True}]
        if self._behaviour(deployment) is not Behaviour.UNSCHEDULABLE:
            spec["nodeName"] = self.play.node_name
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
        if self.play.makes_pods:
            code, pod = await self.connection.send("POST", BY_PLURAL["pods"].path(key[0]), pod)
            if code != 201:
                self._failures[key] = str(pod.get("message", code))
                return
        else:
            metadata |= {"uid": metadata["name"], "creationTimestamp": timestamp()}
        self.kubelet.see(pod)


def _key(item: Json) -> Key:
    return item["metadata"]["namespace"], item["metadata"]["name"]
