"""What the server says instead of an answer: one tree, one table.

PoseClusterError
├── InvalidSetting       a setting that stops the start, with the line that names it
├── ModelError           a model file that is missing or is not the pinned one
├── Undecodable          a picture that the worker's decoder refuses
│   └── TooLarge         one that needs more memory than there is
└── Refusal              an answer to the caller: RFC 9457 problem with a stable reason
"""

from enum import StrEnum
from typing import Self


class PoseClusterError(Exception):
    """Root of every error that this package raises on purpose."""


class InvalidSetting(PoseClusterError):
    """A wrong setting; the message is one line that names it and says what is allowed."""


class ModelError(PoseClusterError):
    """A model file that cannot be used; the message says what to do."""


class Undecodable(PoseClusterError):
    """A picture whose header was fine but whose content no decoder accepts whole."""


class Reason(StrEnum):
    """The closed list of reasons in a refusal, one row each; clients may match on them.

    A row is the reason, its usual status, the problem's title (RFC 9457), which never varies, and other
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
    """A picture that needs more memory than a worker of this server may add."""


class Refusal(PoseClusterError):
    """A request that gets a problem instead of an answer.

    `status` is the reason's usual one unless given, which is then one of its `other_statuses`.
    `retry_after_seconds`, whole and >= 1, is set where waiting helps (503 and 429).
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
        """Set after how many seconds the caller should try again; returns itself."""
        self.retry_after_seconds = seconds
        return self

    def with_headers(self, headers: dict[str, str]) -> "Refusal":
        """Add fields to the answer, such as the caller's quota; returns itself."""
        self.headers.update(headers)
        return self
