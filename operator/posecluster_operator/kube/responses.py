"""What the API server's answers mean: status codes to our errors, in this one place. Pure."""

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
_NO_SUCH_PATH = "404 page not found"  # plain text, while the kind's CRD is absent
# the authorizer's words; admission (quota, pod security, webhooks, a terminating namespace) answers 403 too
_NO_RIGHT = re.compile(r'User "[^"]*" cannot [a-z]+ (?:resource|path) ')
# A wrongly typed or unknown field of an apply is answered 500: kubernetes/kubernetes#83150 and the like
_BAD_APPLY = (
    "failed to create typed patch object",
    "unable to convert",
    "strict decoding",
    "cannot unmarshal",
)
# an apply that names the uid it means, of an object that was replaced meanwhile; 409 if it is gone
_OTHER_UID = re.compile(r"metadata\.uid: Invalid value: .* field is immutable")
_NAMESPACE_ENDS = "because it is being terminated"
_UNUSABLE = {400, 405, 406, 413, 415, 422}


def read_object(what: str, status: int, body: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
    """Return the answer's object; raises the KubeError that a failed or unreadable answer stands for.

    `what` is verb and object for people (`apply deployments.apps ns/name`).
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
    """Return the error for the API server's own word; a proxy's 404 must never pass for one."""
    if status == 404:  # of an apply: its namespace, or its kind, is not there
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
    """Return for how long the server asked us to stay away: 0 if it did not, 120 at most."""
    details = answer.get("details")
    texts = (
        headers.get("Retry-After"),
        details.get("retryAfterSeconds") if isinstance(details, dict) else None,
    )
    for text in texts:
        # the header's other form, a date, is not what API servers send
        if re.fullmatch(r"[0-9]{1,9}", str(text)):
            return min(float(str(text)), _LONGEST_RETRY_AFTER_SECONDS)
    return 0.0
