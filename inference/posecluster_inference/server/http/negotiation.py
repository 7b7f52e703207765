"""Parses what a request specifies: the form of the answer, the deadline, the cache and the request ID."""

import base64
import re
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from posecluster_inference.errors import Reason, Refusal
from posecluster_inference.worker.messages import JSON_ANSWER, AnswerForm
from posecluster_inference.worker.tasks import Task

CONTENT_TYPES = {
    JSON_ANSWER: "application/json",
    "jpeg": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
}
# in order of preference among types that the client accepts equally
_DRAWN = ("jpeg", "png", "webp")

_LONGEST_REQUEST_ID = 128
_LONGEST_NAME = 40  # characters of a query parameter's name in a refusal
_UNSAFE_IN_NAME = re.compile(r"[^A-Za-z0-9._\[\]-]")
_UNSAFE_IN_REQUEST_ID = re.compile(r"[^A-Za-z0-9._:/+=@-]")
_WHOLE_NUMBER = re.compile(r"[0-9]+", re.ASCII)
_CROCKFORD = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", b"0123456789ABCDEFGHJKMNPQRSTVWXYZ")


def detect_parameters(task: Task) -> dict[str, tuple[str, ...]]:
    """Return the query parameters of POST /v1/detect for a task, and the allowed values of each."""
    sets = {"keypoints": tuple(task.KEYPOINT_SETS)} if task.KEYPOINT_SETS else {}
    return {"draw": _DRAWN, **sets, "coordinates": ("pixels",)}


def answer_form(query: Iterable[tuple[str, str]], accept: str, task: Task) -> AnswerForm:
    """Return the requested form of the answer; query parameters take precedence over the Accept field.

    `draw` requests a picture; `keypoints` and `coordinates` request JSON. Raises Refusal (malformed) for a
    parameter or value that is unknown, repeated, or contradicts another parameter.
    """
    given = parameters(query, detect_parameters(task))
    of_json = given.keys() - {"draw"}
    if "draw" in given and of_json:
        raise Refusal(
            Reason.MALFORMED,
            f"The query parameter draw requests a picture, but {min(of_json)} requests JSON: send only one.",
        )
    if of_json:
        return AnswerForm(JSON_ANSWER, keypoints=given.get("keypoints", ""), in_pixels="coordinates" in given)
    return AnswerForm(given.get("draw") or accepted_kind(accept))


def parameters(query: Iterable[tuple[str, str]], known: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return the query parameters by name; `known` has the allowed values of each.

    Raises Refusal (malformed) for any other name or value, and for a repeated name.
    """
    found: dict[str, str] = {}
    for name, value in query:
        if name not in known:
            raise _unknown_parameter(name, known)
        if name in found:
            raise Refusal(Reason.MALFORMED, f"The query parameter {name} is given twice: give it once.")
        if value not in known[name]:
            allowed = ", ".join(known[name])
            raise Refusal(Reason.MALFORMED, f"The query parameter {name} must be one of: {allowed}.")
        found[name] = value
    return found


def _unknown_parameter(name: str, known: Iterable[str]) -> Refusal:
    cleaned = _UNSAFE_IN_NAME.sub("", name)[:_LONGEST_NAME]
    named = f" {cleaned}" if cleaned else ""
    return Refusal(
        Reason.MALFORMED, f"Unknown query parameter{named}: this path takes {', '.join(known) or 'none'}."
    )


@lru_cache(maxsize=256)
def accepted_kind(accept: str) -> str:
    """Return `json`, `jpeg`, `png` or `webp` for an Accept field (RFC 9110, section 12.5.1).

    Returns a picture type only if the client prefers pictures: all media ranges of the highest weight are
    image types, and one of them covers a supported type, of which the first in the order above is returned.
    Otherwise returns `json`, even if the field does not list it, because old Java clients and HTML forms list
    image types among others.
    """
    weights = _weights(accept)
    best = max(weights.values(), default=0.0)
    preferred = [name for name, weight in weights.items() if weight == best]
    if best > 0 and all(name.startswith("image/") for name in preferred):
        for kind in _DRAWN:
            # The more specific media range takes precedence, even with a weight of 0.
            if weights.get(CONTENT_TYPES[kind], weights.get("image/*")) == best:
                return kind
    return JSON_ANSWER


@lru_cache(maxsize=64)
def accepts_gzip(accept_encoding: str) -> bool:
    """Whether an Accept-Encoding field lists `gzip`, or else `*`, with a weight above 0."""
    weights = _weights(accept_encoding)
    return weights.get("gzip", weights.get("*", 0.0)) > 0


def _weights(field: str) -> dict[str, float]:
    """Return the weight of each item of an Accept or Accept-Encoding field.

    The first of several equal items applies. Weights are parsed leniently (`.2`, `1.0000`); an invalid one is
    0.
    """
    weights: dict[str, float] = {}
    for item in field.split(","):
        name, *parameters = (part.strip().lower() for part in item.split(";"))
        if name:
            weights.setdefault(name, _weight(parameters))
    return weights


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                weight = float(value)
            except ValueError:
                return 0.0
            return min(1.0, weight) if weight > 0 else 0.0
    return 1.0


def deadline_seconds(timeout_field: str | None, longest_ms: int) -> float:
    """Return the deadline of a request in seconds; the request can only shorten that of the server.

    Raises Refusal (malformed) unless X-Request-Timeout-Ms is a whole number >= 1.
    """
    if timeout_field is None:
        return longest_ms / 1000
    text = timeout_field.strip()
    if not _WHOLE_NUMBER.fullmatch(text) or not text.strip("0"):
        raise Refusal(Reason.MALFORMED, "X-Request-Timeout-Ms must be a whole number of at least 1.")
    # A number of more digits exceeds the longest deadline anyway.
    return min(longest_ms, int(text.lstrip("0")[:12])) / 1000


def skips_cache(cache_control: Iterable[str]) -> bool:
    """Return whether the Cache-Control fields request a new computation (`no-cache`)."""
    directives = ",".join(cache_control).lower().split(",")
    return "no-cache" in (directive.partition("=")[0].strip() for directive in directives)


def clean_request_id(field: str) -> str:
    """Return an X-Request-Id without characters that could forge a header field or a log line."""
    return _UNSAFE_IN_REQUEST_ID.sub("", field)[:_LONGEST_REQUEST_ID]


def new_id() -> str:
    """Return a ULID: 26 characters that sort by time (github.com/ulid/spec)."""
    number = time.time_ns() // 1_000_000 << 80 | secrets.randbits(80)
    # The last 26 digits of 5 bits each contain all 128 bits.
    return base64.b32encode(number.to_bytes(20)).translate(_CROCKFORD)[-26:].decode()
