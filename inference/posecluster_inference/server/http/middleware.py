"""The middleware of the client port, which processes every request."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from urllib.parse import quote

from aiohttp import hdrs, web

from posecluster_inference.errors import Reason, Refusal
from posecluster_inference.server.http.connection import SERVER_NAME, ClientConnection
from posecluster_inference.server.http.negotiation import clean_request_id, new_id
from posecluster_inference.server.http.observation import Facts
from posecluster_inference.server.http.problems import problem
from posecluster_inference.server.http.service import Service
from posecluster_inference.server.http.tracing import trace_context

_METHODS = frozenset(hdrs.METH_ALL)
_SAFE_IN_QUERY = "%!$&'()*+,;=:@/?-._~[]"  # characters that a query may contain unescaped

SERVICE = web.AppKey("service", Service)
FACTS = web.RequestKey("facts", Facts)


@web.middleware
async def every_request(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Assign IDs, turn refusals into problems, observe, and decide whether the connection closes."""
    service = request.app[SERVICE]
    loop = asyncio.get_running_loop()
    connection = request.protocol
    assert isinstance(connection, ClientConnection)
    started = loop.time()
    connection.request_started()
    given_id = clean_request_id(request.headers.get("X-Request-Id", ""))
    answer_id = new_id()
    trace = trace_context(request.headers.getall("traceparent", []))
    facts = request[FACTS] = Facts(answer_id, given_id or answer_id, request.remote or "", trace)
    try:
        response = await _answer(request, handler, service, facts)
    finally:
        connection.request_finished(request.content)
    response.headers["X-Request-Id"] = facts.request_id
    if trace is not None:
        response.headers["traceparent"] = trace.field
    response.headers[hdrs.SERVER] = SERVER_NAME
    _allow_origin(request, response, service)
    reason = _reason_to_close(connection, response, service, loop.time())
    if reason is not None:
        response.force_close()
        if request.keep_alive:
            service.metrics.connections_closed.labels(reason).inc()
    _observe(request, response, service, facts, started)
    return response


async def _answer(
    request: web.Request,
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    service: Service,
    facts: Facts,
) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPMethodNotAllowed as error:
        if request.method == hdrs.METH_OPTIONS:
            response = web.Response(status=204)
        else:
            useful = ", ".join(sorted(error.allowed_methods))
            response = _refuse(Refusal(Reason.METHOD_NOT_ALLOWED, f"Use {useful}."), service, facts)
        response.headers[hdrs.ALLOW] = _allow(error.allowed_methods)
    except web.HTTPNotFound:
        if request.path == "*":  # OPTIONS * refers to the server as a whole
            methods = {route.method for route in request.app.router.routes()}
            response = web.Response(status=204, headers={hdrs.ALLOW: _allow(methods)})
        else:
            response = _without_slash(request) or _refuse(
                Refusal(Reason.NOT_FOUND, "Nothing exists at this path: correct the path."), service, facts
            )
    except Refusal as refusal:
        if refusal.status == 503 and refusal.retry_after_seconds is None:
            wait = service.pool.wait_seconds(asyncio.get_running_loop().time())
            refusal.with_retry_after(service.admission.retry_after(wait))
        response = _refuse(refusal, service, facts)
        if refusal.status == 408:
            assert isinstance(request.protocol, ClientConnection)
            request.protocol.linger_less()
        # The traceback refers to the body in reference cycles, which would stay until the next garbage
        # collection.
        refusal.__traceback__ = refusal.__cause__ = refusal.__context__ = None
    return response


def _reason_to_close(
    connection: ClientConnection, response: web.StreamResponse, service: Service, now: float
) -> str | None:
    """Return why the connection closes after this response, as in the metric; None if it stays open."""
    if service.health.is_draining:
        return "draining"
    if service.memory.is_tight:
        return "memory"
    if response.status in (400, 408, 413):
        return "request"
    if connection.is_crowded:
        return "pipelining"
    if connection.is_old:
        return "age"
    is_refused = response.status in (503, 504)
    if (is_refused or service.pool.is_busy(now)) and connection.may_move(is_refused=is_refused):
        return "busy"
    return None


def _allow(methods: Iterable[str]) -> str:
    return ", ".join(sorted({*methods, hdrs.METH_OPTIONS}))


def _without_slash(request: web.Request) -> web.Response | None:
    """Redirect a path with a trailing slash to its route; None if the path without it has no route.

    The address is relative, because an ingress may have removed a prefix of the path. OPTIONS requests get a
    direct response, because browsers do not follow redirects of a preflight.
    """
    path = request.rel_url.raw_path
    parent, _, name = path[:-1].rpartition("/")
    resources = (one for one in request.app.router.resources() if one.canonical == f"{parent}/{name}")
    methods = {route.method for resource in resources for route in resource}
    if not path.endswith("/") or not name or not methods:
        return None
    if request.method == hdrs.METH_OPTIONS:
        return web.Response(status=204, headers={hdrs.ALLOW: _allow(methods)})
    query = quote(request.rel_url.raw_query_string, safe=_SAFE_IN_QUERY, errors="surrogateescape")
    return web.Response(
        status=308,
        headers={hdrs.LOCATION: f"../{name}?{query}" if query else f"../{name}"},
        text=f"Use {parent}/{name}, without the slash at the end.\n",
    )


def _refuse(refusal: Refusal, service: Service, facts: Facts) -> web.Response:
    facts.reason = refusal.reason
    service.observer.refused(facts, refusal.status)
    return problem(refusal)


def _allow_origin(request: web.Request, response: web.StreamResponse, service: Service) -> None:
    origin = request.headers.get(hdrs.ORIGIN)
    headers = service.cors.headers(origin)
    if request.method == hdrs.METH_OPTIONS and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers:
        fields = request.headers.get(hdrs.ACCESS_CONTROL_REQUEST_HEADERS, "")
        headers |= service.cors.preflight_headers(origin, response.headers.get(hdrs.ALLOW, ""), fields)
    for name, value in headers.items():
        response.headers.add(name, value)


def _observe(
    request: web.Request, response: web.StreamResponse, service: Service, facts: Facts, started: float
) -> None:
    now = asyncio.get_running_loop().time()
    resource = request.match_info.route.resource
    route = resource.canonical if resource is not None else "unknown"
    method = request.method if request.method in _METHODS else "other"
    service.metrics.http_requests.labels(route, method, response.status).inc()
    service.metrics.request_duration_seconds.labels(route).observe(now - started)
    service.observer.answered(
        facts,
        method=method,
        route=route,
        status=response.status,
        body_bytes=response.content_length or 0,
        began=started,
        now=now,
    )
