"""Every error of the operator, as a tree; libraries' errors are turned into these where they arise.

OperatorError
├── InvalidSetting     a wrong setting: ends the start with one line that names it
├── InvalidInput       a file or flag of a command that runs without a cluster: ends it with one line
├── NotPermitted       the start-up check found rights missing: ends the start, naming each
├── InvalidSpec        a PoseCluster that cannot be acted on: waits for its next change
├── NotLeader          the Lease is not held: nothing may be written
└── KubeError          what the API server said, or that it did not
    ├── NotFound       404
    ├── Conflict       409: read again, at once
    ├── Forbidden      403: a right is missing
    ├── Rejected       400, 404 of an apply, 422, the 500 of a wrongly typed apply: the same again is no use
    │   └── NamespaceTerminating  403: the namespace is being deleted, and its PoseClusters soon are
    └── Retryable      401, 408, 410, 429, other 5xx, broken connections: back off
        └── Unanswered time-outs: of an apply alone, an admission webhook may be what hangs
"""


class OperatorError(Exception):
    """Base of all: its text is one line for a person."""


class InvalidSetting(OperatorError):
    """A setting is wrong; the text names it."""


class InvalidInput(OperatorError):
    """A file or flag given to a command is wrong; the text names it and says what to do."""


class NotPermitted(OperatorError):
    """Rights are missing at the start; the text names each of them."""


class InvalidSpec(OperatorError):
    """The spec cannot be acted on; the text says which field and what to do. Await a change."""


class NotLeader(OperatorError):
    """This process does not hold the Lease (any more) and must not write."""


class KubeError(OperatorError):
    """The API server's answer; `what` is verb and object, `message` its own words."""

    retry_after_seconds = 0.0  # how long the API server asked us to wait

    def __init__(self, what: str, message: str, *, status: int = 0) -> None:
        super().__init__(f"{what}: {message}" if message else what)
        self.what, self.message, self.status = what, message, status


class NotFound(KubeError):
    """There is no such object (or kind)."""


class Conflict(KubeError):
    """The object changed since it was read, or exists already."""


class Forbidden(KubeError):
    """The operator's account lacks a right."""


class Rejected(KubeError):
    """The API server will not have this object as it is; the same again is of no use."""


class NamespaceTerminating(Rejected):
    """The namespace is being deleted: nothing can be created there, and that is no error."""


class Retryable(KubeError):
    """Nothing is wrong with the request: the same one may succeed later."""

    def __init__(self, what: str, message: str, *, status: int = 0, retry_after_seconds: float = 0.0) -> None:
        super().__init__(what, message, status=status)
        self.retry_after_seconds = retry_after_seconds


class Unanswered(Retryable):
    """The API server did not answer in time."""
