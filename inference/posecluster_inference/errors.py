"""What the server says instead of an answer: one tree, one table.

PoseClusterError
├── InvalidSetting       a setting that stops the start, with the line that names it
├── ModelError           a model file that is missing or is not the pinned one
├── Undecodable          a picture that the worker's decoder refuses
│   └── TooLarge         one that needs more memory than there is
└── Refusal              an answer to the caller: RFC 9457 problem with a stable reason
"""

from enum import StrEnum


class PoseClusterError(Exception):
    """Root of every error that this package raises on purpose."""


class InvalidSetting(PoseClusterError):
    """A wrong setting; the message is one line that names it and says what is allowed."""


class ModelError(PoseClusterError):
    """A model file that cannot be used; the message says what to do."""


class Undecodable(PoseClusterError):
    """A picture whose header was fine but whose content no decoder accepts whole."""


class Reason(StrEnum):
    """The closed list of reasons in a refusal; clients may match on them."""

    QUEUE_FULL = "queue_full"
    DRAINING = "draining"
    STARTING = "starting"
    MEMORY = "memory"
    DEADLINE = "deadline"
    QUOTA = "quota"
    BODY_TOO_LARGE = "body_too_large"
    PICTURE_TOO_LARGE = "picture_too_large"
    UNSUPPORTED_FORMAT = "unsupported_format"
    UNSUPPORTED_ENCODING = "unsupported_encoding"
    UNDECODABLE = "undecodable"
    MALFORMED = "malformed"
    UNAUTHORIZED = "unauthorized"
    WORKER_CRASHED = "worker_crashed"
    WORKER_HUNG = "worker_hung"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"


# reason -> (usual status, RFC 9457 title); titles never vary, details do
_PROBLEMS: dict[Reason, tuple[int, str]] = {
    Reason.QUEUE_FULL: (503, "No capacity: the queue is full"),
    Reason.DRAINING: (503, "This server is shutting down"),
    Reason.STARTING: (503, "No worker is ready yet"),
    Reason.MEMORY: (503, "No capacity: memory is short"),
    Reason.DEADLINE: (504, "The deadline passed"),
    Reason.QUOTA: (429, "Your quota is used up"),
    Reason.BODY_TOO_LARGE: (413, "The request body is too large"),
    Reason.PICTURE_TOO_LARGE: (413, "The picture has too many pixels"),
    Reason.UNSUPPORTED_FORMAT: (415, "Not a JPEG, PNG or WebP picture"),
    Reason.UNSUPPORTED_ENCODING: (415, "Encoded request bodies are not accepted"),
    Reason.UNDECODABLE: (422, "The picture cannot be decoded"),
    Reason.MALFORMED: (400, "The request is malformed"),
    Reason.UNAUTHORIZED: (401, "A valid bearer token is needed"),
    Reason.WORKER_CRASHED: (503, "The worker crashed on this request"),
    Reason.WORKER_HUNG: (504, "The worker hung on this request"),
    Reason.NOT_FOUND: (404, "No such resource"),
    Reason.METHOD_NOT_ALLOWED: (405, "The method is not allowed here"),
}


class TooLarge(Undecodable):
    """A picture that needs more memory than a worker of this server may add."""


class Refusal(PoseClusterError):
    """A request that gets a problem instead of an answer.

    `status` is the reason's usual one unless given (408 for a slow body, 431 for a long head).
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
        self.status = status or _PROBLEMS[reason][0]
        self.title = _PROBLEMS[reason][1]
        self.retry_after_seconds = retry_after_seconds
        self.headers: dict[str, str] = {}

    def with_headers(self, headers: dict[str, str]) -> "Refusal":
        """Add fields to the answer, such as the caller's quota; returns itself."""
        self.headers.update(headers)
        return self
