"""Conversion of the API server's responses into objects and KubeErrors. Pure."""

import json
import re
from collections.abc import Mapping
from typing import Any

from posecluster_operator.errors import (
    Conflict,
    Forbidden,
    KubeError,
    NamespaceTerminating,
    NotFound,
    Rejected,
    Retryable,
)

_LONGEST_MESSAGE = 1_024
_LONGEST_RETRY_AFTER_SECONDS = 120.0
_NO_SUCH_PATH = "404 page not found"  # in plain text, while the kind's CRD is not installed
# the authorizer's message; admission (quota, pod security, webhooks, ending namespaces) returns 403, too
_NO_RIGHT = re.compile(r'User "[^"]*" cannot [a-z]+ (?:resource|path) ')
# A wrongly typed or unknown field of an apply returns 500, see kubernetes/kubernetes#83150.
_BAD_APPLY = (
    "failed to create typed patch object",
    "unable to convert",
    "strict decoding",
    "cannot unmarshal",
)
# An apply with the uid of an object that has been replaced since; 409 if the object is gone.
_OTHER_UID = re.compile(r"metadata\.uid: Invalid value: .* field is immutable")
_NAMESPACE_ENDS = "because it is being terminated"
_UNUSABLE = {400, 405, 406, 413, 415, 422}


def read_object(what: str, status: int, body: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
    """Return the object of a response; raises the KubeError that a failed or malformed response stands for.

    `what` is verb and object as text (`apply deployments.apps ns/name`).
    """
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    if 200 <= status < 300:
        if not isinstance(answer, dict):
            raise Retryable(what, "the response is not a JSON object", status=status)
        return answer
    raise _error(what, status, answer if isinstance(answer, dict) else {}, body, headers)


def _error(
    what: str, status: int, answer: Mapping[str, Any], body: bytes, headers: Mapping[str, str]
) -> KubeError:
    is_api_server = answer.get("kind") == "Status" or body.strip() == _NO_SUCH_PATH.encode()
    message = str(answer.get("message") or body[:200].decode(errors="replace").strip() or "no message")
    message = message[:_LONGEST_MESSAGE]
    kind = _kind_of_error(what, status, message) if is_api_server else Retryable
    if kind is Retryable:
        seconds = retry_after_seconds(answer, headers)
        return Retryable(what, f"{status} {message}", status=status, retry_after_seconds=seconds)
    return kind(what, message, status=status)


def _kind_of_error(what: str, status: int, message: str) -> type[KubeError]:
    """Return the error class for a response of the API server itself, not of a proxy before it."""
    if status == 404:  # for an apply, its namespace or kind does not exist
        return Rejected if what.startswith("apply ") else NotFound
    if status == 409 or (status == 422 and _OTHER_UID.search(message)):
        return Conflict
    if status == 403 and message.endswith(_NAMESPACE_ENDS):
        return NamespaceTerminating
    if status == 403:
        return Forbidden if _NO_RIGHT.search(message) else Rejected
    if status in _UNUSABLE or (status == 500 and any(words in message for words in _BAD_APPLY)):
        return Rejected
    return Retryable


def retry_after_seconds(answer: Mapping[str, Any], headers: Mapping[str, str]) -> float:
    """Return the seconds after which the server asks for a retry; 0 if unset, at most 120."""
    details = answer.get("details")
    texts = (
        headers.get("Retry-After"),
        details.get("retryAfterSeconds") if isinstance(details, dict) else None,
    )
    for text in texts:
        # API servers do not send the header's other form, a date.
        if re.fullmatch(r"[0-9]{1,9}", str(text)):
            return min(float(str(text)), _LONGEST_RETRY_AFTER_SECONDS)
    return 0.0
