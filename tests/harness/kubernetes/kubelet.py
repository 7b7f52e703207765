"""The player's kubelet: each pod lives through the states of its Behaviour."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

import aiohttp

from harness.kubernetes.connection import MERGE, Connection
from harness.kubernetes.pod_status import Behaviour, last_step, pod_status
from harness.kubernetes.resources import BY_PLURAL
from harness.kubernetes.waiting import Json

Key = tuple[str, str]  # namespace, name
_BACK_OFF_SECONDS = 0.2  # between a container's first failure and the back-off
_AGAIN_SECONDS = 0.3


class Kubelet:
    """Holds the pods, by namespace and name; `real` says whether they are objects or only counted.

    problems: what the API server would not take, which is a fault of ours.
    """

    def __init__(self, connection: Connection, *, real: bool, address: Callable[[str], str]) -> None:
        self.pods: dict[Key, Json] = {}
        self.problems: list[str] = []
        self._owned: dict[str, dict[Key, None]] = {}  # by the owner's uid
        self._connection = connection
        self._real = real
        self._address = address
        self._lives: dict[Key, tuple[Behaviour, asyncio.Task[None]]] = {}

    def see(self, pod: Json) -> None:
        """The latest known state of a pod."""
        place = (pod["metadata"]["namespace"], pod["metadata"]["name"])
        known = self.pods.get(place)
        if known is None or _version(known) <= _version(pod):
            self.pods[place] = pod
            self._owned.setdefault(_owner(pod), {})[place] = None

    def owned_by(self, uid: str) -> list[Json]:
        """Pods of one ReplicaSet; may be asked from another thread."""
        found = (self.pods.get(place) for place in list(self._owned.get(uid, ())))
        return [pod for pod in found if pod is not None]

    def forget(self, place: Key) -> None:
        """A pod that is gone."""
        if (pod := self.pods.pop(place, None)) is not None:
            self._owned.get(_owner(pod), {}).pop(place, None)
        if (life := self._lives.pop(place, None)) is not None:
            life[1].cancel()

    async def delete(self, place: Key) -> None:
        """End a pod immediately and remove it from the API server."""
        if self._real:
            path = BY_PLURAL["pods"].path(*place)
            code, _ = await self._connection.send("DELETE", path, {"gracePeriodSeconds": 0})
            if code not in {200, 202, 404}:
                raise aiohttp.ClientError(f"pod not deleted: {code}")
        self.forget(place)

    def live(
        self, place: Key, behaviour: Behaviour, *, ready_seconds: float, changed: Callable[[], None]
    ) -> None:
        """See to it that a pod fares so; nothing if it does already."""
        before = self._lives.get(place)
        if before is not None and before[0] is behaviour:
            return
        if before is not None:
            before[1].cancel()
        life = self._live(place, behaviour, ready_seconds, changed)
        self._lives[place] = (behaviour, asyncio.create_task(life))

    async def _live(
        self, place: Key, behaviour: Behaviour, ready_seconds: float, changed: Callable[[], None]
    ) -> None:
        last = last_step(behaviour)
        for step in range(min(1, last), last + 1):
            await asyncio.sleep((0.0, ready_seconds, _BACK_OFF_SECONDS)[step])
            while not await self._write(place, behaviour, step):  # noqa: ASYNC110  no event says it is back
                await asyncio.sleep(_AGAIN_SECONDS)
            changed()

    async def _write(self, place: Key, behaviour: Behaviour, step: int) -> bool:
        """Whether the pod has, or will never need, the status of that step."""
        if (pod := self.pods.get(place)) is None:
            return True
        status = pod_status(pod, behaviour, step=step, now=timestamp(), address=self._address(place[1]))
        if not self._real:
            self.pods[place] = pod | {"status": status}
            return True
        try:
            path = BY_PLURAL["pods"].path(*place, "status")
            code, answer = await self._connection.send("PATCH", path, {"status": status}, MERGE)
        except (aiohttp.ClientError, TimeoutError):
            return False
        if code == 200 and place in self.pods:
            self.see(answer)
        elif 400 <= code < 500 and code not in {404, 409, 429}:
            self.problems.append(f"status of pod {place[1]} refused: {answer.get('message')}")
            return True
        return code in {200, 404}


def timestamp() -> str:
    """Now, as the API writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _owner(pod: Json) -> str:
    owners = pod["metadata"].get("ownerReferences") or [{}]
    return str(owners[0].get("uid", ""))


def _version(pod: Json) -> int:
    return int(pod["metadata"].get("resourceVersion", 0))
