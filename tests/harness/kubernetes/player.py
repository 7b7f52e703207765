"""What is missing behind a bare API server, simulated: Deployment controller, kubelet, garbage collector.

    with Player(api, namespace=namespace) as player:
        player.behave("*:broken", Behaviour.CRASH)

It runs in a thread with its own event loop, uses watches, and writes only changes. Its pods are real objects
that the admin creates, so Pod Security and quotas apply.
"""

import asyncio
import hashlib
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from fnmatch import fnmatchcase
from types import TracebackType
from typing import Any, TypeVar

from harness.kubernetes.api import Api
from harness.kubernetes.controllers import Controllers
from harness.kubernetes.garbage import collect_garbage
from harness.kubernetes.pod_status import Behaviour, image_behaviour
from harness.kubernetes.rollout import is_ready
from harness.kubernetes.waiting import Json

__all__ = ["Behaviour", "Player"]

_WAIT_SECONDS = 15.0
Result = TypeVar("Result")


class Player:
    """Plays for one namespace, or for all (None).

    ready_seconds: from a pod's making to its readiness. progress_deadline_seconds: instead of the
    Deployment's own (None: its own). pods False: none are made, only counted, for very many
    Deployments. auto_garbage: children go when a PoseCluster or Deployment is deleted.
    """

    def __init__(
        self,
        api: Api,
        *,
        namespace: str | None,
        ready_seconds: float = 0.05,
        progress_deadline_seconds: float | None = 3.0,
        pods: bool = True,
        auto_garbage: bool = False,
    ) -> None:
        self.api = api
        self.namespace = namespace
        self.ready_seconds = ready_seconds
        self.progress_deadline_seconds = progress_deadline_seconds
        self.makes_pods = pods
        self.auto_garbage = auto_garbage
        self.node_name = "player"  # of pods that are created from now on
        self.address: Callable[[str], str] = loopback_address
        self._behaviours: list[tuple[str, Behaviour]] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="player", daemon=True)
        self._made: Controllers | None = None
        self._running: Future[None] | None = None

    def __enter__(self) -> "Player":
        self._thread.start()
        self._made = self._do(self._make())
        self._do(self._controllers.start())
        self._running = asyncio.run_coroutine_threadsafe(self._controllers.run(), self._loop)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        failure = None
        if self._running is not None and self._running.done():
            failure = self._running.exception()
        self._do(self._controllers.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_WAIT_SECONDS)
        self._loop.close()
        problems = self._controllers.kubelet.problems
        if error is None and (failure is not None or problems):
            raise AssertionError(f"the player failed: {problems[:3]}") from failure

    @property
    def _controllers(self) -> Controllers:
        assert self._made is not None, "not entered yet"
        return self._made

    @property
    def writes(self) -> int:
        """Its own API writes so far."""
        return self._controllers.connection.writes

    def behave(self, pattern: str, behaviour: Behaviour) -> None:
        """From now on for pods whose image, or `namespace/deployment`, fits the shell pattern; last wins."""
        self._behaviours = [*self._behaviours, (pattern, behaviour)]
        if self._made is not None:
            self._call(self._made.look_again)

    def behaviour(self, deployment: str, image: str) -> Behaviour:
        """How pods of `namespace/name` with that image fare."""
        for pattern, behaviour in reversed(self._behaviours):
            if fnmatchcase(image, pattern) or fnmatchcase(deployment, pattern):
                return behaviour
        return image_behaviour(image)

    def pods(self, namespace: str, deployment: str) -> list[Json]:
        """A Deployment's pods as known now, also those that are only counted."""
        return self._controllers.pods_of(namespace, deployment)

    def ready_pods(self, namespace: str, deployment: str) -> list[Json]:
        """Those of them that are ready."""
        return [pod for pod in self.pods(namespace, deployment) if is_ready(pod)]

    def pause(self) -> None:
        """The controllers are away; what happens meanwhile is seen by `resume`."""
        self._call(self._controllers.awake.clear)

    def resume(self) -> None:
        """After `pause`."""
        self._call(self._controllers.awake.set)
        self._call(self._controllers.look_again)

    def collect_garbage(self) -> int:
        """Delete, now and once, all whose owners are gone; how many objects went."""
        return collect_garbage(self.api, self.namespace)

    async def _make(self) -> Controllers:
        return Controllers(self)  # in the loop: its connection belongs there

    def _call(self, what: Callable[[], object]) -> None:
        with suppress(RuntimeError):  # closed
            self._loop.call_soon_threadsafe(what)

    def _do(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_WAIT_SECONDS)


def loopback_address(name: str) -> str:
    """An address in 127/8 that is a pod's own, by its name."""
    numbers = hashlib.sha256(name.encode()).digest()
    return f"127.{numbers[0] % 200 + 10}.{numbers[1]}.{numbers[2] % 250 + 2}"
