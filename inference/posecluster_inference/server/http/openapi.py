"""The OpenAPI 3.1 document of the client port: data/openapi.json, completed with limits, task and refusals.

In that file, `${name}` stands for a value that `document` inserts. The `x-refusals` of an operation name
groups of refusals with an example of each detail. Titles and form of the problems come from `errors` and
`problems`.
"""

import json
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib import resources
from typing import Any

from posecluster_inference import __version__
from posecluster_inference.errors import Reason, Refusal
from posecluster_inference.server.http import pages
from posecluster_inference.server.http.problems import members
from posecluster_inference.settings import Settings
from posecluster_inference.worker.tasks import CATALOGUE
from posecluster_inference.worker.tasks.drawing import MAX_DRAWN_PIXELS, MAX_DRAWN_SIDE

_Object = dict[str, Any]

_PLACEHOLDER = re.compile(r'"\$\{(\w+)\}"|\$\{(\w+)\}')
_QUEUE_PLACES = 16  # shown if the setting is unset; the real number depends on the workers
_PROBLEM = "application/problem+json"
_HEADERS_OF_STATUS = {
    401: ("WWW-Authenticate",),
    405: ("Allow",),
    415: ("Accept-Encoding",),
    429: ("Retry-After",),
    503: ("Retry-After",),
}
_HEADERS_OF_GROUP = {"detection": ("RateLimit", "RateLimit-Policy")}


def limits(settings: Settings, *, queue_length: int) -> dict[str, int]:
    """Return the limits of the server, as GET /v1/model shows them."""
    return {
        "max_people": settings.max_people,
        "max_body_bytes": settings.max_body_bytes,
        "max_pixels": settings.max_pixels,
        "max_side_pixels": settings.max_side_pixels,
        "max_drawn_pixels": MAX_DRAWN_PIXELS,
        "max_drawn_side_pixels": MAX_DRAWN_SIDE,
        "deadline_ms": settings.deadline_ms,
        "requests_per_minute": settings.rate_limit_per_minute,
        "burst": settings.rate_limit_burst,
        "queue_length": queue_length,
    }


def document(settings: Settings) -> _Object:
    """Return the document for these settings, ready for json.dumps; reads a file."""
    task = CATALOGUE[settings.model_task]
    in_force = limits(settings, queue_length=settings.queue_length or _QUEUE_PLACES)
    values = {
        **in_force,
        "limits": in_force,
        "version": __version__,
        "task": settings.model_task,
        "landmarks": task.NAMES,
        "bones": task.BONES,
        "keypoint_sets": list(task.KEYPOINT_SETS),
        "keypoints": " ".join(
            f"`{name}` selects these {len(names)}: {', '.join(names)}."
            for name, names in task.KEYPOINT_SETS.items()
        ),
        "example": task.example(),
        "reasons": list(Reason),
        "asset_names": pages.asset_names(),
        "security": [{"bearer": []}] if settings.auth_tokens_dir else [],
        "quota": _quota(settings),
    }
    path = resources.files("posecluster_inference").joinpath("data/openapi.json")
    described: _Object = json.loads(_filled(path.read_text(encoding="utf-8"), values))
    groups = described.pop("x-refusals")
    for methods in described["paths"].values():
        for operation in methods.values():
            names = operation.pop("x-refusals")
            operation["responses"] = _with_refusals(operation["responses"], groups, names)
    components = described["components"]
    if not task.KEYPOINT_SETS:
        del components["parameters"]["keypoints"]
        described["paths"]["/v1/detect"]["post"]["parameters"].remove(
            {"$ref": "#/components/parameters/keypoints"}
        )
    components["schemas"] |= task.SCHEMAS
    components["responses"]["UnknownPath"] = _with_refusals({}, groups, ["unknown path"])["404"]
    if not settings.auth_tokens_dir:
        del components["securitySchemes"]
    return described


@lru_cache(maxsize=1)
def encoded(settings: Settings) -> bytes:
    """Return the document as JSON. The first call reads a file, so call it in a thread at start."""
    return json.dumps(document(settings)).encode()


def _quota(settings: Settings) -> str:
    if not settings.rate_limit_per_minute:
        return "No quota is set."
    minute, burst = settings.rate_limit_per_minute, settings.rate_limit_burst
    return f"Each caller may send {minute} requests a minute, {burst} of them at once."


def _filled(text: str, values: Mapping[str, Any]) -> str:
    """Return the JSON text with each `${name}` replaced; one that is a whole string may become any value."""
    return _PLACEHOLDER.sub(
        lambda found: json.dumps(values[found[1]]) if found[1] else str(values[found[2]]), text
    )


def _with_refusals(responses: _Object, groups: _Object, names: Iterable[str]) -> _Object:
    """Return the responses by status, with the refusals of the groups; the last example applies."""
    for group in names:
        for refusal, detail in groups[group].items():
            status, value = refusal.split()
            reason = Reason(value)
            response = responses.setdefault(status, {})
            headers = (
                *("X-Request-Id", "Cache-Control"),
                *_HEADERS_OF_STATUS.get(int(status), ()),
                *_HEADERS_OF_GROUP.get(group, ()),
            )
            response.setdefault("headers", {}).update(
                {name: {"$ref": f"#/components/headers/{name}"} for name in headers}
            )
            content = response.setdefault("content", {})
            examples = content.setdefault(
                _PROBLEM, {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": {}}
            )["examples"]
            if reason not in examples:
                lines = [response["description"]] if "description" in response else []
                response["description"] = "\n".join([*lines, f"- `{reason}`: {reason.problem_title}"])
            examples[reason] = {"value": members(Refusal(reason, detail, status=int(status)))}
    return dict(sorted(responses.items()))
