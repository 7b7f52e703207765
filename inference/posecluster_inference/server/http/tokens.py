"""Bearer tokens from a folder of files, which is how Kubernetes mounts a Secret."""

import asyncio
import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path

from posecluster_common.token_buckets import TokenBuckets
from posecluster_inference.errors import Reason, Refusal

logger = logging.getLogger(__name__)

_PERIOD_SECONDS = 1.0
_SHORTEST_TOKEN_BYTES = 16  # with letters and digits from a random source, too many to guess
_LARGEST_FILE_BYTES = 4_096

# How many requests without a valid token an address may send in a burst, and then per minute, before it
# gets 429 instead of 401
_WRONG_AT_ONCE = 20
_WRONG_PER_MINUTE = 20
_ADDRESSES = 10_000


@dataclass(slots=True)
class Tokens:
    """The accepted tokens, which are read every second, so that a rotation needs no restart.

    Only digests are stored and compared, so that the duration of a look-up reveals nothing about a token.
    If the folder is empty or cannot be read, no token is accepted.
    """

    folder: Path
    _names: dict[bytes, str] = field(default_factory=dict)
    _refused: dict[str, str] = field(default_factory=dict)
    _wrong: TokenBuckets = field(
        default_factory=lambda: TokenBuckets(
            burst=_WRONG_AT_ONCE, per_second=_WRONG_PER_MINUTE / 60, most_keys=_ADDRESSES
        )
    )

    async def run(self, on_removed: Callable[[str], None]) -> None:
        """Read the files periodically until cancelled.

        `on_removed` is called with the name of each caller of which a token is no longer accepted.
        """
        while True:
            await asyncio.sleep(_PERIOD_SECONDS)
            before = self._names
            await asyncio.to_thread(self.read)
            for digest in before.keys() - self._names.keys():
                on_removed(_caller(before[digest]))

    def read(self) -> None:
        """Read all files now; blocks."""
        names: dict[bytes, str] = {}
        try:
            files = sorted(path for path in self.folder.iterdir() if not path.name.startswith("."))
        except OSError as error:
            logger.error("Cannot read tokens", extra={"fields": {"error": error.strerror}})
            files = []
        refused: dict[str, str] = {}
        for path in files:
            token, why = _token_in(path)
            if why:
                refused[path.name] = why
            elif token:
                names[_digest(token)] = path.name
        for name, why in refused.items():
            if self._refused.get(name) != why:
                logger.warning("Cannot use a token", extra={"fields": {"file": name, "reason": why}})
        self._refused = refused
        if names.keys() != self._names.keys():
            logger.info("Read tokens", extra={"fields": {"count": len(names)}})
        self._names = names

    def caller(self, authorization: list[str], address: str, now: float) -> str:
        """Return `token:` and the name of the file that contains the token.

        `authorization` are the values of all Authorization fields of the request, and `now` is in seconds of
        any monotonic clock. Raises Refusal (unauthorized) unless there is exactly one field with an accepted
        token, and Refusal (quota) if `address` has sent too many others. An accepted token always passes, so
        that callers behind the same proxy cannot lock each other out.
        """
        if len(authorization) == 1:
            scheme, _, token = authorization[0].partition(" ")
            name = self._names.get(_digest(token.strip().encode("utf-8", "surrogateescape")))
            if scheme.lower() == "bearer" and name is not None:
                return _caller(name)
        allowed, left = self._wrong.spend(address, now)
        if not allowed:
            raise Refusal(
                Reason.QUOTA,
                "Your address has sent too many requests without a valid token: correct the token, and retry "
                "after the time in Retry-After.",
                retry_after_seconds=ceil((1 - left) / self._wrong.per_second),
            )
        raise Refusal(Reason.UNAUTHORIZED, "Send a valid token as `Authorization: Bearer TOKEN`.")


def _caller(name: str) -> str:
    return f"token:{name}"


def _token_in(path: Path) -> tuple[bytes, str]:
    """Return the token in a file, which may be empty, and why it is not accepted, if it is not."""
    try:
        with path.open("rb") as file:
            token = file.read(_LARGEST_FILE_BYTES + 1).strip()
    except OSError as error:
        return b"", f"cannot be read: {error.strerror}"
    if not token:
        return b"", "contains no token"
    if len(token) < _SHORTEST_TOKEN_BYTES:
        return b"", (
            f"has fewer than {_SHORTEST_TOKEN_BYTES} bytes and could be guessed: "
            "generate one, for example with `openssl rand -hex 32`"
        )
    if len(token) > _LARGEST_FILE_BYTES:
        return b"", f"has more than {_LARGEST_FILE_BYTES} bytes"
    return token, ""


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
