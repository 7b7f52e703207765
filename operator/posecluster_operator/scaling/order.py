"""How many pods the Deployment gets, so that the desired number is ready on usable nodes. Pure.

This is the only place where the ordered size differs from the desired one: pods on cordoned or failed nodes
are replaced on other nodes before they are removed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from posecluster_operator.builders import labels
from posecluster_operator.resource.fields import Json
from posecluster_operator.resource.json_access import child, count, text
from posecluster_operator.resource.stable_text import stamp
from posecluster_operator.scaling.pods import is_active, is_ready, node_of
from posecluster_operator.scaling.silence import is_lost

# A pod starts in seconds, and a cluster autoscaler adds a node in 2-4 minutes.
MOVE_SECONDS = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """The size to apply.

    `desired`: the number of pods to have ready. `extra`: replacements that run beside the pods that they
    replace. `leaving`: the pods to replace. `since`: when replacing them began, as in the annotation; empty
    if nothing is replaced. `gave_way`: the replacements did not become ready within `MOVE_SECONDS`, so a
    drain is no longer delayed. `seconds_left`: the time until then.
    """

    desired: int
    extra: int = 0
    leaving: tuple[Json, ...] = ()
    since: str = ""
    gave_way: bool = False
    seconds_left: float | None = None

    @property
    def replicas(self) -> int:
        """The size of the Deployment."""
        return self.desired + self.extra


def make_order(
    desired: int, *, deployment: Json | None, pods: Sequence[Json], cordoned: frozenset[str], now: datetime
) -> Order:
    """Return the size to apply for `desired` pods. `cordoned`: names of nodes. `now` is aware.

    While pods are leaving and fewer than `desired` pods are ready elsewhere, each leaving pod gets a
    replacement. When enough are ready elsewhere, or after 5 minutes, the size is `desired` again.
    """
    active = [pod for pod in pods if is_active(pod)]
    leaving = tuple(pod for pod in active if _is_leaving(pod, cordoned))
    elsewhere = sum(is_ready(pod) and not _is_leaving(pod, cordoned) for pod in active)
    if elsewhere >= desired or not leaving:
        return Order(desired=desired, leaving=leaving)
    began = _moving_since(deployment, now)
    since, seconds_left = stamp(began), MOVE_SECONDS - (now - began).total_seconds()
    if seconds_left <= 0:
        return Order(desired=desired, leaving=leaving, since=since, gave_way=True)
    return Order(
        desired=desired,
        extra=len(leaving),
        leaving=leaving,
        since=since,
        seconds_left=seconds_left,
    )


def desired_size(deployment: Json | None, *, taken_over: bool) -> int | None:
    """Return the desired size for which the operator ordered the Deployment's size; None without one.

    `taken_over`: another client has set the Deployment's size, so it is the desired one.
    """
    if deployment is None:
        return None
    size = count(child(deployment, "spec"), "replicas")
    if taken_over:
        return size
    noted = text(child(deployment, "metadata", "annotations"), labels.EXTRA_REPLICAS)
    extra = int(noted) if noted.isascii() and noted.isdigit() and len(noted) <= 3 else 0
    return max(0, size - extra)


def _is_leaving(pod: Json, cordoned: frozenset[str]) -> bool:
    return node_of(pod) in cordoned or is_lost(pod)


def _moving_since(deployment: Json | None, now: datetime) -> datetime:
    """Return when the move began; `now` if none has, or if the time is malformed or in the future."""
    noted = text(child(deployment, "metadata", "annotations"), labels.MOVING_SINCE)
    try:
        return min(now, datetime.fromisoformat(noted).astimezone(UTC))
    except (ValueError, OverflowError):
        return now
