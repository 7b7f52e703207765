"""What a client may send and what it may get back, as an OpenAPI 3.1 document.

Schemas, headers and examples are data/openapi_components.json and those of the task. Operations are put
together here, because their limits, statuses, reasons and titles have to follow the code.
"""

import json
from collections.abc import Iterable
from functools import lru_cache
from importlib import resources
from itertools import groupby
from typing import Any

from posecluster_inference import __version__, pages
from posecluster_inference.drawing import MAX_DRAWN_PIXELS, MAX_DRAWN_SIDE
from posecluster_inference.errors import Reason, Refusal
from posecluster_inference.health import Status
from posecluster_inference.negotiation import CONTENT_TYPES, PARAMETERS
from posecluster_inference.pace import Pace
from posecluster_inference.problems import problem
from posecluster_inference.process import State
from posecluster_inference.settings import Settings
from posecluster_inference.tasks import CATALOGUE

_Object = dict[str, Any]

_DESCRIPTION = """\
A picture in, the landmarks of the people in it out. Answers other than 200 are problems (RFC 9457) whose
`reason` is stable. GET routes answer HEAD too, all paths answer OPTIONS with 204 and `Allow`, and a path
with a slash too many at its end is redirected with 308; any other path is a problem `not_found`. docs/api.md
has examples, and what to do for each reason.
"""

_JSON = "application/json"
# Bytes as they are. JSON Schema has no word for them; tools go by the old format.
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_PICTURE_TYPES = ("image/jpeg", "image/png", "image/webp", "application/octet-stream")

# The details are examples; each reason is named once a status.
_ANY_ROUTE = (
    Refusal(Reason.MALFORMED, "This is not a well-formed HTTP/1.1 request."),
    Refusal(
        Reason.MALFORMED, "The header field Cookie has more than 16384 bytes: send less in it.", status=431
    ),
    Refusal(Reason.QUEUE_FULL, "All connections are taken.", retry_after_seconds=1),
)
_UNKNOWN_PATH = (Refusal(Reason.NOT_FOUND, "There is nothing at this path."),)
_TOKEN = (Refusal(Reason.UNAUTHORIZED, "Send a valid token as `Authorization: Bearer TOKEN`."),)
_NO_MODEL_YET = (Refusal(Reason.STARTING, "No worker has loaded the model yet.", retry_after_seconds=2),)
_DETECT = (
    Refusal(Reason.MALFORMED, "X-Request-Timeout-Ms must be a whole number of at least 1."),
    Refusal(Reason.DEADLINE, f"The body arrived too slowly: send {Pace(50_000, 60)}.", status=408),
    Refusal(Reason.BODY_TOO_LARGE, "The body exceeds the limit of 10485760 bytes: send a smaller file"),
    Refusal(
        Reason.PICTURE_TOO_LARGE,
        "The picture is 20000 x 20000 pixels; at most 25000000 pixels in all and 16384 a side are accepted: "
        "send a smaller copy",
    ),
    Refusal(
        Reason.UNSUPPORTED_FORMAT,
        "This is a GIF picture: convert it to JPEG, PNG or WebP",
    ),
    Refusal(Reason.UNSUPPORTED_ENCODING, "Send the picture as it is, without Content-Encoding."),
    Refusal(Reason.UNDECODABLE, "The WebP is cut off: send the whole file"),
    Refusal(Reason.QUOTA, "You may ask for 50 detections a minute.", retry_after_seconds=2),
    Refusal(Reason.QUEUE_FULL, "All 16 waiting places are taken.", retry_after_seconds=2),
    Refusal(Reason.DRAINING, "This server is shutting down.", retry_after_seconds=1),
    Refusal(Reason.STARTING, "No worker is ready yet.", retry_after_seconds=3),
    Refusal(Reason.MEMORY, "The memory limit is nearly reached.", retry_after_seconds=1),
    Refusal(
        Reason.WORKER_CRASHED,
        "Two workers ended while they held this picture; it was not tried again.",
        retry_after_seconds=1,
    ),
    Refusal(Reason.DEADLINE, "About 840 ms of work are waiting ahead, more than the deadline allows."),
    Refusal(Reason.WORKER_HUNG, "The worker did not answer in time and was replaced."),
)

_ALWAYS = ("X-Request-Id", "Cache-Control")
_QUOTA = ("RateLimit", "RateLimit-Policy")
_BY_STATUS = {
    401: ("WWW-Authenticate",),
    405: ("Allow",),
    415: ("Accept-Encoding",),
    429: ("Retry-After",),
    503: ("Retry-After",),
}


def document(settings: Settings) -> _Object:
    """Return the document of the client port, with the limits of these settings; ready for json.dumps."""
    components = _components(settings)
    if not settings.auth_tokens_dir:
        del components["securitySchemes"]
    security: list[_Object] = [{"bearer": []}] if settings.auth_tokens_dir else []
    return {
        "openapi": "3.1.0",
        "info": {"title": "PoseCluster inference", "version": __version__, "description": _DESCRIPTION},
        "servers": [{"url": "./", "description": "Wherever this document came from"}],
        "tags": [
            {"name": "pose", "description": "Pictures to landmarks"},
            {"name": "server", "description": "About this server"},
            {"name": "pages", "description": "For people"},
        ],
        "paths": {
            "/v1/detect": {"post": _detect(settings) | {"security": security}},
            "/v1/model": {"get": _model() | {"security": security}},
            "/healthz": {"get": _health()},
            "/openapi.json": {"get": _openapi()},
            "/": {"get": _page("playground", "The playground, for a browser")},
            "/docs": {"get": _page("reference", "This reference, for a browser")},
            "/assets/{name}": {"get": _asset()},
        },
        "components": components,
    }


@lru_cache(maxsize=1)
def encoded(settings: Settings) -> bytes:
    """Return the document as JSON, made once: it reads a file, so call it first before the loop runs."""
    return json.dumps(document(settings)).encode()


def _components(settings: Settings) -> _Object:
    path = resources.files("posecluster_inference").joinpath("data/openapi_components.json")
    parts: _Object = json.loads(path.read_bytes())
    task = CATALOGUE[settings.model_task]
    parts["schemas"] |= task.SCHEMAS
    schemas = parts["schemas"]
    schemas["Problem"]["properties"]["reason"]["enum"] = list(Reason)
    schemas["Health"]["properties"]["status"]["enum"] = list(Status)
    worker = schemas["Health"]["properties"]["workers"]["items"]
    worker["properties"]["state"]["enum"] = list(State)
    schemas["Detection"]["properties"]["people"]["maxItems"] = settings.max_people
    parts["examples"]["Detection"]["value"]["people"] = [task.example()]
    model = parts["examples"]["Model"]["value"]
    model["landmarks"], model["bones"] = list(task.NAMES), [list(bone) for bone in task.BONES]
    for name in ("Detection", "Nobody"):
        parts["examples"][name]["value"]["model"]["task"] = settings.model_task
    model["task"] = settings.model_task
    model["limits"] = {
        "max_people": settings.max_people,
        "max_body_bytes": settings.max_body_bytes,
        "max_pixels": settings.max_pixels,
        "max_side_pixels": settings.max_side_pixels,
        "max_drawn_pixels": MAX_DRAWN_PIXELS,
        "max_drawn_side_pixels": MAX_DRAWN_SIDE,
        "deadline_ms": settings.deadline_ms,
        "requests_per_minute": settings.rate_limit_per_minute,
        "burst": settings.rate_limit_burst,
        "queue_length": settings.queue_length or 16,
    }
    parts["parameters"]["X-Request-Timeout-Ms"]["description"] = (
        "Milliseconds from the body's last byte within which an answer is of use. It can only shorten the "
        f"server's deadline of {settings.deadline_ms}."
    )
    for name, values in PARAMETERS.items():
        parts["parameters"][name]["schema"]["enum"] = list(values)
    # of paths and methods that are not below `paths`
    parts["responses"] = {
        "UnknownPath": _refused(_UNKNOWN_PATH)["404"],
        "Options": _response("OPTIONS of any path.", {}, ("X-Request-Id", "Allow")),
        "SlashAtTheEnd": _response(
            "A path of this document with a slash at its end.",
            {"text/plain": {"schema": {"type": "string"}}},
            ("X-Request-Id", "Location"),
        ),
    }
    return parts


def _detect(settings: Settings) -> _Object:
    forms = {content_type: _BINARY for content_type in CONTENT_TYPES.values() if content_type != _JSON}
    answer = _response(
        "The landmarks, or the upright picture with red joints and white bones.",
        {_JSON: _json("Detection", "Detection", "Nobody"), **forms},
        (*_ALWAYS, *_QUOTA, "Vary", "Cache-Status", "Server-Timing", "X-Image-Size", "X-Original-Image-Size"),
    )
    bodies: _Object = dict.fromkeys(_PICTURE_TYPES, _BINARY)
    bodies["multipart/form-data"] = {"schema": _ref("schemas", "Form")}
    bodies[_JSON] = {"schema": _ref("schemas", "Encoded")}
    bodies["text/plain"] = {"schema": {"type": "string", "description": "Base64 text or a data URL."}}
    return {
        "operationId": "detect",
        "tags": ["pose"],
        "summary": "Find the people in a picture",
        "description": (
            f"One JPEG, PNG or WebP picture of at most {settings.max_body_bytes} bytes, "
            f"{settings.max_pixels} pixels and {settings.max_side_pixels} pixels a side; of an animation the "
            f"first frame. Up to {settings.max_people} people are found. The answer is JSON, unless `draw` "
            "asks for a picture, or the media types that `Accept` prefers are all images and one of "
            f"{', '.join(CONTENT_TYPES[kind] for kind in PARAMETERS['draw'])} is among them. Any other query "
            f"parameter is refused. {_quota(settings)}"
        ),
        "parameters": [
            _ref("parameters", name)
            for name in (*PARAMETERS, "X-Request-Timeout-Ms", "X-Request-Id", "Cache-Control")
        ],
        "requestBody": {
            "required": True,
            "description": "The picture's bytes, known by their content whatever the Content-Type says; or a "
            "form with one picture; or the picture in base64, in a data URL or in JSON. No Content-Encoding.",
            "content": bodies,
        },
        # the later ones, which may follow a look at the quota, hold the earlier reasons of the same status
        "responses": {
            "200": answer,
            **_refused((*_ANY_ROUTE, *_TOKEN, _wrong("POST"))),
            **_refused(_DETECT, _QUOTA),
        },
    }


def _quota(settings: Settings) -> str:
    if not settings.rate_limit_per_minute:
        return "No quota is set."
    return (
        f"Quota of a caller: {settings.rate_limit_per_minute} a minute, {settings.rate_limit_burst} at once."
    )


def _model() -> _Object:
    answer = _response("The model and the limits.", {_JSON: _json("Model", "Model")}, ("X-Request-Id",))
    refused = _refused((*_ANY_ROUTE, *_TOKEN, *_NO_MODEL_YET, _wrong("GET, HEAD")))
    return _get("model", "pose", "What answers, and the limits in force", {"200": answer, **refused})


def _health() -> _Object:
    state = {_JSON: _json("Health", "Health")}
    responses = {"200": _response("Ready.", state, _ALWAYS)}
    responses |= _refused((*_ANY_ROUTE, _wrong("GET, HEAD")))
    turned_away = responses["503"]
    turned_away["description"] = f"Not ready, with the state; or a problem:\n{turned_away['description']}"
    turned_away["content"] |= {_JSON: {"schema": _ref("schemas", "Health")}}
    return _get("health", "server", "The state of this server", responses)


def _openapi() -> _Object:
    content = {_JSON: {"schema": {"type": "object"}}}
    responses = {"200": _response("This document.", content, ("X-Request-Id",))}
    responses |= _refused((*_ANY_ROUTE, _wrong("GET, HEAD")))
    return _get("openapi", "server", "This document", responses)


def _page(name: str, summary: str) -> _Object:
    return _file(name, summary, {"text/html": {"schema": {"type": "string"}}}, ("Content-Security-Policy",))


def _asset() -> _Object:
    kinds = sorted({kind for suffix, kind in pages.CONTENT_TYPES.items() if suffix != ".html"})
    operation = _file("asset", "What the pages load", dict.fromkeys(kinds, _BINARY))
    names = {"type": "string", "enum": pages.asset_names()}
    operation["parameters"].append({"name": "name", "in": "path", "required": True, "schema": names})
    operation["responses"] |= _refused((Refusal(Reason.NOT_FOUND, "There is no file of this name."),))
    return operation


def _file(name: str, summary: str, content: _Object, more_headers: tuple[str, ...] = ()) -> _Object:
    headers = (*_ALWAYS, "ETag", "Vary", "X-Content-Type-Options", *more_headers)
    responses = {
        "200": _response(f"{summary}. Packed, if the caller takes gzip.", content, headers),
        "304": _response("It is what `If-None-Match` names.", {}, headers),
        **_refused((*_ANY_ROUTE, _wrong("GET, HEAD"))),
    }
    operation = _get(name, "pages", summary, responses)
    operation["parameters"].append(_ref("parameters", "If-None-Match"))
    return operation


def _get(name: str, tag: str, summary: str, responses: _Object) -> _Object:
    return {
        "operationId": name,
        "tags": [tag],
        "summary": summary,
        "parameters": [_ref("parameters", "X-Request-Id")],
        "responses": responses,
    }


def _wrong(allowed: str) -> Refusal:
    """What another method gets at the same path."""
    return Refusal(Reason.METHOD_NOT_ALLOWED, f"Use {allowed}.")


def _refused(refusals: Iterable[Refusal], more_headers: tuple[str, ...] = ()) -> _Object:
    """Responses by status: each lists its reasons, with the server's own bytes as the example."""
    by_status = groupby(sorted(refusals, key=lambda refusal: refusal.status), lambda refusal: refusal.status)
    return {str(status): _problems(list(group), more_headers) for status, group in by_status}


def _problems(refusals: list[Refusal], more_headers: tuple[str, ...]) -> _Object:
    status = refusals[0].status
    titles = {refusal.reason: refusal.title for refusal in refusals}
    bodies = {str(refusal.reason): json.loads(problem(refusal).text or "") for refusal in refusals}
    return _response(
        "\n".join(f"- `{reason}`: {title}" for reason, title in titles.items()),
        {"application/problem+json": {"schema": _ref("schemas", "Problem"), "examples": _values(bodies)}},
        (*_ALWAYS, *more_headers, *_BY_STATUS.get(status, ())),
    )


def _values(examples: _Object) -> _Object:
    return {name: {"value": value} for name, value in examples.items()}


def _response(description: str, content: _Object, headers: tuple[str, ...]) -> _Object:
    return {
        "description": description,
        "headers": {name: _ref("headers", name) for name in headers},
        "content": content,
    }


def _json(schema: str, *examples: str) -> _Object:
    return {
        "schema": _ref("schemas", schema),
        "examples": {name.lower(): _ref("examples", name) for name in examples},
    }


def _ref(kind: str, name: str) -> _Object:
    return {"$ref": f"#/components/{kind}/{name}"}
