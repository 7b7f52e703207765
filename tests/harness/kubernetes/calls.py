"""What a proxy records of a call, and rules that say which calls get which fault. Pure."""

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal

WRITES = frozenset({"create", "apply", "patch", "update", "delete", "deletecollection"})
STREAM_FAULTS = frozenset({"silence", "gone", "cut", "bad_json"})
_METHODS = {"POST": "create", "PUT": "update", "DELETE": "delete", "PATCH": "patch"}
# they change nothing
_REVIEWS = ("selfsubjectaccessreviews", "selfsubjectrulesreviews")

Do = Literal[
    "pass", "answer", "reset", "hang", "lose", "hang_after", "cut", "bad_json", "old", "silence", "gone"
]


@dataclass(eq=False, slots=True)
class Call:
    """One call through a proxy. Times are monotonic; `ended` and `status` are 0 until they are known.

    For a watch `status` is that of its start; `forwarded` says whether the API server received it.
    """

    time: float
    verb: str
    resource: str
    namespace: str = ""
    name: str = ""
    user_agent: str = ""
    caller: str = ""
    door: str = ""
    query: dict[str, str] = field(default_factory=dict)
    request: bytes = b""
    path: str = ""
    status: int = 0
    retry_after: int | None = None
    forwarded: bool = False
    ended: float = 0.0
    rule: "Rule | None" = None

    @property
    def is_write(self) -> bool:
        """Whether it changes an object; access reviews do not."""
        return self.verb in WRITES and self.resource not in _REVIEWS

    def document(self) -> dict[str, Any]:
        """The request's body."""
        document: dict[str, Any] = json.loads(self.request)
        return document

    def __str__(self) -> str:
        where = "/".join(part for part in (self.namespace, self.name) if part)
        return f"{self.verb} {self.resource} {where} -> {self.status}"


@dataclass(eq=False, slots=True, kw_only=True)
class Rule:
    """Which calls, by shell patterns (`a|b` for either; verb also `write`, `read`), and what happens to them.

    nth: only the n-th match from now on. times: only the first so many. What `do` means is in HARNESS
    order: pass (forward after delay and hooks), answer (`status`, not forwarded), reset, hang (not
    forwarded), lose (forwarded, then reset), hang_after (forwarded, no answer), cut (half the answer,
    or a watch ended), bad_json, old (the first answer of a URL again and again), and for watches, open
    ones too: silence (open, no byte; what comes is lost) and gone (410 in the stream).
    on_match runs before anything, on_done when the API server has answered and the caller not yet
    heard of it; both in the proxy's thread, so they must be quick.
    """

    verb: str = "*"
    resource: str = "*"
    namespace: str = "*"
    name: str = "*"
    caller: str = "*"
    door: str = "*"
    user_agent: str = "*"
    nth: int | None = None
    times: int | None = None
    do: Do = "pass"
    delay_seconds: float = 0.0
    status: int = 503
    retry_after: int | None = None
    message: str = "a fault of the test"
    body: dict[str, Any] | None = None
    on_match: Callable[[Call], None] | None = None
    on_done: Callable[[Call], None] | None = None
    hits: list[Call] = field(default_factory=list)
    kept: dict[str, Any] = field(default_factory=dict)
    _seen: int = 0
    _taken: set[int] = field(default_factory=set)

    def describes(self, call: Call) -> bool:
        """Whether the call matches the patterns; counts are ignored."""
        return (
            _verb_is(call, self.verb)
            and _is(call.resource, self.resource)
            and _is(call.namespace, self.namespace)
            and _is(call.name, self.name)
            and _is(call.caller, self.caller)
            and _is(call.door, self.door)
            and _is(call.user_agent, self.user_agent)
        )

    def take(self, call: Call) -> bool:
        """Count a call that is meant; whether the rule acts on it."""
        if id(call) in self._taken or not self.describes(call):
            return False
        self._taken.add(id(call))  # the log of the proxy keeps the call, so its id stays its own
        self._seen += 1
        acts = self._seen == self.nth if self.nth is not None else len(self.hits) < (self.times or 1 << 60)
        if acts:
            self.hits.append(call)
            call.rule = self
        return acts


def read_call(
    now: float, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], *, door: str
) -> Call:
    """What a request asks of the API server; `resource` is "" for other paths (discovery, /readyz)."""
    namespace, resource, name = _read_path(path)
    verb = _METHODS.get(method, "get")
    if verb == "get" and resource and not name:
        verb = "watch" if query.get("watch") in {"1", "true", "True"} else "list"
    elif verb == "get" and query.get("watch") in {"1", "true", "True"}:
        verb = "watch"
    elif verb == "patch" and headers.get("Content-Type", "").startswith("application/apply-patch"):
        verb = "apply"
    elif verb == "delete" and not name:
        verb = "deletecollection"
    return Call(
        time=now,
        verb=verb,
        resource=resource,
        namespace=namespace,
        name=name,
        user_agent=headers.get("User-Agent", ""),
        caller=_subject(headers.get("Authorization", "")),
        door=door,
        query=dict(query),
        path=path,
    )


def _read_path(path: str) -> tuple[str, str, str]:
    parts = [part for part in path.split("/") if part]
    if parts[:1] == ["api"]:
        rest = parts[2:]
    elif parts[:1] == ["apis"]:
        rest = parts[3:]
    else:
        return "", "", ""
    namespace = ""
    if rest[:1] == ["namespaces"] and len(rest) > 2 and rest[2] not in {"status", "finalize"}:
        namespace, rest = rest[1], rest[2:]
    resource, name, subresource = [*rest, "", "", ""][:3]
    return namespace, f"{resource}/{subresource}" if subresource else resource, name


def _subject(authorization: str) -> str:
    """Whom a ServiceAccount's token names; "" for anything else."""
    parts = authorization.removeprefix("Bearer ").split(".")
    if len(parts) != 3:
        return ""
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except ValueError:
        return ""
    return str(claims.get("sub", ""))


def _verb_is(call: Call, pattern: str) -> bool:
    if pattern == "write":
        return call.is_write
    if pattern == "read":
        return call.verb in {"get", "list", "watch"}
    return _is(call.verb, pattern)


def _is(text: str, patterns: str) -> bool:
    return any(fnmatchcase(text, pattern) for pattern in patterns.split("|"))
