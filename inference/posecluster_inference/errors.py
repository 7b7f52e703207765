"""Errors of this package, and the reasons of refusals.

PoseClusterError
├── InvalidSetting       a setting with which the server cannot start
├── ModelError           a model file that is missing or is not an accepted file
├── Undecodable          a picture that the worker's decoder rejects
│   └── TooLarge         a picture that needs more memory than a worker may use
└── Refusal              a request that the server refuses with an RFC 9457 problem
"""

from enum import StrEnum
from typing import Self


class PoseClusterError(Exception):
    """Base class of the errors that this package raises."""


class InvalidSetting(PoseClusterError):
    """An invalid setting; the message is one line that names it and states what is allowed."""


class ModelError(PoseClusterError):
    """A model file that cannot be used; the message states how to solve this."""


class Undecodable(PoseClusterError):
    """A picture with a valid header but with content that the decoder rejects."""


class Reason(StrEnum):
    """The reasons of refusals; clients may match on them.

    Each row has the reason, its usual status, the constant title of the problem (RFC 9457), and other
    statuses that the reason may have.
    """

    status: int
    problem_title: str
    other_statuses: tuple[int, ...]

    def __new__(cls, value: str, status: int = 0, title: str = "", *other_statuses: int) -> Self:
        member = str.__new__(cls, value)
        member._value_ = value
        member.status, member.problem_title, member.other_statuses = status, title, other_statuses
        return member

    MALFORMED = "malformed", 400, "The request is malformed", 431  # 431: the head is too long
    UNAUTHORIZED = "unauthorized", 401, "A valid bearer token is needed"
    NOT_FOUND = "not_found", 404, "No such resource"
    METHOD_NOT_ALLOWED = "method_not_allowed", 405, "The method is not allowed here"
    BODY_TOO_LARGE = "body_too_large", 413, "The request body is too large"
    PICTURE_TOO_LARGE = "picture_too_large", 413, "The picture has too many pixels"
    UNSUPPORTED_FORMAT = "unsupported_format", 415, "Not a JPEG, PNG or WebP picture"
    UNSUPPORTED_ENCODING = "unsupported_encoding", 415, "Encoded request bodies are not accepted"
    UNDECODABLE = "undecodable", 422, "The picture cannot be decoded"
    QUOTA = "quota", 429, "Your quota is used up"
    QUEUE_FULL = "queue_full", 503, "No capacity: the queue is full"
    DRAINING = "draining", 503, "This server is shutting down"
    STARTING = "starting", 503, "No worker is ready yet"
    MEMORY = "memory", 503, "No capacity: memory is short"
    WORKER_CRASHED = "worker_crashed", 503, "The worker crashed on this request"
    WORKER_HUNG = "worker_hung", 504, "The worker hung on this request"
    DEADLINE = "deadline", 504, "The deadline passed", 408  # 408: the body arrived too slowly


class TooLarge(Undecodable):
    """A picture that needs more memory than a worker of this server may use."""


class Refusal(PoseClusterError):
    """A request that the server refuses; the response is a problem (RFC 9457).

    `status` defaults to the usual status of the reason, and may be one of its `other_statuses`.
    `retry_after_seconds` (>= 1) is set if a later attempt may succeed (503 and 429).
    """

    def __init__(
        self,
        reason: Reason,
        detail: str,
        *,
        status: int | None = None,
        retry_after_seconds: int | None = None,
    ) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.status = status or reason.status
        self.title = reason.problem_title
        self.retry_after_seconds = retry_after_seconds
        self.headers: dict[str, str] = {}

    def with_retry_after(self, seconds: int) -> "Refusal":
        """Set the number of seconds after which the client may retry; returns the refusal."""
        self.retry_after_seconds = seconds
        return self

    def with_headers(self, headers: dict[str, str]) -> "Refusal":
        """Add header fields to the response, such as those of the quota; returns the refusal."""
        self.headers.update(headers)
        return self
