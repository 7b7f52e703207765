"""kopf handlers. They only convert events into keys of PoseClusters to reconcile."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import aiohttp
import kopf

from posecluster_operator.builders import table
from posecluster_operator.builders.kinds import Resource
from posecluster_operator.builders.labels import INSTANCE, MANAGED_BY, MANAGER
from posecluster_operator.kube.kinds import PODS, POSECLUSTERS
from posecluster_operator.resource.posecluster import GROUP, KIND

CHILDREN = table.kinds()
WATCHED = (POSECLUSTERS, *CHILDREN, PODS)
SELECTOR = f"{MANAGED_BY}={MANAGER}"

# Our own applies cause bursts of events, which share one pass.
_CHILD_SECONDS = 0.5
# limits the rate of logins when the API server refuses the credentials
_BETWEEN_LOGINS_SECONDS = 5.0

Metadata = Mapping[str, Any]


def make_registry(
    *, server: str, open_session: Callable[[], aiohttp.ClientSession], wake: Callable[[str, float], None]
) -> kopf.OperatorRegistry:
    """Return kopf's handlers; `wake(key, seconds)` requests a pass after this time.

    kopf's default registry is not used, because it would log in through the blocking client.
    """
    registry = kopf.OperatorRegistry()
    last_login = -_BETWEEN_LOGINS_SECONDS

    async def login(**_unused: object) -> kopf.AiohttpSession:
        nonlocal last_login
        await asyncio.sleep(max(0.0, last_login + _BETWEEN_LOGINS_SECONDS - time.monotonic()))
        last_login = time.monotonic()
        return kopf.AiohttpSession(server=server, aiohttp_session=open_session())

    async def cluster_event(meta: Metadata, **_unused: object) -> None:
        wake(f"{meta['namespace']}/{meta['name']}", 0.0)

    async def child_event(meta: Metadata, **_unused: object) -> None:
        if key := child_owner(meta) or labelled(meta):  # the owner reference may have been removed manually
            wake(key, _CHILD_SECONDS)

    async def pod_event(meta: Metadata, **_unused: object) -> None:
        if key := labelled(meta):
            wake(key, _CHILD_SECONDS)

    kopf.on.login(registry=registry, errors=kopf.ErrorsMode.PERMANENT)(login)
    _on_event(registry, [POSECLUSTERS], cluster_event)
    _on_event(registry, CHILDREN, child_event)
    _on_event(registry, [PODS], pod_event)
    return registry


def _on_event(registry: kopf.OperatorRegistry, resources: Sequence[Resource], handler: Any) -> None:
    for resource in resources:
        kopf.on.event(
            resource.group,
            resource.version,
            resource.plural,
            id=resource.plural,
            registry=registry,
        )(handler)


def child_owner(meta: Metadata) -> str | None:
    """Return the key of the PoseCluster that controls a child, or None."""
    for reference in meta.get("ownerReferences") or ():
        group, _, _version = reference.get("apiVersion", "").partition("/")
        if reference.get("controller") and reference.get("kind") == KIND and group == GROUP:
            return f"{meta['namespace']}/{reference['name']}"
    return None


def labelled(meta: Metadata) -> str | None:
    """Return the key of the PoseCluster according to the labels, or None. Any client can write labels."""
    name = (meta.get("labels") or {}).get(INSTANCE)
    return f"{meta['namespace']}/{name}" if name else None
