"""Bearer tokens from a folder of files, which is how Kubernetes mounts a Secret."""

import asyncio
import hashlib
import logging
from dataclasses import dataclass, field
from pathlib import Path

from posecluster_inference.errors import Reason, Refusal

logger = logging.getLogger(__name__)

_PERIOD_SECONDS = 1.0
_LARGEST_FILE_BYTES = 4_096


@dataclass(slots=True)
class Tokens:
    """The accepted tokens, which are read every second, so that a rotation needs no restart.

    Only digests are stored and compared, so that the duration of a look-up reveals nothing about a token.
    If the folder is empty or cannot be read, no token is accepted.
    """

    folder: Path
    _names: dict[bytes, str] = field(default_factory=dict)

    async def run(self) -> None:
        """Read the files periodically until cancelled."""
        while True:
            await asyncio.sleep(_PERIOD_SECONDS)
            await asyncio.to_thread(self.read)

    def read(self) -> None:
        """Read all files now; blocks."""
        names: dict[bytes, str] = {}
        try:
            files = sorted(path for path in self.folder.iterdir() if not path.name.startswith("."))
        except OSError as error:
            logger.error("Cannot read tokens", extra={"fields": {"error": error.strerror}})
            files = []
        for path in files:
            token = _token_in(path)
            if token:
                names[_digest(token)] = path.name
        if names.keys() != self._names.keys():
            logger.info("Read tokens", extra={"fields": {"count": len(names)}})
        self._names = names

    def caller(self, authorization: list[str]) -> str:
        """Return `token:` and the name of the file that contains the token.

        `authorization` are the values of all Authorization fields of the request.
        Raises Refusal (unauthorized) unless there is exactly one field with an accepted token.
        """
        if len(authorization) == 1:
            scheme, _, token = authorization[0].partition(" ")
            name = self._names.get(_digest(token.strip().encode("utf-8", "surrogateescape")))
            if scheme.lower() == "bearer" and name is not None:
                return f"token:{name}"
        raise Refusal(Reason.UNAUTHORIZED, "Send a valid token as `Authorization: Bearer TOKEN`.")


def _token_in(path: Path) -> bytes:
    """Return the token in a file; empty if there is none or the file cannot be read."""
    try:
        with path.open("rb") as file:
            token = file.read(_LARGEST_FILE_BYTES + 1).strip()
    except OSError as error:
        logger.warning("Cannot read a token", extra={"fields": {"file": path.name, "error": error.strerror}})
        return b""
    return token if len(token) <= _LARGEST_FILE_BYTES else b""


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
