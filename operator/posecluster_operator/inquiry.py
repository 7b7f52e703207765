"""Why a PoseCluster has its size, from the operator and the resource: what the command `explain` prints.

The operator knows the figures; it is asked at the URL that is given, else at this pod's own port, else
through the API server at the pod that holds the Lease. Without it, the resource says what it can.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import aiohttp
from yarl import URL

from posecluster_operator.access import USER_AGENT, Access, context_namespace, own_namespace
from posecluster_operator.autoscaler.explanation import page
from posecluster_operator.errors import InvalidSetting, KubeError, NotFound, OperatorError
from posecluster_operator.fields import NAME_PATTERN
from posecluster_operator.kube import LEASES, PODS, POSECLUSTERS, Kube, connect
from posecluster_operator.models import PoseCluster
from posecluster_operator.observed import child, text
from posecluster_operator.parsing import parse
from posecluster_operator.resource_explanation import explain_resource, needs_operator, resource_rows
from posecluster_operator.settings import Settings

_CALL_SECONDS = 10.0
_CONNECT_SECONDS = 5.0
_MOST_BYTES = 65_536
_LONGEST_REASON = 300
_DEFAULT_PORT = 9091


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked; `namespace` empty: the kubeconfig's; `operator`: its URL, empty: it is looked for."""

    name: str
    namespace: str = ""
    operator: str = ""


class _NoAnswer(Exception):
    """The operator's figures cannot be had; the text says why."""


async def explain(question: Question, settings: Settings) -> str:
    """Return the explanation; raises OperatorError if neither the resource nor the operator can tell."""
    if question.operator and not question.operator.startswith(("http://", "https://")):
        raise InvalidSetting(f"--operator={question.operator[:80]!r}: must begin with http:// or https://")
    if not question.namespace:
        question = replace(question, namespace=await asyncio.to_thread(context_namespace))
    for name in (question.namespace, question.name):
        if not re.fullmatch(NAME_PATTERN, name):
            raise InvalidSetting(f"{name[:80]!r} is no valid name")
    async with AsyncExitStack() as stack:
        try:
            kube = await stack.enter_async_context(_connected())
            cluster = await _read(kube, question)
        except NotFound:
            raise
        except (InvalidSetting, KubeError) as error:
            return _printable(await _without_resource(question, settings, error))
        rows = resource_rows(cluster, datetime.now(UTC))
        if not needs_operator(cluster):
            return _printable(page(explain_resource(cluster), rows))
        try:
            found = await _ask_operator(kube, question, settings)
        except _NoAnswer as error:
            rows.append(("Missing", [f"the operator's own figures: {error}"]))
            return _printable(page(explain_resource(cluster), rows))
    return _printable(page(found, rows))


@asynccontextmanager
async def _connected() -> AsyncIterator[Kube]:
    kube = await connect(
        request_seconds=_CALL_SECONDS, connect_seconds=_CONNECT_SECONDS, on_call=lambda _verb, _code: None
    )
    try:
        yield kube
    finally:
        await kube.close()


async def _read(kube: Kube, question: Question) -> PoseCluster:
    try:
        return parse(await kube.get(POSECLUSTERS, question.namespace, question.name))
    except NotFound as error:
        if "page not found" in error.message:
            raise NotFound("explain", "the kind PoseCluster is not installed in this cluster") from error
        raise NotFound(
            "explain", f"there is no PoseCluster {question.namespace}/{question.name}; namespaces: -n"
        ) from error


async def _without_resource(question: Question, settings: Settings, error: OperatorError) -> str:
    """Ask the operator alone: with the API server away, what it knows is all the more welcome."""
    base = await _base(question, settings)
    if not base:
        raise error
    try:
        found = await _ask(base, question)
    except _NoAnswer as answer:
        raise OperatorError(f"{error}; {answer}") from error
    return page(found, [("Missing", [f"the resource's status: {error}"])])


async def _base(question: Question, settings: Settings) -> str:
    """Return the URL where an operator may listen: the one given, else this pod's own; empty: neither."""
    if question.operator:
        return question.operator
    in_pod = await asyncio.to_thread(own_namespace)
    return own_url(settings) if in_pod else ""


def own_url(settings: Settings) -> str:
    """Return the URL at which an operator with these settings listens, for a process of the same pod."""
    first = settings.host.partition(",")[0].strip()
    host = {"": "localhost", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(first, first)  # noqa: S104  # nosec B104 - what it listens on
    return str(URL.build(scheme="http", host=host, port=settings.port or _DEFAULT_PORT)).rstrip("/")


async def _ask_operator(kube: Kube, question: Question, settings: Settings) -> str:
    """Return the operator's text; raises _NoAnswer with all that was tried."""
    reasons = []
    if base := await _base(question, settings):
        try:
            return await _ask(base, question)
        except _NoAnswer as error:
            if question.operator:
                raise
            reasons.append(str(error))
    try:
        return await _ask_holder(kube, question, settings)
    except _NoAnswer as error:
        raise _NoAnswer("; ".join([*reasons, str(error)])) from error


async def _ask_holder(kube: Kube, question: Question, settings: Settings) -> str:
    """Ask whoever holds the Lease, through the API server: needs the right to get pods/proxy there."""
    where = settings.lease_namespace or await asyncio.to_thread(own_namespace) or "default"
    lease = f"{where}/{settings.lease_name}"
    try:
        found = await kube.find(LEASES, where, settings.lease_name)
    except KubeError as error:
        raise _NoAnswer(f"{error} (or say where the operator listens with --operator)") from error
    if found is None:
        raise _NoAnswer(f"there is no Lease {lease}: say where the operator's is with --lease-namespace")
    holder = text(child(found, "spec"), "holderIdentity")
    if not holder:
        raise _NoAnswer(f"nobody holds the Lease {lease}: no operator runs")
    pod = PODS.path(where, f"{holder}:{settings.port or _DEFAULT_PORT}", "proxy")
    return await _ask(f"{kube.access.server}{pod}", question, access=kube.access)


async def _ask(base: str, question: Question, *, access: Access | None = None) -> str:
    """Return the operator's text; raises _NoAnswer. `access`: through the API server, as the caller."""
    namespace, name = question.namespace, question.name
    url = f"{base.rstrip('/')}/explain/{quote(namespace, safe='')}/{quote(name, safe='')}"
    try:
        status, kind, answer = await _get(url, access)
    except TimeoutError as error:
        raise _NoAnswer(f"{url}: no answer in time") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise _NoAnswer(f"{url}: {str(error) or type(error).__name__}") from error
    if status == 200 and kind == "text/plain" and answer.startswith(f"posecluster {namespace}/{name} "):
        return answer.rstrip("\n")
    words = answer.partition("\n")[0] if kind == "text/plain" else _status_message(answer)
    raise _NoAnswer(f"{url} answered {status}: {' '.join(words.split())[:_LONGEST_REASON]}")


async def _get(url: str, access: Access | None) -> tuple[int, str, str]:
    """Return status, content type and text of one GET; nothing of the caller's is shown but to `access`."""
    headers = {"User-Agent": USER_AGENT}
    options: dict[str, Any] = {}
    if access is not None:
        headers |= await access.authorization()
        options = {
            "ssl": access.ssl or True,
            "proxy": access.proxy,
            "server_hostname": access.tls_server_name,
        }
    limit = aiohttp.ClientTimeout(total=_CALL_SECONDS, connect=_CONNECT_SECONDS)
    async with (
        aiohttp.ClientSession(timeout=limit, cookie_jar=aiohttp.DummyCookieJar()) as session,
        session.get(url, headers=headers, allow_redirects=False, **options) as response,
    ):
        body = b""
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > _MOST_BYTES:
                break
        return response.status, response.content_type, body[:_MOST_BYTES].decode(errors="replace")


def _status_message(answer: str) -> str:
    """The words of the API server, if it was that which answered."""
    try:
        message = text(json.loads(answer), "message")
    except ValueError:
        message = ""
    return message or "this is no posecluster-operator"


def _printable(words: str) -> str:
    """Status texts and answers are others': nothing in them is to move a terminal's cursor."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in words)
