"""What kubectl wait and the kstatus rules say about the PoseCluster `demo` of a namespace, over time."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from harness.kstatus import kstatus
from harness.kubernetes.waiting import Json, conditions

if TYPE_CHECKING:
    from harness.kubernetes.api import Api

NAME, CHILD = "demo", "demo-pose"
LEAST_LOOKS = 10


@dataclass(slots=True)
class Looks:
    """The PoseCluster at each observation; `summary` is its verdicts in order, without repeats."""

    items: list[Json] = field(default_factory=list)

    @property
    def summary(self) -> list[str]:
        found: list[str] = []
        for item in self.items:
            verdict = kstatus(item)
            if not found or found[-1] != verdict:
                found.append(verdict)
        return found


@contextmanager
def looking(api: "Api", namespace: str) -> Iterator[Looks]:
    """Look at the PoseCluster all the time, first before and last after what is done meanwhile."""
    looks, over = Looks(), threading.Event()

    def look() -> None:
        looks.items.append(api.get("poseclusters", namespace, NAME))

    def look_often() -> None:
        while not over.wait(0.03):
            look()

    look()
    with ThreadPoolExecutor(1) as thread:
        looking_on = thread.submit(look_often)
        try:
            yield looks
        finally:
            over.set()
    looking_on.result()
    look()
    assert len(looks.items) >= LEAST_LOOKS


def wait_verdict(api: "Api", namespace: str, expected: str, seconds: float = 30.0) -> Json:
    """Wait until this is what kstatus says; the PoseCluster."""

    def found() -> Json | None:
        item = api.get("poseclusters", namespace, NAME)
        return item if kstatus(item) == expected else None

    try:
        return api.wait_until(found, seconds, expected) or {}
    except AssertionError as error:
        status = api.get("poseclusters", namespace, NAME).get("status")
        raise AssertionError(f"{error}; its status: {status}") from None


def kubectl_wait(api: "Api", namespace: str, seconds: int = 30) -> None:
    """ApiError when the time is over."""
    arguments = ("--for=condition=Ready", f"pose/{NAME}", f"--timeout={seconds}s", "-n", namespace)
    api.kubectl("wait", *arguments)


def abnormal(item: Json) -> dict[str, str]:
    return {
        kind: one["reason"] for kind, one in conditions(item).items() if kind in {"Reconciling", "Stalled"}
    }


def change(api: "Api", namespace: str, **spec: object) -> Json:
    return api.patch("poseclusters", namespace, NAME, {"spec": spec})
