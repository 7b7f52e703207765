"""What the caller wants: the form of the answer, the deadline, a name for the request."""

import base64
import re
import secrets
import time
from functools import lru_cache

from posecluster_inference.errors import Reason, Refusal
from posecluster_inference.jobs import JSON_ANSWER

# in the order in which a wildcard takes them
_FORMS = {
    "application/json": JSON_ANSWER,
    "image/jpeg": "jpeg",
    "image/png": "png",
    "image/webp": "webp",
}
CONTENT_TYPES = {form: content_type for content_type, form in _FORMS.items()}

_LONGEST_REQUEST_ID = 128
_UNSAFE_IN_REQUEST_ID = re.compile(r"[^A-Za-z0-9._:/+=@-]")
_WHOLE_NUMBER = re.compile(r"[0-9]+", re.ASCII)
_CROCKFORD = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", b"0123456789ABCDEFGHJKMNPQRSTVWXYZ")


@lru_cache(maxsize=256)
def answer_form(accept: str) -> str:
    """Return `json`, `jpeg`, `png` or `webp` for an Accept field (RFC 9110, 12.5.1).

    The highest weight wins, among equals the form that is named, then the first named. JSON where
    nothing fits, because an answer that the caller did not ask for is of more use than none.
    """
    ranges: dict[str, tuple[float, int]] = {}
    for position, item in enumerate(accept.split(",")):
        name, *parameters = (part.strip().lower() for part in item.split(";"))
        ranges.setdefault(name, (_weight(parameters), -position))
    best, best_rank = JSON_ANSWER, (0.0, 0, 0)
    for name, form in _FORMS.items():
        # the most specific range that matches a form decides on it, q=0 included
        matching = (name, name.partition("/")[0] + "/*", "*/*")
        for specificity, media_range in enumerate(matching):
            if media_range in ranges:
                weight, position = ranges[media_range]
                rank = (weight, -specificity, position)
                if weight > 0 and (best_rank[0] == 0 or rank > best_rank):
                    best, best_rank = form, rank
                break
    return best


@lru_cache(maxsize=64)
def accepts_gzip(accept_encoding: str) -> bool:
    """Whether an Accept-Encoding field names gzip, or anything, with a weight above 0."""
    weights = {"gzip": 0.0, "*": 0.0}
    for item in accept_encoding.split(","):
        name, *parameters = (part.strip().lower() for part in item.split(";"))
        weights[name] = _weight(parameters)
        if name == "gzip":
            return weights[name] > 0
    return weights["*"] > 0


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                weight = float(parameter[2:])
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


def clean_request_id(field: str) -> str:
    """Return a caller's X-Request-Id without anything that could forge a header or a log line."""
    return _UNSAFE_IN_REQUEST_ID.sub("", field)[:_LONGEST_REQUEST_ID]


def new_id() -> str:
    """Return a ULID: 26 characters that sort by time (github.com/ulid/spec)."""
    number = time.time_ns() // 1_000_000 << 80 | secrets.randbits(80)
    # 26 digits of 5 bits are the last 130 of 160
    return base64.b32encode(number.to_bytes(20)).translate(_CROCKFORD)[-26:].decode()
