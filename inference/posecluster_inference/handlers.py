"""The routes of both ports."""

import asyncio
import hashlib
from dataclasses import asdict, dataclass

from aiohttp import hdrs, web

from posecluster_inference import intake, openapi
from posecluster_inference.callers import caller_of
from posecluster_inference.errors import Reason, Refusal
from posecluster_inference.health import Status
from posecluster_inference.jobs import Answer, Job
from posecluster_inference.messages import JSON_ANSWER, AnswerForm
from posecluster_inference.middleware import FACTS
from posecluster_inference.negotiation import (
    CONTENT_TYPES,
    accepts_gzip,
    answer_form,
    deadline_seconds,
    parameters,
)
from posecluster_inference.pages import PLAYGROUND, REFERENCE
from posecluster_inference.problems import problem
from posecluster_inference.quota import Allowance
from posecluster_inference.tasks.pose import COCO_KEYPOINTS
from posecluster_inference.wiring import SERVICE, Service

_ACCEPT_CHARACTERS = 1_024  # more is not read: each form of it is kept parsed
_CACHE_NAME = "posecluster"  # in Cache-Status, RFC 9211


@dataclass(frozen=True, slots=True)
class _Result:
    """An answer and where it came from."""

    answer: Answer
    cache_status: str
    is_cached: bool = False


async def detect(request: web.Request) -> web.StreamResponse:
    """POST /v1/detect: a picture in, landmarks or a drawn picture out."""
    service = request.app[SERVICE]
    facts = request[FACTS]
    facts.caller = caller_of(request, service)
    allowance = _take_quota(service, facts.caller)
    try:
        service.admission.check_open()
        seconds = deadline_seconds(request.headers.get("X-Request-Timeout-Ms"), service.settings.deadline_ms)
        accept = ",".join(request.headers.getall(hdrs.ACCEPT, []))[:_ACCEPT_CHARACTERS]
        form = answer_form(request.query.items(), accept)
        if form.is_coco:
            _check_coco(service)
        async with service.bodies.picture(request) as picture:
            deadline = asyncio.get_running_loop().time() + seconds
            result = await _result(request, service, picture, form, deadline)
    except Refusal as refusal:
        if allowance is None:
            raise
        raise refusal.with_headers(_quota_headers(service, allowance)) from None
    facts.answer = None if result.is_cached else result.answer
    facts.cache_status = result.cache_status
    response = _response(result, form.kind, facts.answer_id)
    if allowance is not None:
        response.headers.update(_quota_headers(service, allowance))
    return response


def _check_coco(service: Service) -> None:
    """Refuse `keypoints=coco` where an engine of the user's own has other landmarks."""
    model = service.workers.model
    if model and not set(COCO_KEYPOINTS) <= set(model.landmarks):
        raise Refusal(Reason.MALFORMED, "The model of this server has no COCO keypoints: see GET /v1/model.")


def _take_quota(service: Service, caller: str) -> Allowance | None:
    if service.quota is None:
        return None
    allowance = service.quota.take(caller, asyncio.get_running_loop().time())
    if not allowance.allowed:
        raise Refusal(
            Reason.QUOTA,
            f"You may ask for {service.settings.rate_limit_per_minute} detections a minute.",
            retry_after_seconds=service.admission.retry_after(allowance.retry_after_seconds),
        ).with_headers(_quota_headers(service, allowance))
    return allowance


def _quota_headers(service: Service, allowance: Allowance) -> dict[str, str]:
    assert service.quota is not None
    return {
        "RateLimit-Policy": service.quota.policy,
        "RateLimit": f'"default";r={allowance.remaining};t={allowance.full_in_seconds}',
    }


async def _result(
    request: web.Request, service: Service, picture: bytes, form: AnswerForm, deadline: float
) -> _Result:
    """Answer from the cache, from a computation under way, or by a new one."""
    facts = request[FACTS]
    digest = hashlib.sha256(picture).digest()
    facts.digest, facts.body_bytes = digest.hex()[:16], len(picture)
    key = (digest, form)
    directives = ",".join(request.headers.getall(hdrs.CACHE_CONTROL, [])).lower().split(",")
    wants_fresh = "no-cache" in (directive.partition("=")[0].strip() for directive in directives)
    if not wants_fresh:
        kept = service.cache.get(key)
        if kept is not None:
            service.metrics.cache_requests.labels("hit").inc()
            return _Result(kept, f"{_CACHE_NAME}; hit", is_cached=True)
        joined = service.flights.get(key)
        if joined is not None:
            service.metrics.cache_requests.labels("collapsed").inc()
            answer = await joined.answer(deadline)
            return _Result(answer, f"{_CACHE_NAME}; fwd=miss; collapsed")
    service.metrics.cache_requests.labels("bypass" if wants_fresh else "miss").inc()
    header = intake.inspect(
        picture, max_pixels=service.settings.max_pixels, max_side=service.settings.max_side_pixels
    )
    facts.format = header.format
    job = service.admission.admit(picture, header, key, deadline)
    service.flights.add(job, joinable=not wants_fresh)
    answer = await _timed(service, job, deadline)
    stored = "; stored" if key in service.cache else ""
    forwarded = "request" if wants_fresh else "miss"
    return _Result(answer, f"{_CACHE_NAME}; fwd={forwarded}{stored}")


async def _timed(service: Service, job: Job, deadline: float) -> Answer:
    """Wait for a job of this request's own, and count it when it is late."""
    expired_in_queue = False
    try:
        return await job.answer(deadline)
    except Refusal as refusal:
        expired_in_queue = refusal.reason is Reason.DEADLINE and not job.started
        if expired_in_queue:
            service.admission.count_refusal(refusal)  # like those that were refused at the door
        raise
    finally:
        elapsed = asyncio.get_running_loop().time() - job.arrived
        if elapsed * 1000 > service.settings.latency_objective_ms and not expired_in_queue:
            service.metrics.late.inc()


def _response(result: _Result, kind: str, answer_id: str) -> web.Response:
    headers = {
        hdrs.CONTENT_TYPE: CONTENT_TYPES[kind],
        hdrs.CACHE_CONTROL: "no-store",
        hdrs.VARY: hdrs.ACCEPT,
        "Cache-Status": result.cache_status,
    }
    if result.answer.drawn is not None:
        headers |= result.answer.drawn.headers
    if not result.is_cached:
        stages = {"queue": result.answer.queue_seconds, **result.answer.stages}
        headers["Server-Timing"] = ", ".join(
            f"{stage};dur={seconds * 1000:.2f}" for stage, seconds in stages.items()
        )
    body = result.answer.body
    if kind == JSON_ANSWER:
        cached = b"true" if result.is_cached else b"false"
        body = b"".join((b'{"id":"', answer_id.encode(), b'",', body, b',"cached":', cached, b"}"))
    return web.Response(body=body, headers=headers)


async def model(request: web.Request) -> web.StreamResponse:
    """GET /v1/model: what answers, and the limits in force."""
    service = request.app[SERVICE]
    caller_of(request, service)
    parameters(request.query.items(), {})
    loaded = service.workers.model
    if loaded is None:
        raise Refusal(
            Reason.STARTING,
            "No worker has loaded the model yet.",
            retry_after_seconds=service.admission.retry_after(1),
        )
    limits = openapi.limits(service.settings, queue_length=service.pool.queue.limit)
    return web.json_response({**asdict(loaded), **service.model, "limits": limits})


async def api_description(request: web.Request) -> web.StreamResponse:
    """GET /openapi.json: this very contract, with the limits in force."""
    body = openapi.encoded(request.app[SERVICE].settings)
    return web.Response(body=body, content_type="application/json")


async def playground(request: web.Request) -> web.StreamResponse:
    """GET /: the page on which people try it."""
    return _file(request, PLAYGROUND)


async def reference(request: web.Request) -> web.StreamResponse:
    """GET /docs: the contract for people."""
    return _file(request, REFERENCE)


async def asset(request: web.Request) -> web.StreamResponse:
    """GET /assets/{name}: what the two pages load."""
    name = request.match_info["name"]
    return _file(request, name if name not in (PLAYGROUND, REFERENCE) else "")


def _file(request: web.Request, name: str) -> web.Response:
    """Return a file, packed if the caller takes that; 304 if it has it already."""
    file = request.app[SERVICE].pages.get(name)
    if file is None:
        raise Refusal(Reason.NOT_FOUND, "There is no file of this name.")
    headers = {**file.headers, hdrs.ETAG: f'W/"{file.tag}"'}
    known = request.if_none_match or ()
    if any(tag.value in (file.tag, "*") for tag in known):
        del headers[hdrs.CONTENT_TYPE]
        return web.Response(status=304, headers=headers)
    body = file.body
    if file.packed is not None and accepts_gzip(request.headers.get(hdrs.ACCEPT_ENCODING, "")):
        body, headers[hdrs.CONTENT_ENCODING] = file.packed, "gzip"
    return web.Response(body=body, headers=headers)


async def healthz(request: web.Request) -> web.StreamResponse:
    """GET /healthz: 200 when ready, else 503, with the state either way."""
    service = request.app[SERVICE]
    body = service.health.describe()
    ready = body["status"] == Status.READY
    return web.json_response(body, status=200 if ready else 503, headers={hdrs.CACHE_CONTROL: "no-store"})


async def readyz(request: web.Request) -> web.StreamResponse:
    """GET /readyz: may requests be sent here?"""
    status = request.app[SERVICE].health.status
    if status is Status.READY:
        return web.Response(text="ready\n")
    reason = Reason.DRAINING if status is Status.DRAINING else Reason.STARTING
    return problem(Refusal(reason, f"This server is {status}.", retry_after_seconds=1))


async def livez(request: web.Request) -> web.StreamResponse:
    """GET /livez: would a new container help? Never a matter of load."""
    if request.app[SERVICE].health.is_alive:
        return web.Response(text="alive\n")
    return problem(Refusal(Reason.STARTING, "No worker can be started any more.", retry_after_seconds=60))


async def metrics(request: web.Request) -> web.StreamResponse:
    """GET /metrics, of the sample names in `name[]` only if there are any."""
    names = request.query.getall("name[]", [])
    text = request.app[SERVICE].metrics.text(names)
    return web.Response(body=text, headers={hdrs.CONTENT_TYPE: "text/plain; version=0.0.4; charset=utf-8"})
