"""All errors of the operator. Errors of libraries are converted where they are raised.

OperatorError
├── InvalidSetting     a setting is invalid; the process exits with one line that names it
├── InvalidInput       a file or flag is invalid; the command exits with one line
├── InvalidSpec        the operator cannot act on a PoseCluster until its spec changes
├── NotLeader          the Lease is not held, so writes are not allowed
└── KubeError          a call to the API server failed
    ├── NotFound       404
    ├── Conflict       409: read the object again and retry at once
    ├── Forbidden      403: a permission is missing
    ├── Rejected       400, 404 of an apply, 422, the 500 of a wrongly typed apply: a retry has no benefit
    │   └── NamespaceTerminating  403: the namespace is being deleted
    └── Retryable      401, 408, 410, 429, other 5xx, broken connections: retry with back-off
        └── Unanswered time-out; for an apply, an admission webhook may be the cause
"""


class OperatorError(Exception):
    """Base class. The text is one line for users."""


class InvalidSetting(OperatorError):
    """A setting is invalid; the text names it."""


class InvalidInput(OperatorError):
    """A file or flag of a command is invalid; the text names it and says what to do."""


class InvalidSpec(OperatorError):
    """The operator cannot act on the spec; the text names the field and says what to do."""


class NotLeader(OperatorError):
    """This process does not hold the Lease and must not write."""


class KubeError(OperatorError):
    """A call to the API server failed. `what`: verb and object; `message`: the API server's message."""

    retry_after_seconds = 0.0  # how long the API server asked us to wait

    def __init__(self, what: str, message: str, *, status: int = 0) -> None:
        super().__init__(f"{what}: {message}" if message else what)
        self.what, self.message, self.status = what, message, status


class NotFound(KubeError):
    """The object, or its kind, does not exist."""


class Conflict(KubeError):
    """The object changed since it was read, or already exists."""


class Forbidden(KubeError):
    """The operator's account lacks a permission."""


class Rejected(KubeError):
    """The API server refused the object; the same request would be refused again."""


class NamespaceTerminating(Rejected):
    """The namespace is being deleted, so nothing can be created in it. This is expected."""


class Retryable(KubeError):
    """The request failed for a temporary reason; the same request may succeed later."""

    def __init__(self, what: str, message: str, *, status: int = 0, retry_after_seconds: float = 0.0) -> None:
        super().__init__(what, message, status=status)
        self.retry_after_seconds = retry_after_seconds


class Unanswered(Retryable):
    """The API server did not respond in time."""
