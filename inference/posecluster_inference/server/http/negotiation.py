"""What the caller asks for: the form of the answer, the deadline, a name for the request."""

import base64
import re
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from posecluster_inference.errors import Reason, Refusal
from posecluster_inference.worker.messages import JSON_ANSWER, AnswerForm

CONTENT_TYPES = {
    JSON_ANSWER: "application/json",
    "jpeg": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
}
# the first of these wins among those that a caller likes equally
_DRAWN = ("jpeg", "png", "webp")
# of POST /v1/detect, with the values that each may have
PARAMETERS = {"draw": _DRAWN, "keypoints": ("coco",), "coordinates": ("pixels",)}

_LONGEST_REQUEST_ID = 128
_LONGEST_NAME = 40  # of a query parameter, in a refusal
_UNSAFE_IN_NAME = re.compile(r"[^A-Za-z0-9._\[\]-]")
_UNSAFE_IN_REQUEST_ID = re.compile(r"[^A-Za-z0-9._:/+=@-]")
_WHOLE_NUMBER = re.compile(r"[0-9]+", re.ASCII)
_CROCKFORD = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", b"0123456789ABCDEFGHJKMNPQRSTVWXYZ")


def answer_form(query: Iterable[tuple[str, str]], accept: str) -> AnswerForm:
    """Return what the query parameters and the Accept field ask for; the parameters win.

    `draw` asks for a picture; `keypoints` and `coordinates` ask for JSON. Raises Refusal (malformed) for
    a parameter or value that is unknown, given twice, or contradicts another.
    """
    asked = parameters(query, PARAMETERS)
    of_json = asked.keys() - {"draw"}
    if "draw" in asked and of_json:
        raise Refusal(
            Reason.MALFORMED,
            f"The query parameter draw asks for a picture, and {min(of_json)} for JSON: send one of them.",
        )
    if of_json:
        return AnswerForm(JSON_ANSWER, is_coco="keypoints" in asked, in_pixels="coordinates" in asked)
    return AnswerForm(asked.get("draw") or accepted_kind(accept))


def parameters(query: Iterable[tuple[str, str]], known: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return query parameters by name; `known` has the values that each may have.

    Raises Refusal (malformed) for any other name or value, and for a name that is given twice.
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

    A picture only if the caller prefers it: all media ranges of the highest weight are image types, and
    one of them covers a type that is drawn, of which the first in the order above is taken. Otherwise JSON,
    also if the field does not list it: old Java clients and browsers' forms name image types among others.
    """
    weights = _weights(accept)
    best = max(weights.values(), default=0.0)
    preferred = [name for name, weight in weights.items() if weight == best]
    if best > 0 and all(name.startswith("image/") for name in preferred):
        for kind in _DRAWN:
            # the more specific range decides, a weight of 0 included
            if weights.get(CONTENT_TYPES[kind], weights.get("image/*")) == best:
                return kind
    return JSON_ANSWER


@lru_cache(maxsize=64)
def accepts_gzip(accept_encoding: str) -> bool:
    """Whether an Accept-Encoding field names gzip, or anything, with a weight above 0."""
    weights = _weights(accept_encoding)
    return weights.get("gzip", weights.get("*", 0.0)) > 0


def _weights(field: str) -> dict[str, float]:
    """Return the weight of each item of an Accept or Accept-Encoding field; the first of equal names counts.

    A weight is read leniently (`.2`, `1.0000`); one that is no number is 0.
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
    """Return the time for an answer; the request can only shorten the server's deadline.

    Raises Refusal (malformed) unless X-Request-Timeout-Ms is a whole number >= 1.
    """
    if timeout_field is None:
        return longest_ms / 1000
    text = timeout_field.strip()
    if not _WHOLE_NUMBER.fullmatch(text) or not text.strip("0"):
        raise Refusal(Reason.MALFORMED, "X-Request-Timeout-Ms must be a whole number of at least 1.")
    # more digits than the longest deadline has are only ever clamped
    return min(longest_ms, int(text.lstrip("0")[:12])) / 1000


def skips_cache(cache_control: Iterable[str]) -> bool:
    """Return whether the Cache-Control fields ask for a new computation (`no-cache`)."""
    directives = ",".join(cache_control).lower().split(",")
    return "no-cache" in (directive.partition("=")[0].strip() for directive in directives)


def clean_request_id(field: str) -> str:
    """Return a caller's X-Request-Id without anything that could forge a header or a log line."""
    return _UNSAFE_IN_REQUEST_ID.sub("", field)[:_LONGEST_REQUEST_ID]


def new_id() -> str:
    """Return a ULID: 26 characters that sort by time (github.com/ulid/spec)."""
    number = time.time_ns() // 1_000_000 << 80 | secrets.randbits(80)
    # 26 digits of 5 bits are the last 130 of 160
    return base64.b32encode(number.to_bytes(20)).translate(_CROCKFORD)[-26:].decode()
