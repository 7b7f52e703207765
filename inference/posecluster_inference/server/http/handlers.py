"""The request handlers of both ports."""

import asyncio
from dataclasses import asdict
from functools import partial
from typing import Any

from aiohttp import hdrs, web

from posecluster_inference.errors import Reason, Refusal
from posecluster_inference.server.detection.detector import AnswerSource, Detection
from posecluster_inference.server.detection.quota import Allowance, Quota
from posecluster_inference.server.http import openapi
from posecluster_inference.server.http.client_identity import caller_of
from posecluster_inference.server.http.connection import ClientConnection
from posecluster_inference.server.http.middleware import FACTS, SERVICE
from posecluster_inference.server.http.negotiation import (
    CONTENT_TYPES,
    accepts_gzip,
    answer_form,
    deadline_seconds,
    parameters,
    skips_cache,
)
from posecluster_inference.server.http.observation import Facts
from posecluster_inference.server.http.pages import PLAYGROUND, REFERENCE
from posecluster_inference.server.http.problems import problem
from posecluster_inference.server.http.service import Service
from posecluster_inference.server.workers.health import Status
from posecluster_inference.worker.messages import JSON_ANSWER, ModelInfo
from posecluster_inference.worker.tasks import CATALOGUE, Task

_ACCEPT_CHARACTERS = 1_024  # the rest is ignored, because parsed values are cached
_CACHE_STATUS = {  # RFC 9211
    AnswerSource.HIT: "posecluster; hit",
    AnswerSource.COLLAPSED: "posecluster; fwd=miss; collapsed",
    AnswerSource.MISS: "posecluster; fwd=miss",
    AnswerSource.BYPASS: "posecluster; fwd=request",
}


async def detect(request: web.Request) -> web.StreamResponse:
    """POST /v1/detect: return the landmarks in a picture, or a drawn picture."""
    service = request.app[SERVICE]
    facts = request[FACTS]
    facts.caller = caller_of(request, service)
    allowance = _take_quota(service, facts.caller)
    try:
        service.admission.check_open()
        seconds = deadline_seconds(request.headers.get("X-Request-Timeout-Ms"), service.settings.deadline_ms)
        accept = ",".join(request.headers.getall(hdrs.ACCEPT, []))[:_ACCEPT_CHARACTERS]
        task = CATALOGUE[service.settings.model_task]
        form = answer_form(request.query.items(), accept, task)
        if form.keypoints:
            _check_keypoints(form.keypoints, task, service.workers.model)
        skip_cache = skips_cache(request.headers.getall(hdrs.CACHE_CONTROL, []))
        async with service.bodies.picture(request) as picture:
            deadline = asyncio.get_running_loop().time() + seconds
            detection = await service.detector.detect(
                picture,
                form,
                deadline,
                facts,
                skip_cache=skip_cache,
                owner=service.owner_of(facts.caller),
                caller=facts.caller,
                charge=partial(_charge, service.quota, facts.caller) if service.quota else None,
            )
        assert isinstance(request.protocol, ClientConnection)
        request.protocol.hold_answer(facts.caller, len(detection.answer.body))
    except Refusal as refusal:
        if allowance is None:
            raise
        raise refusal.with_headers(_quota_headers(service, allowance)) from None
    facts.answer = None if detection.source is AnswerSource.HIT else detection.answer
    facts.cache_status = _cache_status(detection)
    response = _response(detection, form.kind, facts)
    if allowance is not None:
        response.headers.update(_quota_headers(service, allowance))
    return response


def _check_keypoints(name: str, task: Task, model: ModelInfo | None) -> None:
    """Refuse a keypoint set of the task if the engine of a user has other landmarks."""
    if model and not set(task.KEYPOINT_SETS[name]) <= set(model.landmarks):
        raise Refusal(
            Reason.MALFORMED,
            f"This model has no {name.upper()} keypoints: GET /v1/model lists its landmarks.",
        )


def _charge(quota: Quota, caller: str, requests: float) -> None:
    """Charge a request that costs as much as several ordinary ones for all but the first."""
    if requests >= 2:
        quota.charge(caller, int(requests) - 1)


def _take_quota(service: Service, caller: str) -> Allowance | None:
    if service.quota is None:
        return None
    allowance = service.quota.take(caller, asyncio.get_running_loop().time())
    if not allowance.allowed:
        raise Refusal(
            Reason.QUOTA,
            f"You may send {service.settings.rate_limit_per_minute} requests a minute: "
            "retry after the time in Retry-After.",
            retry_after_seconds=service.admission.retry_after(allowance.retry_after_seconds),
        ).with_headers(_quota_headers(service, allowance))
    return allowance


def _quota_headers(service: Service, allowance: Allowance) -> dict[str, str]:
    assert service.quota is not None
    return {
        "RateLimit-Policy": service.quota.policy,
        "RateLimit": f'"default";r={allowance.remaining};t={allowance.full_in_seconds}',
    }


def _cache_status(detection: Detection) -> str:
    status = _CACHE_STATUS[detection.source]
    return f"{status}; stored" if detection.is_stored else status


def _response(detection: Detection, kind: str, facts: Facts) -> web.Response:
    answer, is_cached = detection.answer, detection.source is AnswerSource.HIT
    headers = {
        hdrs.CONTENT_TYPE: CONTENT_TYPES[kind],
        hdrs.CACHE_CONTROL: "no-store",
        hdrs.VARY: hdrs.ACCEPT,
        "Cache-Status": facts.cache_status,
    }
    if answer.drawn is not None:
        headers |= answer.drawn.headers
    if not is_cached:
        stages = {"queue": answer.queue_seconds, **answer.stages}
        headers["Server-Timing"] = ", ".join(
            f"{stage};dur={seconds * 1000:.2f}" for stage, seconds in stages.items()
        )
    body = answer.body
    if kind == JSON_ANSWER:
        cached = b"true" if is_cached else b"false"
        body = b"".join((b'{"id":"', facts.answer_id.encode(), b'",', body, b',"cached":', cached, b"}"))
    return web.Response(body=body, headers=headers)


async def model(request: web.Request) -> web.StreamResponse:
    """GET /v1/model: return the model and the limits of this server."""
    service = request.app[SERVICE]
    caller_of(request, service)
    parameters(request.query.items(), {})
    loaded = service.workers.model
    if loaded is None:
        raise Refusal(
            Reason.STARTING,
            "No worker has loaded the model yet: retry later.",
            retry_after_seconds=service.admission.retry_after(1),
        )
    limits = openapi.limits(service.settings, queue_length=service.pool.queue.limit)
    sandbox = service.health.sandbox()
    return web.json_response({**asdict(loaded), **service.model, "sandbox": sandbox, "limits": limits})


async def api_description(request: web.Request) -> web.StreamResponse:
    """GET /openapi.json: return the OpenAPI document with the limits of this server."""
    body = openapi.encoded(request.app[SERVICE].settings)
    return web.Response(body=body, content_type="application/json")


async def playground(request: web.Request) -> web.StreamResponse:
    """GET /: return the playground."""
    return _file(request, PLAYGROUND)


async def reference(request: web.Request) -> web.StreamResponse:
    """GET /docs: return the page with the API reference."""
    return _file(request, REFERENCE)


async def asset(request: web.Request) -> web.StreamResponse:
    """GET /assets/{name}: return a file that the two pages load."""
    name = request.match_info["name"]
    return _file(request, name if name not in (PLAYGROUND, REFERENCE) else "")


def _file(request: web.Request, name: str) -> web.Response:
    """Return a file, compressed if the client accepts it; 304 if the client has the current version."""
    file = request.app[SERVICE].pages.get(name)
    if file is None:
        raise Refusal(Reason.NOT_FOUND, "No file has this name: correct the path.")
    headers = {**file.headers, hdrs.ETAG: f'W/"{file.tag}"'}
    known = request.if_none_match or ()
    if any(tag.value in (file.tag, "*") for tag in known):
        del headers[hdrs.CONTENT_TYPE]
        return web.Response(status=304, headers=headers)
    body = file.body
    if file.packed is not None and accepts_gzip(request.headers.get(hdrs.ACCEPT_ENCODING, "")):
        body, headers[hdrs.CONTENT_ENCODING] = file.packed, "gzip"
    return web.Response(body=body, headers=headers)


async def client_healthz(request: web.Request) -> web.StreamResponse:
    """GET /healthz on the client port: with tokens, return only the status, because it needs no token."""
    service = request.app[SERVICE]
    if service.tokens is None:
        return await healthz(request)
    return _health({"status": service.health.status})


async def healthz(request: web.Request) -> web.StreamResponse:
    """GET /healthz: return the state of the server, with 200 if it is ready and 503 otherwise."""
    return _health(request.app[SERVICE].health.describe())


def _health(body: dict[str, Any]) -> web.Response:
    ready = body["status"] == Status.READY
    return web.json_response(body, status=200 if ready else 503, headers={hdrs.CACHE_CONTROL: "no-store"})


async def readyz(request: web.Request) -> web.StreamResponse:
    """GET /readyz: return 200 if the server should get requests."""
    status = request.app[SERVICE].health.status
    if status is Status.READY:
        return web.Response(text="ready\n")
    reason = Reason.DRAINING if status is Status.DRAINING else Reason.STARTING
    return problem(Refusal(reason, f"This server is {status}.", retry_after_seconds=1))


async def livez(request: web.Request) -> web.StreamResponse:
    """GET /livez: return 503 only if the container should be restarted, independently of load."""
    if request.app[SERVICE].health.is_alive:
        return web.Response(text="alive\n")
    return problem(
        Refusal(
            Reason.STARTING, "No worker process can be started: restart the server.", retry_after_seconds=60
        )
    )


async def metrics(request: web.Request) -> web.StreamResponse:
    """GET /metrics: return all metrics, or only the samples that `name[]` lists."""
    names = request.query.getall("name[]", [])
    text = request.app[SERVICE].metrics.text(names)
    return web.Response(body=text, headers={hdrs.CONTENT_TYPE: "text/plain; version=0.0.4; charset=utf-8"})
