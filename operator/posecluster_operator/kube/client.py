"""The Kubernetes client: takes and returns dictionaries, and converts status codes into KubeErrors.

Calls are not retried here but by the work queue. Every write calls the function of `Kube.limit_writes` to
limit its duration to the time for which this process may write, and again right before it sends the body.
"""

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any
from urllib.parse import urlencode

import aiohttp

from posecluster_operator.builders.kinds import Resource
from posecluster_operator.builders.labels import MANAGER
from posecluster_operator.errors import NotFound, NotLeader, Retryable, Unanswered
from posecluster_operator.kube.credentials import USER_AGENT, Access, load_access
from posecluster_operator.kube.kinds import BY_KIND, describe
from posecluster_operator.kube.responses import read_object
from posecluster_operator.resource.json_access import child

Objects = list[dict[str, Any]]

_CHUNK = 500
_MOST_CHUNKS = 1_000
_JSON = "application/json"
_MERGE = "application/merge-patch+json"
_APPLY = "application/apply-patch+yaml"

# `write_seconds` for the request of this context; None for reads and for calls that do not need the Lease
_fence: ContextVar[Callable[[], float] | None] = ContextVar("_fence", default=None)


class Kube:
    """Client of one API server. Raises NotFound, Conflict, Forbidden, Rejected, Retryable and NotLeader.

    Created by `connect`. Every write is allowed until `limit_writes` is called.
    """

    def __init__(
        self,
        access: Access,
        *,
        request_seconds: float,
        connect_seconds: float,
        on_call: Callable[[str, str], None],
        unacknowledged_seconds: float,
    ) -> None:
        self.access = access
        self.cut_short = False  # whether a write that needs the Lease was cancelled in flight
        self._write_seconds: Callable[[], float] = _unlimited
        self._request_seconds, self._connect_seconds = request_seconds, connect_seconds
        self._on_call = on_call
        self._client = access.open(_check_fence, unacknowledged_seconds=unacknowledged_seconds)

    def limit_writes(self, seconds: Callable[[], float]) -> None:
        """From now on, write only for as long as `seconds()` says; it raises NotLeader to forbid a write."""
        self._write_seconds = seconds

    async def get(
        self, resource: Resource, namespace: str | None, name: str, *, seconds: float = math.inf
    ) -> dict[str, Any]:
        """Read one object; raises NotFound. `seconds` shortens the time limit."""
        what = describe("get", resource, namespace, name)
        return await self._call(what, "GET", resource.path(namespace, name), seconds=seconds)

    async def find(
        self, resource: Resource, namespace: str | None, name: str, *, seconds: float = math.inf
    ) -> dict[str, Any] | None:
        """Read one object, or return None if it does not exist."""
        try:
            return await self.get(resource, namespace, name, seconds=seconds)
        except NotFound:
            return None

    async def list(
        self,
        resource: Resource,
        namespace: str | None,
        *,
        labels: str = "",
        fields: str = "",
        limit: int | None = None,
    ) -> Objects:
        """Read all objects that match the selectors, 500 per call; with `limit`, only the first ones.

        Items have no apiVersion and kind. A list that expires between two calls is started again, once.
        """
        named = (("labelSelector", labels), ("fieldSelector", fields))
        selectors = [(name, value) for name, value in named if value]
        try:
            return await self._list(resource, namespace, selectors, limit)
        except Retryable as error:
            if error.status != 410:
                raise
        return await self._list(resource, namespace, selectors, limit)

    async def _list(
        self,
        resource: Resource,
        namespace: str | None,
        selectors: Sequence[tuple[str, str]],
        limit: int | None,
    ) -> Objects:
        what, path = describe("list", resource, namespace), resource.path(namespace)
        query = [("limit", str(limit or _CHUNK)), *selectors]
        found: Objects = []
        token = ""
        for _ in range(_MOST_CHUNKS):
            answer = await self._call(
                what, "GET", path, query=[*query, ("continue", token)] if token else query
            )
            items, metadata = answer.get("items"), answer.get("metadata")
            if not isinstance(items, list | None) or not isinstance(metadata, dict):
                raise Retryable(what, "the response is not a list")
            found += items or []
            token = metadata.get("continue") or ""
            if not token or limit is not None:
                return found[:limit]
        raise Retryable(what, f"the list has more than {_MOST_CHUNKS:,} pages")

    async def apply(self, manifest: Mapping[str, Any], *, force: bool = True) -> dict[str, Any]:
        """Apply one object server-side; without `force`, raises Conflict if another manager owns a field."""
        resource = BY_KIND[manifest["apiVersion"], manifest["kind"]]
        namespace, name = manifest["metadata"]["namespace"], manifest["metadata"]["name"]
        return await self._call(
            describe("apply", resource, namespace, name),
            "PATCH",
            resource.path(namespace, name),
            query=[("fieldManager", MANAGER), ("force", str(force).lower())],
            body=manifest,
            content_type=_APPLY,
            fenced=True,
        )

    async def patch_status(
        self, resource: Resource, namespace: str, name: str, patch: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Merge a patch into /status; raises Conflict if its metadata.resourceVersion is outdated."""
        return await self.patch(resource, namespace, name, patch, subresource="status")

    async def patch(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        body: Mapping[str, Any],
        *,
        subresource: str | None = None,
        fenced: bool = True,
    ) -> dict[str, Any]:
        """Merge a patch into one object."""
        return await self._call(
            describe("patch", resource, namespace, name, subresource),
            "PATCH",
            resource.path(namespace, name, subresource),
            query=[("fieldManager", MANAGER)],
            body=body,
            content_type=_MERGE,
            fenced=fenced,
        )

    async def create(
        self,
        resource: Resource,
        namespace: str | None,
        body: Mapping[str, Any],
        *,
        fenced: bool = True,
        seconds: float = math.inf,
    ) -> dict[str, Any]:
        """Create one object; raises Conflict if it exists. `seconds` shortens the time limit."""
        what = describe("create", resource, namespace, (body.get("metadata") or {}).get("name"))
        path, query = resource.path(namespace), [("fieldManager", MANAGER)]
        return await self._call(what, "POST", path, query=query, body=body, fenced=fenced, seconds=seconds)

    async def replace(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        body: Mapping[str, Any],
        *,
        fenced: bool = True,
        seconds: float = math.inf,
    ) -> dict[str, Any]:
        """Replace one object; raises Conflict if the body's resourceVersion is outdated."""
        what, path = describe("update", resource, namespace, name), resource.path(namespace, name)
        query = [("fieldManager", MANAGER)]
        return await self._call(what, "PUT", path, query=query, body=body, fenced=fenced, seconds=seconds)

    async def delete(self, resource: Resource, namespace: str, name: str, *, uid: str) -> None:
        """Delete the object with this uid if it exists; raises Conflict if the uid differs."""
        what, path = describe("delete", resource, namespace, name), resource.path(namespace, name)
        body = {"preconditions": {"uid": uid}, "propagationPolicy": "Background"}
        try:
            await self._call(what, "DELETE", path, body=body, fenced=True)
        except NotFound:
            return

    async def plurals(self, api_version: str) -> frozenset[str]:
        """Return the plurals that the API server serves under `group/version`; raises NotFound."""
        answer = await self._call(f"get {api_version}", "GET", f"/apis/{api_version}")
        return frozenset(str(item.get("name")) for item in answer.get("resources") or ())

    async def schemas(self, api_version: str) -> tuple[Mapping[str, Any], ...]:
        """Return the OpenAPI schemas of the kinds that the API server serves under `group/version`.

        Unlike CRDs, every account may read them. Raises NotFound.
        """
        answer = await self._call(f"get {api_version}", "GET", f"/openapi/v3/apis/{api_version}")
        return tuple(child(answer, "components", "schemas").values())

    async def close(self) -> None:
        """Close every connection."""
        await self._client.close()

    async def _call(
        self,
        what: str,
        method: str,
        path: str,
        *,
        query: Sequence[tuple[str, str]] = (),
        body: Mapping[str, Any] | None = None,
        content_type: str = _JSON,
        fenced: bool = False,
        seconds: float = math.inf,
    ) -> dict[str, Any]:
        """Send one request and return the object of the response."""
        verb = what.partition(" ")[0]
        headers = {"Accept": _JSON, "Content-Type": content_type, "User-Agent": USER_AGENT}
        headers |= await self.access.authorization()
        url = f"{self.access.server}{path}" + (f"?{urlencode(query)}" if query else "")
        code = "error"
        fence = _fence.set(self._write_seconds if fenced else None)
        try:
            total = min(self._request_seconds, seconds, self._write_seconds() if fenced else math.inf)
            response = await self._client.call_api(
                method, url, headers, body, _request_timeout=_limit(total, self._connect_seconds)
            )
            content = await response.read()
            code = str(response.status)
        except TimeoutError as error:
            code = "timeout"
            raise Unanswered(what, "the API server did not respond in time") from error
        except (aiohttp.ClientError, OSError) as error:
            if isinstance(error.__cause__, NotLeader):
                code = ""
                raise error.__cause__ from None
            reason = str(error) or type(error).__name__
            raise Retryable(what, f"the API server cannot be reached: {reason}") from error
        except NotLeader:
            code = ""
            raise
        except asyncio.CancelledError:
            self.cut_short |= fenced
            raise
        finally:
            _fence.reset(fence)
            if code:
                self._on_call(verb, code)
        if response.status == 401:
            self.access.expire()
        return read_object(what, response.status, content, response.headers)


def _unlimited() -> float:
    return math.inf


def _check_fence() -> None:
    """Raise NotLeader if the request of this context may no longer be sent.

    The process may have been suspended since the time limit was set, and time-outs are detected last.
    """
    fence = _fence.get()
    if fence is not None:
        fence()


def _limit(total: float, connect: float) -> aiohttp.ClientTimeout:
    # 0 would mean no limit. Without the threshold, aiohttp rounds limits of 5 s and more up to full seconds.
    return aiohttp.ClientTimeout(total=max(total, 0.001), connect=connect, ceil_threshold=math.inf)


async def connect(
    *,
    request_seconds: float,
    connect_seconds: float,
    on_call: Callable[[str, str], None],
    unacknowledged_seconds: float = 4.0,
) -> Kube:
    """Return the client for KUBECONFIG's current context, or else for the cluster of this pod.

    `on_call` is called with the verb and the status code of each call, or `timeout` or `error` without a
    response. For `unacknowledged_seconds` see `Access.open`. Sends no request. Raises InvalidSetting.
    """
    access = await asyncio.to_thread(load_access)
    return Kube(
        access,
        request_seconds=request_seconds,
        connect_seconds=connect_seconds,
        on_call=on_call,
        unacknowledged_seconds=unacknowledged_seconds,
    )
