"""The command `explain`: why a PoseCluster has its size, from the operator's figures and the resource.

If one of these two sources is unavailable, the explanation is based on the other.
"""

import asyncio
import json
import os
import re
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import aiohttp
from yarl import URL

from posecluster_operator.errors import InvalidSetting, KubeError, NotFound, OperatorError
from posecluster_operator.explain.decision import page
from posecluster_operator.explain.resource import explain_resource, needs_operator, resource_rows
from posecluster_operator.kube.client import Kube, connect
from posecluster_operator.kube.credentials import USER_AGENT, Access, context_namespace, own_namespace
from posecluster_operator.kube.kinds import LEASES, PODS, POSECLUSTERS
from posecluster_operator.resource.fields import NAME_PATTERN
from posecluster_operator.resource.json_access import child, text
from posecluster_operator.resource.parsing import parse
from posecluster_operator.resource.posecluster import PoseCluster
from posecluster_operator.settings import Settings

_CALL_SECONDS = 10.0
_CONNECT_SECONDS = 5.0
_MOST_BYTES = 65_536
_LONGEST_REASON = 300
_DEFAULT_PORT = 9091

_Place = tuple[str, Access | None]  # a URL, with credentials if it belongs to the API server


class NoAnswer(Exception):
    """The operator's figures are unavailable; the text says why."""


async def explain(name: str, settings: Settings, *, namespace: str = "", operator: str = "") -> str:
    """Return the explanation; raises OperatorError if neither the resource nor the operator has one.

    `namespace`: if empty, that of the kubeconfig. `operator`: the operator's URL; if empty, it is found
    through the API server.
    """
    if operator and not operator.startswith(("http://", "https://")):
        raise InvalidSetting(f"--operator={operator[:80]!r}: must begin with http:// or https://")
    namespace = namespace or await asyncio.to_thread(context_namespace)
    for one in (namespace, name):
        if not re.fullmatch(NAME_PATTERN, one):
            raise InvalidSetting(f"{one[:80]!r} is not a valid name")
    kube: Kube | None = None
    failure: OperatorError | None = None
    async with AsyncExitStack() as stack:
        try:
            kube = await connect(
                request_seconds=_CALL_SECONDS,
                connect_seconds=_CONNECT_SECONDS,
                on_call=lambda _verb, _code: None,
            )
            stack.push_async_callback(kube.close)
            cluster = await _read(kube, namespace, name)
            rows, answer = resource_rows(cluster, datetime.now(UTC)), explain_resource(cluster)
            if not needs_operator(cluster):
                return _printable(page(answer, rows))
        except NotFound:
            raise
        except (InvalidSetting, KubeError) as error:
            kube, failure = None, error
            rows, answer = [("Missing", [f"the status of the PoseCluster: {error}"])], ""
        try:
            place = (operator, None) if operator else await operator_place(kube, settings)
            answer = await _ask(place, namespace, name)
        except NoAnswer as error:
            if failure:
                raise OperatorError("; ".join(filter(None, (str(failure), str(error))))) from failure
            rows.append(("Missing", [f"the operator's figures: {error}"]))
        return _printable(page(answer, rows))


async def _read(kube: Kube, namespace: str, name: str) -> PoseCluster:
    try:
        return parse(await kube.get(POSECLUSTERS, namespace, name))
    except NotFound as error:
        reason = f"there is no PoseCluster {namespace}/{name}; set its namespace with -n"
        if "page not found" in error.message:
            reason = "the kind PoseCluster is not installed in this cluster"
        raise NotFound("explain", reason) from error


async def operator_place(kube: Kube | None, settings: Settings) -> _Place:
    """Return the URL of the operator: of this pod if it is one of the operator, else of the Lease's holder.

    The holder is reached through the API server, which requires permission to get pods/proxy. Raises
    NoAnswer. `kube` is None if the API server cannot be reached.
    """
    if os.environ.get("POD_ID"):
        return own_url(settings), None
    if kube is None:
        raise NoAnswer
    where = settings.lease_namespace or await asyncio.to_thread(own_namespace) or "default"
    lease = f"{where}/{settings.lease_name}"
    try:
        found = await kube.find(LEASES, where, settings.lease_name)
    except KubeError as error:
        raise NoAnswer(f"{error} (or set the operator's URL with --operator)") from error
    if found is None:
        raise NoAnswer(
            f"there is no Lease {lease}: set the namespace of the operator's Lease with --lease-namespace"
        )
    holder = text(child(found, "spec"), "holderIdentity")
    if not holder:
        raise NoAnswer(f"the Lease {lease} has no holder: check that the operator is running")
    pod = PODS.path(where, f"{holder}:{settings.port or _DEFAULT_PORT}", "proxy")
    return f"{kube.access.server}{pod}", kube.access


def own_url(settings: Settings) -> str:
    """Return the URL of an operator with these settings, for a process in the same pod."""
    first = settings.host.partition(",")[0].strip()
    host = {"": "localhost", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(first, first)  # noqa: S104  # nosec B104 - the address is only compared
    return str(URL.build(scheme="http", host=host, port=settings.port or _DEFAULT_PORT)).rstrip("/")


async def _ask(place: _Place, namespace: str, name: str) -> str:
    """Return the operator's explanation; raises NoAnswer."""
    base, access = place
    url = f"{base.rstrip('/')}/explain/{quote(namespace, safe='')}/{quote(name, safe='')}"
    headers, options = {"User-Agent": USER_AGENT}, dict[str, Any]()
    limit = aiohttp.ClientTimeout(total=_CALL_SECONDS, connect=_CONNECT_SECONDS)
    try:
        if access is not None:
            headers |= await access.authorization()
            options = {
                "ssl": access.ssl or True,
                "proxy": access.proxy,
                "server_hostname": access.tls_server_name,
            }
        async with (
            aiohttp.ClientSession(timeout=limit, cookie_jar=aiohttp.DummyCookieJar()) as session,
            session.get(url, headers=headers, allow_redirects=False, **options) as response,
        ):
            try:
                body = await response.content.readexactly(_MOST_BYTES)
            except asyncio.IncompleteReadError as whole:
                body = whole.partial
    except TimeoutError as error:
        raise NoAnswer(f"{url}: no response in time") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise NoAnswer(f"{url}: {str(error) or type(error).__name__}") from error
    answer, is_text = body.decode(errors="replace"), response.content_type == "text/plain"
    if response.status == 200 and is_text and answer.startswith(f"posecluster {namespace}/{name} "):
        return answer
    reason = answer.partition("\n")[0] if is_text else _status_message(answer)
    raise NoAnswer(f"{url} responded with {response.status}: {' '.join(reason.split())[:_LONGEST_REASON]}")


def _status_message(answer: str) -> str:
    """Return the message if the response is a Status of the API server."""
    try:
        message = text(json.loads(answer), "message")
    except ValueError:
        message = ""
    return message or "the server is not a posecluster-operator"


def _printable(answer: str) -> str:
    """Replace control characters, which untrusted status texts and responses may contain."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in answer)
